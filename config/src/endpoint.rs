//! How v0.3.0 takes a backend's `endpoint` apart.

/// Host and port of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Host name or address, without brackets.
    pub host: String,
    /// Explicit port, or the protocol's.
    pub port: u16,
    /// What follows the host, `/` included; v0.3.0's router drops it.
    pub path: String,
    /// Scheme written in the endpoint, else the protocol.
    pub https: bool,
    /// v0.3.0 takes text for part of the host that was probably meant as a port.
    pub port_lost: bool,
}

/// Splits `host`, `host:port`, `[v6]:port`, a bare IPv6 address or a URL. `protocol` counts where the
/// endpoint has no scheme.
pub fn split(endpoint: &str, protocol: &str) -> Endpoint {
    let text = endpoint.trim();
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest))
            if scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https") =>
        {
            (Some(scheme), rest)
        }
        _ => (None, text),
    };
    let https = scheme.unwrap_or(protocol.trim()).eq_ignore_ascii_case("https");
    let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    let default = if https { 443 } else { 80 };
    let parts = |host: &str, port: u16, port_lost: bool| Endpoint {
        host: host.to_owned(),
        port,
        path: path.to_owned(),
        https,
        port_lost,
    };
    if let Some(inner) = authority.strip_prefix('[')
        && let Some((host, after)) = inner.split_once(']')
    {
        return match after.strip_prefix(':').map(str::parse) {
            Some(Ok(port)) => parts(host, port, false),
            _ => parts(host, default, !after.is_empty()),
        };
    }
    match authority.rsplit_once(':') {
        Some((host, _)) if host.contains(':') => parts(
            authority,
            default,
            authority.parse::<std::net::Ipv6Addr>().is_err() || looks_like_port(authority),
        ),
        Some((host, port)) => match port.parse() {
            Ok(port) => parts(host, port, false),
            Err(_) => parts(authority, default, true),
        },
        None => parts(authority, default, false),
    }
}

/// The last group of a bare IPv6 address has four or more decimal digits, as ports do.
fn looks_like_port(authority: &str) -> bool {
    authority
        .rsplit_once(':')
        .is_some_and(|(_, last)| last.len() >= 4 && last.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests;
