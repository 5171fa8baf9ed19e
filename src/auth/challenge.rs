//! The value of `WWW-Authenticate` (RFC 6750 section 3, RFC 9449 section 7.1, RFC 9728 section 5.1).

use std::fmt::Write as _;
use std::time::Duration;

use super::algorithm;
use super::bearer::Scheme;
use super::dpop;

/// What whoever shows no token is told of the realm.
pub fn challenge(realm: &str) -> String {
    Challenges::new(realm, None, &[Scheme::Bearer]).missing()
}

/// Writes challenges for one realm.
#[derive(Debug, Clone)]
pub(super) struct Challenges {
    /// One for each scheme, without an error code.
    offered: Vec<(Scheme, String)>,
}

impl Challenges {
    /// `metadata` is the address at which a client learns where it gets a token (RFC 9728 section 5.1), `schemes` are those that
    /// tokens may be shown with.
    pub(super) fn new(realm: &str, metadata: Option<&str>, schemes: &[Scheme]) -> Self {
        let mut parameters = format!("realm={}", quoted(realm));
        if let Some(address) = metadata {
            parameters.push_str(", resource_metadata=");
            parameters.push_str(&quoted(address));
        }
        let offer = |scheme: &Scheme| {
            let challenge = match scheme {
                Scheme::Bearer => format!("Bearer {parameters}"),
                Scheme::Dpop => {
                    let algorithms = dpop::ALGORITHMS.map(algorithm::name).join(" ");
                    format!("DPoP {parameters}, algs=\"{algorithms}\"")
                }
            };
            (*scheme, challenge)
        };
        Self {
            offered: schemes.iter().map(offer).collect(),
        }
    }

    /// No token was given: no error code (section 3.1).
    pub(super) fn missing(&self) -> String {
        self.with(None, "")
    }

    /// The credentials are not one token.
    pub(super) fn invalid_request(&self) -> String {
        self.with(None, ", error=\"invalid_request\"")
    }

    /// The token is not believed, or is not for whoever shows it.
    pub(super) fn invalid_token(&self, scheme: Option<Scheme>) -> String {
        self.with(scheme, ", error=\"invalid_token\"")
    }

    /// The proof that comes with the token is missing or wrong (RFC 9449 section 7.1).
    pub(super) fn invalid_proof(&self) -> String {
        self.with(Some(Scheme::Dpop), ", error=\"invalid_dpop_proof\"")
    }

    /// The token does not allow this. The scopes that would are named; roles and claims are not.
    pub(super) fn insufficient_scope(&self, scheme: Option<Scheme>, scopes: &[String]) -> String {
        let mut error = ", error=\"insufficient_scope\"".to_owned();
        if !scopes.is_empty() {
            error.push_str(", scope=");
            error.push_str(&quoted(&scopes.join(" ")));
        }
        self.with(scheme, &error)
    }

    /// The token is believed, but its user must log in again: not longer than `max_age` ago (RFC 9470 section 3).
    pub(super) fn insufficient_user_authentication(
        &self,
        scheme: Option<Scheme>,
        max_age: Duration,
    ) -> String {
        let seconds = max_age.as_secs();
        let error = format!(", error=\"insufficient_user_authentication\", max_age={seconds}");
        self.with(scheme, &error)
    }

    /// A challenge for each scheme (RFC 9110 section 11.6.1), with what is wrong at the one that was used, or at the first.
    fn with(&self, used: Option<Scheme>, error: &str) -> String {
        let is_used = |(scheme, _): &(Scheme, String)| Some(*scheme) == used;
        let place = self.offered.iter().position(is_used).unwrap_or(0);
        let mut text = String::new();
        for (index, (_, challenge)) in self.offered.iter().enumerate() {
            let comma = if index > 0 { ", " } else { "" };
            let error = if index == place { error } else { "" };
            // Writing to a text cannot fail.
            let _written = write!(text, "{comma}{challenge}{error}");
        }
        text
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
        let challenges = Challenges::new("api", None, &[Scheme::Bearer]);
        assert_eq!(challenges.missing(), r#"Bearer realm="api""#);
        assert_eq!(
            challenges.invalid_token(None),
            r#"Bearer realm="api", error="invalid_token""#
        );
        assert_eq!(
            challenges.insufficient_scope(None, &["a:read".to_owned(), "b".to_owned()]),
            r#"Bearer realm="api", error="insufficient_scope", scope="a:read b""#
        );
        assert_eq!(
            challenges.insufficient_scope(None, &[]),
            r#"Bearer realm="api", error="insufficient_scope""#
        );
    }

    #[test]
    fn every_challenge_says_where_the_metadata_are() {
        let address = "https://api.example/.well-known/oauth-protected-resource";
        let challenges = Challenges::new("api", Some(address), &[Scheme::Bearer]);
        let told = format!(r#"Bearer realm="api", resource_metadata="{address}""#);
        assert_eq!(challenges.missing(), told);
        assert_eq!(
            challenges.insufficient_scope(None, &["a".to_owned()]),
            format!(r#"{told}, error="insufficient_scope", scope="a""#)
        );
        for challenge in [challenges.invalid_token(None), challenges.invalid_request()] {
            assert!(challenge.starts_with(&told), "{challenge}");
        }
    }

    #[test]
    fn each_scheme_has_a_challenge_and_the_one_that_was_used_says_what_is_wrong() {
        let both = Challenges::new("api", None, &[Scheme::Bearer, Scheme::Dpop]);
        let algs = "ES256 ES384 EdDSA PS256 PS384 PS512 RS256 RS384 RS512";
        let dpop = format!(r#"DPoP realm="api", algs="{algs}""#);
        assert_eq!(both.missing(), format!(r#"Bearer realm="api", {dpop}"#));
        assert_eq!(
            both.invalid_proof(),
            format!(r#"Bearer realm="api", {dpop}, error="invalid_dpop_proof""#)
        );
        assert_eq!(
            both.invalid_token(Some(Scheme::Bearer)),
            format!(r#"Bearer realm="api", error="invalid_token", {dpop}"#)
        );
        let one = Challenges::new("api", None, &[Scheme::Dpop]);
        assert_eq!(
            one.invalid_token(Some(Scheme::Bearer)),
            format!(r#"{dpop}, error="invalid_token""#)
        );
    }

    #[test]
    fn a_realm_cannot_end_its_quotes() {
        assert_eq!(
            Challenges::new("a\"b\\c\r\nX: y", None, &[Scheme::Bearer]).missing(),
            r#"Bearer realm="a\"b\\cX: y""#
        );
    }

    proptest! {
        #[test]
        fn a_challenge_is_a_field_value(realm in any::<String>(), scope in any::<String>()) {
            let challenges = Challenges::new(&realm, Some(&realm), &[Scheme::Bearer, Scheme::Dpop]);
            let challenge = challenges.insufficient_scope(None, &[scope]);
            prop_assert!(http::HeaderValue::from_str(&challenge).is_ok());
        }
    }
}
