//! Where a request shows its token: the `Authorization` field, a cookie, a field of its own, a WebSocket subprotocol, or a
//! parameter of the query where a rule allows it.

use std::borrow::Cow;

use cookie::Cookie;
use http::HeaderMap;
use http::header::{AUTHORIZATION, COOKIE, SEC_WEBSOCKET_PROTOCOL};

use super::RequestView;
use super::bearer::{self, Scheme};
use crate::config::TokenSource;

/// What a request presents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Credentials<'a> {
    /// Nothing, or credentials of another kind, which are none of our business.
    Absent,
    /// One token.
    Token {
        token: Cow<'a, [u8]>,
        /// Of the `Authorization` field; absent where it stands elsewhere.
        scheme: Option<Scheme>,
        /// A browser sends it with every request to the site, whoever made it.
        is_ambient: bool,
    },
}

/// Why a request does not present one token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum CredentialsError {
    /// Two readers could take different ones (RFC 6750 section 2).
    #[error("more than one token")]
    Several,
    #[error("more than one Authorization field")]
    SeveralFields,
    #[error("the Authorization field is not `Bearer` or `DPoP` and one token")]
    Malformed,
}

/// The one token of the request, from those `sources`, and from the query where `in_query` names its parameter.
pub(super) fn find<'a>(
    request: &RequestView<'a>,
    sources: &[TokenSource],
    in_query: Option<&str>,
) -> Result<Credentials<'a>, CredentialsError> {
    let mut found = Credentials::Absent;
    let mut take = |scheme, token: Option<Cow<'a, [u8]>>, is_ambient| match (token, &found) {
        (None, _) => Ok(()),
        (Some(_), Credentials::Token { .. }) => Err(CredentialsError::Several),
        (Some(token), Credentials::Absent) => {
            found = Credentials::Token {
                token,
                scheme,
                is_ambient,
            };
            Ok(())
        }
    };
    for source in sources {
        match source {
            TokenSource::Authorization => {
                let (scheme, token) = authorization(request.headers)?.unzip();
                take(scheme, token.map(Cow::Borrowed), false)?;
            }
            TokenSource::Cookie(name) => {
                for token in cookies(request.headers, name) {
                    take(None, Some(Cow::Borrowed(token)), true)?;
                }
            }
            TokenSource::Header(name) => {
                for value in request.headers.get_all(name.as_str()) {
                    let value = value.as_bytes().trim_ascii();
                    let token = (!value.is_empty()).then_some(Cow::Borrowed(value));
                    take(None, token, false)?;
                }
            }
            TokenSource::Protocol(name) => {
                for token in protocols(request.headers, name) {
                    take(None, Some(Cow::Borrowed(token)), false)?;
                }
            }
        }
    }
    if let (Some(name), Some(query)) = (in_query, request.query) {
        for (_, value) in form_urlencoded::parse(query.as_bytes()).filter(|(key, _)| key == name) {
            let token = Cow::Owned(value.into_owned().into_bytes());
            take(None, Some(token), false)?;
        }
    }
    Ok(found)
}

fn authorization(fields: &HeaderMap) -> Result<Option<(Scheme, &[u8])>, CredentialsError> {
    let mut fields = fields.get_all(AUTHORIZATION).iter();
    match (fields.next(), fields.next()) {
        (None, _) => Ok(None),
        (Some(_), Some(_)) => Err(CredentialsError::SeveralFields),
        (Some(field), None) => {
            bearer::token(field.as_bytes()).map_err(|bearer::Malformed| CredentialsError::Malformed)
        }
    }
}

/// The values of the cookies of this name that have one (RFC 6265 section 4.2).
pub(super) fn cookies<'a, 'n>(
    fields: &'a HeaderMap,
    name: &'n str,
) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
    let texts = fields
        .get_all(COOKIE)
        .iter()
        .filter_map(|field| field.to_str().ok());
    let pairs = texts.flat_map(Cookie::split_parse).filter_map(Result::ok);
    pairs
        .filter(move |cookie| cookie.name() == name)
        .filter_map(|cookie| cookie.value_raw())
        .map(str::as_bytes)
        .filter(|value| !value.is_empty())
}

