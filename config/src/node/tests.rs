use super::*;

/// What yaml.v2 makes of plain scalars.
#[test]
fn plain_scalars_resolve_as_yaml_1_1() {
    for (text, wanted) in [
        ("", Scalar::Null),
        ("~", Scalar::Null),
        ("Null", Scalar::Null),
        ("nULL", Scalar::Str("nULL")),
        ("y", Scalar::Bool(true)),
        ("Off", Scalar::Bool(false)),
        ("oN", Scalar::Str("oN")),
        ("12", Scalar::Int(12)),
        ("-12", Scalar::Int(-12)),
        ("+1_000", Scalar::Int(1000)),
        ("0x1F", Scalar::Int(31)),
        ("0b101", Scalar::Int(5)),
        ("0o17", Scalar::Int(15)),
        ("017", Scalar::Int(15)),
        ("089", Scalar::Float(89.0)),
        ("9223372036854775807", Scalar::Int(i64::MAX)),
        ("9223372036854775808", Scalar::Float(9_223_372_036_854_775_808.0)),
        ("1.5", Scalar::Float(1.5)),
        (".5", Scalar::Float(0.5)),
        ("5.", Scalar::Float(5.0)),
        ("1e3", Scalar::Float(1000.0)),
        (".", Scalar::Str(".")),
        ("-", Scalar::Str("-")),
        ("1e", Scalar::Str("1e")),
        ("1.2.3", Scalar::Str("1.2.3")),
        ("127.0.0.1:80", Scalar::Str("127.0.0.1:80")),
        ("7B", Scalar::Str("7B")),
        ("+-1", Scalar::Str("+-1")),
        (".inf", Scalar::Float(f64::INFINITY)),
        ("inf", Scalar::Str("inf")),
    ] {
        assert_eq!(resolve(text), wanted, "`{text}`");
    }
    assert!(matches!(resolve(".nan"), Scalar::Float(value) if value.is_nan()));
}
