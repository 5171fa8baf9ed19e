//! The head of a request that came over HTTP/2, as one of HTTP/1.1 would say it: with its Host field, and cookies in one field.

use http::header::{CONTENT_LENGTH, COOKIE, HOST};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery};
use http::{HeaderValue, Method};

use super::super::head::is_host;
use super::super::wire::is_target;
use crate::app::has_blanks;

/// Why a head is malformed (RFC 9113 section 8.1.1), beyond what the codec knows: its stream is reset, and nobody is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Malformed {
    /// RFC 9113 section 8.3.1: no user information, and what a Host field may be.
    #[error("`:authority` is not a host with or without a port")]
    Authority,
    /// RFC 9113 section 8.3.1.
    #[error("the Host field differs from `:authority`")]
    OtherHost,
    /// RFC 9110 section 7.2, as of HTTP/1.1.
    #[error("more than one Host field")]
    SeveralHosts,
    /// RFC 9113 section 8.3.1.
    #[error("neither `:authority` nor a Host field")]
    NoHost,
    /// RFC 9113 section 8.3.1.
    #[error("`:path` does not begin with `/`")]
    Path,
    /// RFC 3986 section 3.3, as of HTTP/1.1.
    #[error("a character that may not stand in `:path`")]
    PathCharacter,
    /// RFC 9113 section 8.3.1: it has a valid value.
    #[error("`:scheme` is empty")]
    Scheme,
    /// RFC 9110 section 8.6, as of HTTP/1.1.
    #[error("more than one Content-Length")]
    SeveralContentLengths,
    /// RFC 9113 section 8.2.1.
    #[error("the value of a field begins or ends with a blank")]
    Blank,
}

/// Makes `head` what the rest of the way of a request expects, wherever it came from.
///
/// # Errors
/// It is malformed.
pub(super) fn take(head: &mut Parts) -> Result<(), Malformed> {
    if head.headers.values().any(has_blanks) {
        return Err(Malformed::Blank);
    }
    // As it was sent: an empty path before a query would be `/` elsewhere.
    let target = head.uri.path_and_query().map_or("", PathAndQuery::as_str);
    let is_whole_server = head.method == Method::OPTIONS && target == "*";
    // CONNECT has no path, and is refused like everywhere.
    if head.method != Method::CONNECT && !target.starts_with('/') && !is_whole_server {
        return Err(Malformed::Path);
    }
    if !is_target(target) {
        return Err(Malformed::PathCharacter);
    }
    if head.uri.scheme_str() == Some("") {
        return Err(Malformed::Scheme);
    }
    if head.headers.get_all(CONTENT_LENGTH).iter().count() > 1 {
        return Err(Malformed::SeveralContentLengths);
    }
    take_host(head)?;
    join_cookies(head);
    Ok(())
}

/// The size of a head that was [taken](take), as RFC 9113 section 6.5.2 counts it.
pub(in crate::http) fn size(head: &Parts) -> usize {
    const OVERHEAD: usize = 32;
    let target = head.uri.path_and_query().map_or(0, |it| it.as_str().len());
    let scheme = head.uri.scheme_str().map_or(0, str::len);
    let pseudo = [
        (":method", head.method.as_str().len()),
        (":scheme", scheme),
        (":path", target),
    ];
    let pseudo = pseudo.map(|(name, value)| name.len() + value + OVERHEAD);
    // The authority is the Host field by now.
    let fields = head.headers.iter();
    let fields = fields.map(|(name, value)| name.as_str().len() + value.len() + OVERHEAD);
    pseudo.into_iter().chain(fields).sum()
}

fn take_host(head: &mut Parts) -> Result<(), Malformed> {
    let Some(authority) = head.uri.authority() else {
        let host = head.headers.get(HOST).ok_or(Malformed::NoHost)?;
        return if host.is_empty() {
            Err(Malformed::NoHost)
        } else {
            Ok(())
        };
    };
    if !is_host(authority.as_str().as_bytes()) {
        return Err(Malformed::Authority);
    }
    let differs = |host: &HeaderValue| {
        let host = Authority::try_from(host.as_bytes());
        host.map_or(true, |host| host != *authority)
    };
    let hosts = head.headers.get_all(HOST);
    if hosts.iter().any(differs) {
        return Err(Malformed::OtherHost);
    }
    if hosts.iter().count() > 1 {
        return Err(Malformed::SeveralHosts);
    }
    let host = HeaderValue::try_from(authority.as_str()).map_err(|_| Malformed::Authority)?;
    head.headers.insert(HOST, host);
    Ok(())
}

