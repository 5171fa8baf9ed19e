//! Whether a request that carries its token in a cookie was made by the site itself: a browser sends the cookie with the
//! requests that any other site has it make (cross-site request forgery).

use aws_lc_rs::constant_time;
use http::Uri;
use http::header::{ORIGIN, REFERER, UPGRADE};

use super::authority::is_host_of;
use super::{RequestView, credentials};
use crate::config;

/// What proves it.
#[derive(Debug)]
pub(super) struct Csrf {
    trusted_origins: Vec<String>,
    double_submit: Option<config::DoubleSubmit>,
}

/// Why it is not proved. Fit for a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum CsrfError {
    #[error("the token is in a cookie, and the Origin field names another site")]
    Origin,
    #[error("the token is in a cookie, and the Referer field names another site")]
    Referer,
    #[error(
        "the token is in a cookie, and neither Origin nor Referer nor a double submit shows that the site made the request"
    )]
    Unproven,
}

impl Csrf {
    pub(super) fn new(auth: &config::Auth) -> Self {
        Self {
            trusted_origins: auth.trusted_origins.clone(),
            double_submit: auth.double_submit.clone(),
        }
    }

    /// Judges a request whose token a browser may have added by itself. Methods that change nothing may come from
    /// anywhere (RFC 9110 section 9.2.1), but where they ask for a WebSocket: on that a page of another site could both read and
    /// write (RFC 6455 section 10.2).
    pub(super) fn check(&self, request: &RequestView<'_>) -> Result<(), CsrfError> {
        if ["GET", "HEAD", "OPTIONS", "TRACE"].contains(&request.method)
            && !asks_for_websocket(request)
        {
            return Ok(());
        }
        let headers = request.headers;
        // A browser always says one of the two, and no page can make it lie (Fetch standard, section 3.1).
        if let Some(origin) = headers.get(ORIGIN) {
            let is_ours = origin
                .to_str()
                .is_ok_and(|origin| self.is_ours(origin, request));
            return is_ours.then_some(()).ok_or(CsrfError::Origin);
        }
        if let Some(referer) = headers.get(REFERER) {
            let is_ours = referer
                .to_str()
                .is_ok_and(|referer| self.is_ours(referer, request));
            return is_ours.then_some(()).ok_or(CsrfError::Referer);
        }
        let is_submitted_twice = |double: &config::DoubleSubmit| {
            let mut cookies = credentials::cookies(headers, &double.cookie);
            let mut fields = headers.get_all(double.header.as_str()).iter();
            match (cookies.next(), cookies.next(), fields.next(), fields.next()) {
                (Some(cookie), None, Some(field), None) => {
                    constant_time::verify_slices_are_equal(cookie, field.as_bytes()).is_ok()
                }
                _ => false,
            }
        };
        let proven = self.double_submit.as_ref().is_some_and(is_submitted_twice);
        proven.then_some(()).ok_or(CsrfError::Unproven)
    }

    /// Whether the address is one of the host that was asked, or of a trusted origin.
    fn is_ours(&self, address: &str, request: &RequestView<'_>) -> bool {
        let Ok(address) = address.parse::<Uri>() else {
            return false;
        };
        let (Some(scheme), Some(authority)) = (address.scheme_str(), address.authority()) else {
            return false;
        };
        if !["http", "https"].contains(&scheme) {
            return false;
        }
        let is_trusted = |origin: &String| {
            let (trusted, host) = origin.split_once("://").unwrap_or_default();
            trusted == scheme && is_host_of(authority, Some(scheme), host)
        };
        let is_asked = |host: &str| {
            request.may_have_scheme(scheme) && is_host_of(authority, Some(scheme), host)
        };
        request.host().is_some_and(is_asked) || self.trusted_origins.iter().any(is_trusted)
    }
}

/// Whether it may become a WebSocket, as far as anybody might think so.
fn asks_for_websocket(request: &RequestView<'_>) -> bool {
    let mut upgrades = request.headers.get_all(UPGRADE).iter();
    upgrades.any(|upgrade| {
        let upgrade = upgrade.as_bytes().to_ascii_lowercase();
        String::from_utf8_lossy(&upgrade).contains("websocket")
    })
}

#[cfg(test)]
mod tests {
    use http::header::HOST;
    use http::{HeaderMap, HeaderName, HeaderValue};

    use super::*;

    fn csrf(trusted: &[&str], double_submit: bool) -> Csrf {
        Csrf {
            trusted_origins: trusted.iter().map(|&origin| origin.to_owned()).collect(),
            double_submit: double_submit.then(|| config::DoubleSubmit {
                cookie: "csrftoken".to_owned(),
                header: "x-csrftoken".to_owned(),
            }),
        }
    }

