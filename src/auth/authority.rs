//! Whether two texts name one host.

use http::uri::Authority;

/// Whether an address with this authority and the Host field, or another host with or without port, name one host. The
/// port that its scheme has anyway may be left out (RFC 3986 section 6.2.3).
pub fn is_host_of(authority: &Authority, scheme: Option<&str>, host: &str) -> bool {
    let default = match scheme {
        Some("https") => ":443",
        Some(_) | None => ":80",
    };
    plain(authority.as_str(), default).eq_ignore_ascii_case(plain(host, default))
}

fn plain<'a>(text: &'a str, default: &str) -> &'a str {
    let text = text.strip_suffix(default).unwrap_or(text);
    text.strip_suffix(':').unwrap_or(text)
}
