//! What can be asked of the token service: its paths, and what each of them says about itself.

use serde_json::{Value, json};

use crate::config::TokenKind;

/// One thing that can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    /// `PREFIX/`: a pair of tokens for a user name and a password.
    Login,
    /// `PREFIX/refresh/`: an access token for a refresh token.
    Refresh,
    /// `PREFIX/verify/`: whether a token is valid.
    Verify,
    /// `PREFIX/blacklist/`: ends a refresh token.
    Blacklist,
    /// `/.well-known/jwks.json`: the public keys.
    Keys,
}

impl Endpoint {
    /// What is asked by this path, with or without a slash at its end.
    pub(super) fn at(path: &str, prefix: &str) -> Option<Self> {
        if path == "/.well-known/jwks.json" {
            return Some(Self::Keys);
        }
        let rest = path.strip_prefix(prefix)?;
        match rest.strip_suffix('/').unwrap_or(rest) {
            "" => Some(Self::Login),
            "/refresh" => Some(Self::Refresh),
            "/verify" => Some(Self::Verify),
            "/blacklist" => Some(Self::Blacklist),
            _ => None,
        }
    }

    /// The fields that its body must have, in the order in which errors name them.
    pub(super) const fn fields(self, kind: TokenKind) -> &'static [&'static str] {
        match (self, kind) {
            (Self::Login, _) => &["username", "password"],
            (Self::Refresh, TokenKind::Pair) | (Self::Blacklist, _) => &["refresh"],
            (Self::Refresh, TokenKind::Sliding) | (Self::Verify, _) => &["token"],
            (Self::Keys, _) => &[],
        }
    }

    /// What Django REST Framework answers to OPTIONS: the name and description of `SimpleJWT`'s view and its fields.
    pub(super) fn description(self, kind: TokenKind) -> Value {
        let (name, description) = match (self, kind) {
            (Self::Login, TokenKind::Sliding) => (
                "Token Obtain Sliding",
                "Takes a set of user credentials and returns a sliding JSON web token to\nprove the authentication of those credentials.",
            ),
            (Self::Refresh, TokenKind::Sliding) => (
                "Token Refresh Sliding",
                "Takes a sliding JSON web token and returns a new, refreshed version if the\ntoken's refresh period has not expired.",
            ),
            (Self::Login, TokenKind::Pair) => (
                "Token Obtain Pair",
                "Takes a set of user credentials and returns an access and refresh JSON web\ntoken pair to prove the authentication of those credentials.",
            ),
            (Self::Refresh, TokenKind::Pair) => (
                "Token Refresh",
                "Takes a refresh type JSON web token and returns an access type JSON web\ntoken if the refresh token is valid.",
            ),
            (Self::Verify, _) => (
                "Token Verify",
                "Takes a token and indicates if it is valid.  This view provides no\ninformation about a token's fitness for a particular use.",
            ),
            (Self::Blacklist, _) => (
                "Token Blacklist",
                "Takes a token and blacklists it. Must be used with the\n`rest_framework_simplejwt.token_blacklist` app installed.",
            ),
            (Self::Keys, _) => ("Keys", "The public keys that verify the tokens."),
        };
        let field = |name: &str, is_answered: bool| {
            let (first, rest) = name.split_at(1);
            json!({
                "type": "string",
                "required": !is_answered,
                "read_only": is_answered,
                "label": first.to_uppercase() + rest,
            })
        };
        let mut fields: serde_json::Map<String, Value> = self
            .fields(kind)
            .iter()
            .map(|name| ((*name).to_owned(), field(name, false)))
            .collect();
        if (self, kind) == (Self::Refresh, TokenKind::Pair) {
            fields.insert("access".to_owned(), field("access", true));
        }
        json!({
            "name": name,
            "description": description,
            "renders": ["application/json"],
            "parses": ["application/json", "application/x-www-form-urlencoded", "multipart/form-data"],
            "actions": { "POST": fields },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_path_is_known_with_and_without_its_slash_and_no_other() {
        let at = |path: &str| Endpoint::at(path, "/api/token");
        for (path, endpoint) in [
            ("/api/token", Endpoint::Login),
            ("/api/token/refresh", Endpoint::Refresh),
            ("/api/token/verify", Endpoint::Verify),
            ("/api/token/blacklist", Endpoint::Blacklist),
        ] {
            assert_eq!(at(path), Some(endpoint));
            assert_eq!(at(&format!("{path}/")), Some(endpoint));
            for other in [format!("{path}//"), format!("{path}x"), format!("/x{path}")] {
                assert_eq!(at(&other), None, "{other}");
            }
        }
        assert_eq!(at("/.well-known/jwks.json"), Some(Endpoint::Keys));
        assert_eq!(at("/"), None);
    }

    #[test]
    fn it_describes_itself_as_the_view_of_simplejwt_does() {
        assert_eq!(
            Endpoint::Refresh.description(TokenKind::Pair).to_string(),
            r#"{"name":"Token Refresh","description":"Takes a refresh type JSON web token and returns an access type JSON web\ntoken if the refresh token is valid.","renders":["application/json"],"parses":["application/json","application/x-www-form-urlencoded","multipart/form-data"],"actions":{"POST":{"refresh":{"type":"string","required":true,"read_only":false,"label":"Refresh"},"access":{"type":"string","required":false,"read_only":true,"label":"Access"}}}}"#
        );
    }
}
