//! The value of `WWW-Authenticate` (RFC 6750 section 3, RFC 9728 section 5.1).

use std::time::Duration;

/// What whoever shows no token is told of the realm.
pub fn challenge(realm: &str) -> String {
    Challenges::new(realm, None).missing
}

/// Writes challenges for one realm.
#[derive(Debug, Clone)]
pub(super) struct Challenges {
    missing: String,
    invalid_request: String,
    invalid_token: String,
}

impl Challenges {
    /// `metadata` is the address at which a client learns where it gets a token (RFC 9728 section 5.1).
    pub(super) fn new(realm: &str, metadata: Option<&str>) -> Self {
        let mut missing = format!("Bearer realm={}", quoted(realm));
        if let Some(address) = metadata {
            missing.push_str(", resource_metadata=");
            missing.push_str(&quoted(address));
        }
        Self {
            invalid_request: format!("{missing}, error=\"invalid_request\""),
            invalid_token: format!("{missing}, error=\"invalid_token\""),
            missing,
        }
    }

    /// No token was given: no error code (section 3.1).
    pub(super) fn missing(&self) -> String {
        self.missing.clone()
    }

    /// The credentials are not one token.
    pub(super) fn invalid_request(&self) -> String {
        self.invalid_request.clone()
    }

    /// The token is not believed.
    pub(super) fn invalid_token(&self) -> String {
        self.invalid_token.clone()
    }

    /// The token does not allow this. The scopes that would are named; roles and claims are not.
    pub(super) fn insufficient_scope(&self, scopes: &[String]) -> String {
        let mut challenge = format!("{}, error=\"insufficient_scope\"", self.missing);
        if !scopes.is_empty() {
            challenge.push_str(", scope=");
            challenge.push_str(&quoted(&scopes.join(" ")));
        }
        challenge
    }

    /// The token is believed, but its user must log in again: not longer than `max_age` ago (RFC 9470 section 3).
    pub(super) fn insufficient_user_authentication(&self, max_age: Duration) -> String {
        let missing = &self.missing;
        let seconds = max_age.as_secs();
        format!("{missing}, error=\"insufficient_user_authentication\", max_age={seconds}")
    }
}

/// A quoted string (RFC 9110 section 5.6.4); what may not stand in one is left out.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            ' '..='~' => quoted.push(character),
            _ => {}
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_shapes_are_those_of_rfc_6750() {
        let challenges = Challenges::new("api", None);
        assert_eq!(challenges.missing(), r#"Bearer realm="api""#);
        assert_eq!(
            challenges.invalid_token(),
            r#"Bearer realm="api", error="invalid_token""#
        );
        assert_eq!(
            challenges.insufficient_scope(&["a:read".to_owned(), "b".to_owned()]),
            r#"Bearer realm="api", error="insufficient_scope", scope="a:read b""#
        );
        assert_eq!(
            challenges.insufficient_scope(&[]),
            r#"Bearer realm="api", error="insufficient_scope""#
        );
    }

    #[test]
    fn every_challenge_says_where_the_metadata_are() {
        let address = "https://api.example/.well-known/oauth-protected-resource";
        let challenges = Challenges::new("api", Some(address));
        let told = format!(r#"Bearer realm="api", resource_metadata="{address}""#);
        assert_eq!(challenges.missing(), told);
        assert_eq!(
            challenges.insufficient_scope(&["a".to_owned()]),
            format!(r#"{told}, error="insufficient_scope", scope="a""#)
        );
        for challenge in [challenges.invalid_token(), challenges.invalid_request()] {
            assert!(challenge.starts_with(&told), "{challenge}");
        }
    }

    #[test]
    fn a_realm_cannot_end_its_quotes() {
        assert_eq!(
            Challenges::new("a\"b\\c\r\nX: y", None).missing(),
            r#"Bearer realm="a\"b\\cX: y""#
        );
    }

    proptest! {
        #[test]
        fn a_challenge_is_a_field_value(realm in any::<String>(), scope in any::<String>()) {
            let challenge = Challenges::new(&realm, Some(&realm)).insufficient_scope(&[scope]);
            prop_assert!(http::HeaderValue::from_str(&challenge).is_ok());
        }
    }
}
