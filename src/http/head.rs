//! What the head of a request must be before anybody looks at what it asks for (RFC 9112 section 3.2).

use http::header::HOST;
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderValue, Method, Version};

use super::websocket::handshake::{self, BadHandshake};
use crate::auth::{self, Refusal};

/// Why a head is not served. Two programs could take it for two different requests, so its connection ends too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Malformed {
    #[error("no Host field, though HTTP/1.1 or a target with a host needs one")]
    NoHost,
    #[error("more than one Host field")]
    SeveralHosts,
    #[error("the Host field is not a host with or without a port")]
    Host,
    #[error("the Host field is not the host of the target")]
    OtherHost,
    #[error("this is no proxy: CONNECT is not served")]
    Connect,
    #[error("the target `*` is not served")]
    Asterisk,
    #[error(transparent)]
    Handshake(#[from] BadHandshake),
}

impl From<Malformed> for Refusal {
    fn from(malformed: Malformed) -> Self {
        if malformed == Malformed::Handshake(BadHandshake::Version) {
            return Self {
                status: 426,
                challenge: None,
                detail: "The version of the WebSocket protocol is not supported.",
                code: "upgrade_required",
                reason: malformed.to_string(),
            };
        }
        Self {
            status: 400,
            challenge: None,
            detail: "The request is malformed.",
            code: "invalid_request",
            reason: malformed.to_string(),
        }
    }
}

/// Whether the head is one that an origin server serves.
pub(super) fn check(head: &Parts) -> Result<(), Malformed> {
    if head.method == Method::CONNECT {
        return Err(Malformed::Connect);
    }
    if head.uri.path() == "*" {
        return Err(Malformed::Asterisk);
    }
    let names = |target: &Authority, host: &HeaderValue| {
        let is_host_of = |host: &str| auth::is_host_of(target, head.uri.scheme_str(), host);
        host.to_str().is_ok_and(is_host_of)
    };
    let mut hosts = head.headers.get_all(HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
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
    };
    host.and_then(|()| Ok(handshake::check(head)?))
}

/// `uri-host [ ":" port ]` (RFC 9110 section 7.2). It is empty when the target has no authority.
pub(super) fn is_host(value: &[u8]) -> bool {
    if value.is_empty() {
        return true;
    }
    let Ok(authority) = Authority::try_from(value) else {
        return false;
    };
    // The rest after the host is `:` and the port, which may have no digits.
    let port = authority.as_str().strip_prefix(authority.host());
    let is_port = |port: &str| {
        port.is_empty()
            || (port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok())
    };
    !authority.host().is_empty()
        && port.is_some_and(|port| port.is_empty() || port.strip_prefix(':').is_some_and(is_port))
}

#[cfg(test)]
mod tests {
    use http::Request;
    use proptest::prelude::*;

    use super::*;

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
        check(&request.body(()).unwrap().into_parts().0)
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
        for host in ["b.example", "", "a.example:8000", "a.example.org"] {
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
    fn a_host_is_a_name_or_address_with_or_without_a_port() {
        for host in [
            "",
            "a",
            "a.example",
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
            "a b", "a, b", "a/b", "a?b", "a#b", "user@a", "@a", ":80", ":", "a:b", "a:80:81",
            "a:99999", "a:+1", "::1", "[::1", "::1]", "[::1]x", "http://a", "a\\b", "a\"",
        ] {
            assert_eq!(with_host(host), Err(Malformed::Host), "{host}");
        }
        let bytes = checked("GET", "/", Version::HTTP_11, &[b"\xff"]);
        assert_eq!(bytes, Err(Malformed::Host));
    }

    #[test]
    fn what_is_for_proxies_and_for_whole_servers_is_not_served() {
        let host: &[&[u8]] = &[b"a"];
        let connect = checked("CONNECT", "a:443", Version::HTTP_11, host);
        assert_eq!(connect, Err(Malformed::Connect));
        let options = checked("OPTIONS", "*", Version::HTTP_11, host);
        assert_eq!(options, Err(Malformed::Asterisk));
        assert_eq!(checked("OPTIONS", "/", Version::HTTP_11, host), Ok(()));
        assert_eq!(checked("GET", "http://a/", Version::HTTP_11, host), Ok(()));
    }

    proptest! {
        #[test]
        fn no_host_makes_it_panic(host in any::<Vec<u8>>(), text in "[\\[\\]:@a0-9.]{0,12}") {
            is_host(&host);
            is_host(text.as_bytes());
        }
    }
}
