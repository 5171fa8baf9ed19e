//! What the head of a request must be before anybody looks at what it asks for (RFC 9112 section 3.2).

use std::net::Ipv6Addr;

use http::header::{CONNECTION, CONTENT_TYPE, EXPECT, HOST};
use http::request::Parts;
use http::uri::{Authority, Scheme};
use http::{HeaderMap, HeaderValue, Method, Version};

use super::http2;
use super::websocket::handshake;
use super::wire::{Bounds, METHOD_MAX, Malformed};
use crate::auth;

/// Whether the head is one that an origin server serves; `is_secure` where its client's connection is, or a proxy answers for that.
pub(super) fn check(head: &Parts, bounds: &Bounds, is_secure: bool) -> Result<(), Malformed> {
    // Of HTTP/1.1 the screen has seen to that.
    let target = head
        .uri
        .path_and_query()
        .map_or(0, |target| target.as_str().len());
    if target > bounds.target {
        return Err(Malformed::TargetTooLong);
    }
    if head.method.as_str().len() > METHOD_MAX {
        return Err(Malformed::MethodTooLong);
    }
    if head.headers.len() > bounds.headers {
        return Err(Malformed::TooManyFields);
    }
    if head.version == Version::HTTP_2 && http2::head_size(head) > bounds.head {
        return Err(Malformed::HeadTooLarge);
    }
    if head.method == Method::CONNECT {
        return Err(Malformed::Connect);
    }
    // It would show whoever can make a browser send it what else the browser sends (RFC 9110 section 9.3.8).
    if head.method == Method::TRACE {
        return Err(Malformed::Trace);
    }
    if head.uri.path() == "*" && head.method != Method::OPTIONS {
        return Err(Malformed::TargetForm);
    }
    // Over HTTP/2 the scheme is not part of the target, and proxies that encrypt for their clients only pass it on as it came.
    let is_https = head.uri.scheme() == Some(&Scheme::HTTPS);
    if is_https && !is_secure && head.version < Version::HTTP_2 {
        return Err(Malformed::TargetNotSecure);
    }
    let Fields {
        hosts,
        expects_other,
        has_handshake,
    } = Fields::of(&head.headers)?;
    host(head, hosts)?;
    // HTTP/1.0 knows no expectations (RFC 9110 section 10.1.1).
    if head.version >= Version::HTTP_11 && expects_other {
        return Err(Malformed::Expectation);
    }
    if has_handshake {
        handshake::check(head)?;
    }
    Ok(())
}

/// What fields say that are judged here. One look at each is less than to search for one after the other: requests have few.
#[derive(Debug, Default)]
struct Fields<'a> {
    /// The first two.
    hosts: (Option<&'a HeaderValue>, Option<&'a HeaderValue>),
    /// Something else than to go on.
    expects_other: bool,
    /// Some may be of the handshake of a WebSocket.
    has_handshake: bool,
}

impl<'a> Fields<'a> {
    fn of(headers: &'a HeaderMap) -> Result<Self, Malformed> {
        let (mut fields, mut has_type) = (Self::default(), false);
        for (name, value) in headers {
            if *name == HOST {
                fields.hosts = match fields.hosts {
                    (None, _) => (Some(value), None),
                    (first, _) => (first, Some(value)),
                };
            } else if *name == CONTENT_TYPE {
                if std::mem::replace(&mut has_type, true) {
                    return Err(Malformed::SeveralContentTypes);
                }
            } else if *name == EXPECT {
                fields.expects_other |= !is_continue(value);
            } else if *name == CONNECTION && value.to_str().is_err() {
                // hyper would look for no `close` in it.
                return Err(Malformed::Connection);
            } else if handshake::is_of_it(name) {
                fields.has_handshake = true;
            }
        }
        Ok(fields)
    }
}

fn is_continue(expectation: &HeaderValue) -> bool {
    expectation.as_bytes().eq_ignore_ascii_case(b"100-continue")
}

fn host(
    head: &Parts,
    hosts: (Option<&HeaderValue>, Option<&HeaderValue>),
) -> Result<(), Malformed> {
    let names = |target: &Authority, host: &HeaderValue| {
        let is_host_of = |host: &str| auth::is_host_of(target, head.uri.scheme_str(), host);
        host.to_str().is_ok_and(is_host_of)
    };
    match hosts {
        // The host of the target would be judged by nobody, and an application may look at it.
        (None, _) if head.uri.authority().is_some() => Err(Malformed::NoHost),
        (None, _) if head.version < Version::HTTP_11 => Ok(()),
        (None, _) => Err(Malformed::NoHost),
        (Some(_), Some(_)) => Err(Malformed::SeveralHosts),
        (Some(host), None) if !is_host(host.as_bytes()) => Err(Malformed::Host),
        (Some(host), None) => match head.uri.authority() {
            // RFC 9112 section 3.2.2: the target's own host counts, but an application may look at the field.
            Some(target) if !names(target, host) => Err(Malformed::OtherHost),
            Some(_) | None => Ok(()),
        },
    }
}