    fn check(
        csrf: &Csrf,
        method: &str,
        fields: &[(&'static str, &'static str)],
    ) -> Result<(), CsrfError> {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_static("shop.example:8443"));
        for (name, value) in fields {
            headers.append(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
        }
        let mut request = RequestView {
            method,
            path: "/",
            query: None,
            headers: &headers,
            client_certificate: None,
            client_names: &[],
            is_https: false,
        };
        let checked = csrf.check(&request);
        // Whoever may by https may also where that is certain.
        request.is_https = true;
        let is_plain = |(_, value): &(_, &str)| value.starts_with("http://shop");
        if !fields.iter().any(is_plain) {
            assert_eq!(csrf.check(&request), checked);
        } else if checked.is_ok() {
            assert!(csrf.check(&request).is_err(), "{fields:?}");
        }
        checked
    }

    #[test]
    fn a_method_that_changes_nothing_may_come_from_anywhere() {
        for method in ["GET", "HEAD", "OPTIONS", "TRACE"] {
            let evil = [("origin", "https://evil.example")];
            assert_eq!(check(&csrf(&[], false), method, &evil), Ok(()), "{method}");
        }
        for method in ["POST", "PUT", "PATCH", "DELETE", "get", "BREW"] {
            let error = check(&csrf(&[], false), method, &[]);
            assert_eq!(error, Err(CsrfError::Unproven), "{method}");
        }
    }

    #[test]
    fn a_websocket_is_asked_for_by_pages_of_the_site_alone() {
        let csrf = csrf(&["https://app.example"], false);
        let asked = |fields: &[_]| {
            let upgrade = [("connection", "upgrade"), ("upgrade", "websocket")];
            check(&csrf, "GET", &[&upgrade, fields].concat())
        };
        assert_eq!(asked(&[("origin", "https://shop.example:8443")]), Ok(()));
        assert_eq!(asked(&[("origin", "https://app.example")]), Ok(()));
        let evil = asked(&[("origin", "https://evil.example")]);
        assert_eq!(evil, Err(CsrfError::Origin));
        assert_eq!(asked(&[]), Err(CsrfError::Unproven));
    }

    #[test]
    fn the_origin_must_be_the_site_that_was_asked_or_a_trusted_one() {
        let csrf = csrf(&["https://app.example"], true);
        let post = |origin| check(&csrf, "POST", &[("origin", origin)]);
        for origin in [
            "https://shop.example:8443",
            "https://SHOP.example:8443",
            "https://app.example",
            "https://app.example:443",
        ] {
            assert_eq!(post(origin), Ok(()), "{origin}");
        }
        for origin in [
            "null",
            "",
            "https://shop.example",
            "https://evil.example",
            "http://app.example",
            "https://app.example:8443",
            "https://shop.example.evil.example:8443",
            "shop.example:8443",
            "ftp://shop.example:8443",
            "https://user@shop.example:8443",
        ] {
            assert_eq!(post(origin), Err(CsrfError::Origin), "{origin}");
        }
        // What would prove it otherwise does not outweigh an origin that is another one.
        let both = [
            ("origin", "https://evil.example"),
            ("cookie", "csrftoken=x"),
            ("x-csrftoken", "x"),
            ("referer", "https://shop.example:8443/"),
        ];
        assert_eq!(check(&csrf, "POST", &both), Err(CsrfError::Origin));
    }

    #[test]
    fn without_an_origin_the_referer_counts() {
        let post = |referer| check(&csrf(&[], true), "POST", &[("referer", referer)]);
        assert_eq!(post("https://shop.example:8443/cart?x=1"), Ok(()));
        for referer in [
            "https://evil.example/shop.example:8443",
            "/cart",
            "https://shop.example/",
        ] {
            assert_eq!(post(referer), Err(CsrfError::Referer), "{referer}");
        }
    }

    #[test]
    fn without_both_a_field_with_the_value_of_a_cookie_counts() {
        let twice = csrf(&[], true);
        let same = [
            ("cookie", "a=b; csrftoken=s3cret"),
            ("x-csrftoken", "s3cret"),
        ];
        assert_eq!(check(&twice, "POST", &same), Ok(()));
        assert_eq!(
            check(&csrf(&[], false), "POST", &same),
            Err(CsrfError::Unproven)
        );
        for fields in [
            &[("cookie", "csrftoken=a"), ("x-csrftoken", "b")][..],
            &[("cookie", "csrftoken="), ("x-csrftoken", "")],
            &[("cookie", "csrftoken=a")],
            &[("x-csrftoken", "a")],
            &[("cookie", "csrftoken=a; csrftoken=a"), ("x-csrftoken", "a")],
            &[
                ("cookie", "csrftoken=a"),
                ("x-csrftoken", "a"),
                ("x-csrftoken", "a"),
            ],
        ] {
            assert_eq!(
                check(&twice, "POST", fields),
                Err(CsrfError::Unproven),
                "{fields:?}"
            );
        }
    }
}