/// What stands after `name` in the list of subprotocols (RFC 6455 section 11.3.4): the one way in which a page can send a
/// token with a WebSocket.
pub(super) fn protocols<'a, 'n>(
    fields: &'a HeaderMap,
    name: &'n str,
) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
    let texts = fields.get_all(SEC_WEBSOCKET_PROTOCOL).iter();
    let mut names = texts
        .filter_map(|field| field.to_str().ok())
        .flat_map(|text| text.split(','))
        .map(str::trim);
    std::iter::from_fn(move || {
        names.find(|each| *each == name)?;
        names.next().map(str::as_bytes)
    })
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    use super::*;

    fn all() -> Vec<TokenSource> {
        vec![
            TokenSource::Authorization,
            TokenSource::Cookie("at".to_owned()),
            TokenSource::Header("x-token".to_owned()),
            TokenSource::Protocol("bearer".to_owned()),
        ]
    }

    fn find_in(
        fields: &[(&'static str, &str)],
        query: Option<&str>,
        sources: &[TokenSource],
    ) -> Result<Option<(String, bool)>, CredentialsError> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(
                HeaderName::from_static(name),
                HeaderValue::from_bytes(value.as_bytes()).unwrap(),
            );
        }
        let request = RequestView {
            method: "GET",
            path: "/",
            query,
            headers: &headers,
            client_certificate: None,
            client_names: &[],
            is_https: false,
        };
        let found = find(&request, sources, Some("access_token"))?;
        Ok(match found {
            Credentials::Absent => None,
            Credentials::Token {
                token, is_ambient, ..
            } => Some((String::from_utf8(token.into_owned()).unwrap(), is_ambient)),
        })
    }

    fn abc(is_ambient: bool) -> (String, bool) {
        ("a.b.c".to_owned(), is_ambient)
    }

    #[test]
    fn a_token_is_found_in_each_of_its_places() {
        let one = |name, value| find_in(&[(name, value)], None, &all());
        assert_eq!(one("authorization", "Bearer a.b.c"), Ok(Some(abc(false))));
        assert_eq!(one("cookie", "x=1; at=a.b.c; y"), Ok(Some(abc(true))));
        assert_eq!(one("x-token", " a.b.c "), Ok(Some(abc(false))));
        assert_eq!(
            one("sec-websocket-protocol", "chat, bearer,a.b.c"),
            Ok(Some(abc(false)))
        );
        assert_eq!(
            find_in(&[], Some("x=1&access_token=a%2Eb.c"), &all()),
            Ok(Some(abc(false)))
        );
    }

    #[test]
    fn a_place_that_is_not_configured_is_not_looked_at() {
        for (name, value) in [
            ("cookie", "at=a.b.c"),
            ("x-token", "a.b.c"),
            ("sec-websocket-protocol", "bearer, a.b.c"),
        ] {
            let found = find_in(&[(name, value)], None, &[TokenSource::Authorization]);
            assert_eq!(found, Ok(None), "{name}");
        }
        let only_cookie = [TokenSource::Cookie("at".to_owned())];
        let found = find_in(&[("authorization", "Bearer x")], None, &only_cookie);
        assert_eq!(found, Ok(None));
    }

    #[test]
    fn what_is_empty_or_called_otherwise_is_no_token() {
        for (name, value) in [
            ("cookie", "at=; AT=x; bat=y; at"),
            // A browser keeps a name with such a blank apart; taken for the same one, it would get around `__Host-`.
            ("cookie", "\u{2000}at=x; at\u{a0}=y"),
            ("x-token", ""),
            ("sec-websocket-protocol", "bearer"),
            ("sec-websocket-protocol", "chat, bearer2, x"),
            ("authorization", "Basic x"),
        ] {
            assert_eq!(
                find_in(&[(name, value)], None, &all()),
                Ok(None),
                "{name}: {value}"
            );
        }
        assert_eq!(
            find_in(&[], Some("token=x&Access_token=y"), &all()),
            Ok(None)
        );
    }

    #[test]
    fn two_tokens_are_refused_wherever_they_stand_and_if_they_are_equal() {
        let several = Err(CredentialsError::Several);
        for fields in [
            &[("authorization", "Bearer a"), ("cookie", "at=a")][..],
            &[("authorization", "Bearer a"), ("x-token", "a")],
            &[("cookie", "at=a; at=a")],
            &[("cookie", "at=a"), ("cookie", "at=b")],
            &[("x-token", "a"), ("x-token", "b")],
            &[("sec-websocket-protocol", "bearer, a, bearer, b")],
        ] {
            assert_eq!(find_in(fields, None, &all()), several, "{fields:?}");
        }
        let both = find_in(
            &[("authorization", "Bearer a")],
            Some("access_token=a"),
            &all(),
        );
        assert_eq!(both, several);
        let twice = find_in(&[], Some("access_token=a&access_token=a"), &all());
        assert_eq!(twice, several);
        let fields = [("authorization", "Bearer a"), ("authorization", "Basic a")];
        assert_eq!(
            find_in(&fields, None, &all()),
            Err(CredentialsError::SeveralFields)
        );
    }

    proptest! {
        #[test]
        fn no_field_makes_it_panic(cookie in "\\PC{0,20}", query in "\\PC{0,20}", protocol in "[a-z, ]{0,20}") {
            let fields = [("cookie", cookie.as_str()), ("sec-websocket-protocol", protocol.as_str())];
            let _found = find_in(&fields, Some(&query), &all());
        }
    }
}