/// Clients may send each cookie in a field of its own, which HTTP/1.1 does not know (RFC 9113 section 8.2.3).
fn join_cookies(head: &mut Parts) {
    let crumbs: Vec<_> = head
        .headers
        .get_all(COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    if crumbs.len() < 2 {
        return;
    }
    // What fields were made of is a field.
    if let Ok(whole) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
        head.headers.insert(COOKIE, whole);
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, Request, Version};

    use super::*;

    fn taken(
        method: &str,
        uri: &str,
        fields: &[(&'static str, &str)],
    ) -> Result<HeaderMap, Malformed> {
        let mut request = Request::builder()
            .method(method)
            .uri(uri)
            .version(Version::HTTP_2);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let mut head = request.body(()).unwrap().into_parts().0;
        take(&mut head).map(|()| head.headers)
    }

    fn got(uri: &str, fields: &[(&'static str, &str)]) -> Result<HeaderMap, Malformed> {
        taken("GET", uri, fields)
    }

    #[test]
    fn the_authority_becomes_the_host_field() {
        assert_eq!(got("https://a.example/x", &[]).unwrap()[HOST], "a.example");
        let same = [("host", "A.example:8000")];
        assert_eq!(
            got("https://a.example:8000/x", &same).unwrap()[HOST],
            "a.example:8000"
        );
        for other in ["b.example", "", "a.example:80", "a.example "] {
            let fields = [("host", other)];
            assert!(got("https://a.example/x", &fields).is_err(), "{other}");
        }
        let two = [("host", "a.example"), ("host", "b.example")];
        assert_eq!(got("https://a.example/x", &two), Err(Malformed::OtherHost));
    }

    #[test]
    fn without_an_authority_there_is_a_host_field() {
        assert_eq!(
            got("/x", &[("host", "a.example")]).unwrap()[HOST],
            "a.example"
        );
        assert_eq!(got("/x", &[]), Err(Malformed::NoHost));
        assert_eq!(got("/x", &[("host", "")]), Err(Malformed::NoHost));
    }

    #[test]
    fn an_authority_names_no_user() {
        for uri in [
            "https://user@a.example/",
            "https://user:word@a.example/",
            "https://@a.example/",
        ] {
            assert_eq!(got(uri, &[]), Err(Malformed::Authority), "{uri}");
        }
    }

    #[test]
    fn cookies_are_joined_in_their_order() {
        let fields = [("cookie", "a=1"), ("x", "y"), ("cookie", "b=2; c=3")];
        let headers = got("https://a.example/", &fields).unwrap();
        let cookies: Vec<_> = headers.get_all(COOKIE).iter().collect();
        assert_eq!(cookies, ["a=1; b=2; c=3"]);
        assert_eq!(
            got("https://a/", &[("cookie", "a=1")]).unwrap()[COOKIE],
            "a=1"
        );
    }

    #[test]
    fn values_are_not_padded() {
        for value in [" a", "a ", "\ta", "a\t"] {
            assert_eq!(got("https://a/", &[("x", value)]), Err(Malformed::Blank));
        }
        assert!(got("https://a/", &[("x", "a b"), ("y", "")]).is_ok());
    }

    #[test]
    fn a_path_has_the_characters_that_it_may_have_with_http_1() {
        // Others are refused by the codec.
        for path in ["/é", "/a\"b", "/a?é"] {
            let uri = format!("https://a{path}");
            assert_eq!(got(&uri, &[]), Err(Malformed::PathCharacter), "{path}");
        }
        assert!(got("https://a/a|b?`{}^", &[]).is_ok());
    }

    #[test]
    fn a_length_is_said_once() {
        let twice = [("content-length", "1"), ("content-length", "1")];
        assert_eq!(
            got("https://a/", &twice),
            Err(Malformed::SeveralContentLengths)
        );
    }

    #[test]
    fn the_whole_server_is_asked_by_options_alone() {
        assert!(taken("OPTIONS", "*", &[("host", "a")]).is_ok());
        assert_eq!(taken("GET", "*", &[("host", "a")]), Err(Malformed::Path));
    }
}