/// `uri-host [ ":" port ]` (RFC 9110 section 7.2). An http address has a host (section 4.2.1), so it is not empty. RFC 3986 lets a
/// name have a comma, which is how some join two Host fields, and encoded bytes, which no two programs decode alike: no host has
/// them.
pub(super) fn is_host(value: &[u8]) -> bool {
    is_plain_host(value) || is_other_host(value)
}

/// A name or an address of version 4 as nearly every client writes it, with or without a port: told by one look at each byte.
fn is_plain_host(value: &[u8]) -> bool {
    // No name of a host is longer (RFC 1035 section 2.3.4).
    const NAME_MAX: usize = 255;
    let is_in_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    let end = value.iter().position(|byte| !is_in_name(byte));
    let (name, port) = value.split_at(end.unwrap_or(value.len()));
    let is_port = match port {
        [] => true,
        [b':', digits @ ..] => {
            let is_small = digits.len() < 5 || (digits.len() == 5 && digits <= b"65535".as_slice());
            is_small && digits.iter().all(u8::is_ascii_digit)
        }
        _ => false,
    };
    (1..=NAME_MAX).contains(&name.len()) && is_port
}

fn is_other_host(value: &[u8]) -> bool {
    let Ok(authority) = Authority::try_from(value) else {
        return false;
    };
    let host = authority.host();
    // The rest after the host is `:` and the port, which may have no digits.
    let port = authority.as_str().strip_prefix(host);
    let is_port = |port: &str| {
        port.is_empty()
            || (port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok())
    };
    let is_name = |host: &str| !host.is_empty() && !host.contains([',', '%']);
    let is_host = match host.strip_prefix('[') {
        Some(rest) => rest
            .strip_suffix(']')
            .is_some_and(|host| host.parse::<Ipv6Addr>().is_ok()),
        None => is_name(host),
    };
    is_host
        && port.is_some_and(|port| port.is_empty() || port.strip_prefix(':').is_some_and(is_port))
}

#[cfg(test)]
mod tests {
    use http::Request;
    use proptest::prelude::*;

    use super::*;

    const BOUNDS: Bounds = Bounds {
        target: 64,
        headers: 4,
        head: 1024,
        body: 1024,
    };

    fn check_it(head: &Parts) -> Result<(), Malformed> {
        check(head, &BOUNDS, false)
    }

    fn checked(
        method: &str,
        target: &str,
        version: Version,
        hosts: &[&[u8]],
    ) -> Result<(), Malformed> {
        let mut request = Request::builder()
            .method(method)
            .uri(target)
            .version(version);
        for host in hosts {
            request = request.header(HOST, *host);
        }
        check_it(&request.body(()).unwrap().into_parts().0)
    }

    fn with_host(host: &str) -> Result<(), Malformed> {
        checked("GET", "/", Version::HTTP_11, &[host.as_bytes()])
    }

    #[test]
    fn a_request_has_one_host() {
        let with = |version, hosts: &[&[u8]]| checked("GET", "/", version, hosts);
        assert_eq!(with(Version::HTTP_11, &[b"a"]), Ok(()));
        assert_eq!(with(Version::HTTP_11, &[]), Err(Malformed::NoHost));
        assert_eq!(with(Version::HTTP_10, &[]), Ok(()));
        for version in [Version::HTTP_10, Version::HTTP_11] {
            assert_eq!(with(version, &[b"a", b"a"]), Err(Malformed::SeveralHosts));
            assert_eq!(with(version, &[b"a b"]), Err(Malformed::Host));
        }
    }

    #[test]
    fn an_absolute_target_and_the_host_field_agree() {
        let with =
            |target, host: &str| checked("GET", target, Version::HTTP_11, &[host.as_bytes()]);
        for host in ["a.example", "A.Example", "a.example:80", "a.example:"] {
            assert_eq!(with("http://a.example/x", host), Ok(()), "{host}");
        }
        assert_eq!(with("http://a.example:8000/", "a.example:8000"), Ok(()));
        assert_eq!(with("http://a.example/x", ""), Err(Malformed::Host));
        for host in ["b.example", "a.example:8000", "a.example.org"] {
            let checked = with("http://a.example/x", host);
            assert_eq!(checked, Err(Malformed::OtherHost), "{host}");
        }
        for version in [Version::HTTP_10, Version::HTTP_11] {
            let without = checked("GET", "http://a.example/x", version, &[]);
            assert_eq!(without, Err(Malformed::NoHost));
        }
        let user = with("http://user@a.example/", "a.example");
        assert_eq!(user, Err(Malformed::OtherHost));
    }

