use super::*;

/// The cases that upstream's loader was asked about.
#[test]
fn endpoints_split_as_upstream_splits_them() {
    for (text, protocol, host, port, lost) in [
        ("host", "", "host", 80, false),
        ("host", "HTTPS", "host", 443, false),
        (" host:8000 ", "http", "host", 8000, false),
        ("http://host:8000/v1", "", "host", 8000, false),
        ("https://host/v1", "http", "host", 443, false),
        ("[2001:db8::1]:8000", "http", "2001:db8::1", 8000, false),
        ("[2001:db8::1]", "https", "2001:db8::1", 443, false),
        ("2001:db8::1", "http", "2001:db8::1", 80, false),
        ("::1:8000", "http", "::1:8000", 80, true),
        ("h:abc", "http", "h:abc", 80, true),
        ("h:", "http", "h:", 80, true),
        ("h:99999", "http", "h:99999", 80, true),
        ("http://", "http", "", 80, false),
    ] {
        let split = split(text, protocol);
        assert_eq!((&*split.host, split.port, split.port_lost), (host, port, lost), "`{text}`");
    }
    assert_eq!(split("http://host:8000/v1/x", "").path, "/v1/x");
    assert!(split("https://host", "http").https && !split("host", "http").https);
}