    #[test]
    fn an_https_target_needs_a_connection_that_is_secure() {
        let request = Request::get("https://a/").header(HOST, "a").body(());
        let (head, ()) = request.unwrap().into_parts();
        let refused = Err(Malformed::TargetNotSecure);
        assert_eq!(check(&head, &BOUNDS, false), refused);
        assert_eq!(check(&head, &BOUNDS, true), Ok(()));
    }

    #[test]
    fn a_host_is_a_name_or_address_with_or_without_a_port() {
        for host in [
            "a",
            "a.example",
            "0.0.0.0=5000",
            "A.example:8000",
            "a:",
            "127.0.0.1",
            "127.0.0.1:80",
            "[::1]",
            "[::1]:8000",
            "a_b",
            "xn--a-b",
        ] {
            assert_eq!(with_host(host), Ok(()), "{host}");
        }
        for host in [
            "", "a b", "a, b", "a,b", "a%41", "[]", "[::g]", "a/b", "a?b", "a#b", "user@a", "@a",
            ":80", ":", "a:b", "a:80:81", "a:99999", "a:+1", "::1", "[::1", "::1]", "[::1]x",
            "http://a", "a\\b", "a\"",
        ] {
            assert_eq!(with_host(host), Err(Malformed::Host), "{host}");
        }
        let bytes = checked("GET", "/", Version::HTTP_11, &[b"\xff"]);
        assert_eq!(bytes, Err(Malformed::Host));
    }

    #[test]
    fn what_is_for_proxies_is_not_served() {
        let host: &[&[u8]] = &[b"a"];
        let connect = checked("CONNECT", "a:443", Version::HTTP_11, host);
        assert_eq!(connect, Err(Malformed::Connect));
        let trace = checked("TRACE", "/", Version::HTTP_11, host);
        assert_eq!(trace, Err(Malformed::Trace));
        assert_eq!(checked("OPTIONS", "*", Version::HTTP_11, host), Ok(()));
        let get = checked("GET", "*", Version::HTTP_11, host);
        assert_eq!(get, Err(Malformed::TargetForm));
        assert_eq!(checked("OPTIONS", "/", Version::HTTP_11, host), Ok(()));
        assert_eq!(checked("GET", "http://a/", Version::HTTP_11, host), Ok(()));
    }

    #[test]
    fn nothing_is_expected_but_to_go_on() {
        let with = |version, expected: &[&str]| {
            let mut request = Request::builder().version(version).header(HOST, "a");
            for each in expected {
                request = request.header(EXPECT, *each);
            }
            check_it(&request.body(()).unwrap().into_parts().0)
        };
        assert_eq!(with(Version::HTTP_11, &["100-Continue"]), Ok(()));
        for unknown in [
            ["200-ok"].as_slice(),
            &["100-continue, x"],
            &["100-continue", "x"],
            &[""],
        ] {
            assert_eq!(with(Version::HTTP_11, unknown), Err(Malformed::Expectation));
            assert_eq!(with(Version::HTTP_10, unknown), Ok(()));
        }
    }

    #[test]
    fn a_head_is_bounded_whatever_it_came_over() {
        let long = format!("/{}", "a".repeat(64));
        let long = checked("GET", &long, Version::HTTP_2, &[b"a"]);
        assert_eq!(long, Err(Malformed::TargetTooLong));
        let many = checked("GET", "/", Version::HTTP_2, &[b"a".as_slice(); 5]);
        assert_eq!(many, Err(Malformed::TooManyFields));
    }

    #[test]
    fn a_body_has_one_type() {
        let request = Request::builder().header(HOST, "a");
        let request = request
            .header(CONTENT_TYPE, "a/b")
            .header(CONTENT_TYPE, "a/c");
        let checked = check_it(&request.body(()).unwrap().into_parts().0);
        assert_eq!(checked, Err(Malformed::SeveralContentTypes));
    }

    proptest! {
        #[test]
        fn a_host_that_is_told_at_a_glance_is_one_at_a_closer_look(host in "[a-z0-9._:,%@-]{0,12}|[a-zA-Z0-9]{1,3}:[0-9]{3,6}") {
            if is_plain_host(host.as_bytes()) {
                prop_assert!(is_other_host(host.as_bytes()));
            }
        }

        #[test]
        fn no_host_makes_it_panic(host in any::<Vec<u8>>(), text in "[\\[\\]:@a0-9.]{0,12}") {
            is_host(&host);
            is_host(text.as_bytes());
        }
    }
}
