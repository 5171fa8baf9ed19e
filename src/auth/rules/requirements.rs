//! What a rule asks of the token: scopes, roles, claims, a recent login.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use crate::auth::claims::Claims;
use crate::auth::{UnixTime, shown};
use crate::config::{self, ClaimTest};

/// What a token must hold.
#[derive(Debug)]
pub(in crate::auth) struct Requirements {
    scopes: Vec<String>,
    any_scopes: Vec<String>,
    roles: Vec<String>,
    claims: BTreeMap<String, ClaimTest>,
    max_age: Option<Duration>,
}

/// What of it a token does not hold. Fit for a log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(in crate::auth) enum Unmet<'a> {
    #[error("scope {} is not granted", shown(.missing))]
    Scopes {
        missing: &'a str,
        needed: &'a [String],
    },
    #[error("none of the scopes {} is granted", .0.join(", "))]
    AnyScope(&'a [String]),
    #[error("none of the roles {} is held", .0.join(", "))]
    Roles(&'a [String]),
    #[error("claim {} does not have a value that is needed", shown(.0))]
    Claim(&'a str),
    #[error("the user logged in too long ago, or the token does not say when (`auth_time`)")]
    LoginTooOld { max_age: Duration },
}

impl Requirements {
    pub(super) fn new(rule: &config::Rule) -> Self {
        Self {
            scopes: rule.scopes.clone(),
            any_scopes: rule.any_scopes.clone(),
            roles: rule.roles.clone(),
            claims: rule.claims.clone(),
            max_age: rule.max_age,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.scopes.is_empty()
            && self.any_scopes.is_empty()
            && self.roles.is_empty()
            && self.claims.is_empty()
            && self.max_age.is_none()
    }

    /// All `scopes`, one of `any_scopes`, one of the roles, all claims, and a login that is recent enough.
    pub(in crate::auth) fn check(&self, claims: &Claims, now: UnixTime) -> Result<(), Unmet<'_>> {
        for needed in &self.scopes {
            if !claims.scopes().any(|scope| scope == needed) {
                return Err(Unmet::Scopes {
                    missing: needed,
                    needed: &self.scopes,
                });
            }
        }
        let would_do = |scope: &str| self.any_scopes.iter().any(|needed| needed == scope);
        if !self.any_scopes.is_empty() && !claims.scopes().any(would_do) {
            return Err(Unmet::AnyScope(&self.any_scopes));
        }
        let is_needed = |role: &str| self.roles.iter().any(|needed| needed == role);
        if !self.roles.is_empty() && !claims.roles().any(is_needed) {
            return Err(Unmet::Roles(&self.roles));
        }
        for (name, test) in &self.claims {
            if !claims.passes(name, test) {
                return Err(Unmet::Claim(name));
            }
        }
        match self.max_age {
            Some(max_age) if !has_logged_in(claims, max_age, now) => {
                Err(Unmet::LoginTooOld { max_age })
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// Whether `auth_time` (`OpenID` Connect Core 1.0 section 2) is at most `max_age` ago.
fn has_logged_in(claims: &Claims, max_age: Duration, now: UnixTime) -> bool {
    let oldest = now.0.saturating_sub(max_age.as_secs());
    let time = claims.get("auth_time").and_then(Value::as_f64);
    #[expect(
        clippy::cast_precision_loss,
        reason = "seconds of this epoch are exact"
    )]
    time.is_some_and(|time| time >= oldest as f64)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::auth::fixtures::{NOW, rule};
    use crate::auth::rules::{Need, Rule};
    use crate::config::Access;

    fn unmet(rule: &config::Rule, claims: &Value) -> Option<String> {
        let Ok(Rule {
            need: Need::Token(requirements),
            ..
        }) = Rule::new(rule)
        else {
            panic!("a rule that needs a token")
        };
        let claims = Claims::new(claims.as_object().unwrap().clone());
        let checked = requirements.check(&claims, NOW);
        checked.err().map(|unmet| unmet.to_string())
    }

    fn with_claim(name: &str, test: ClaimTest) -> config::Rule {
        let mut rule = rule("/a", &[], Access::Token);
        rule.claims.insert(name.to_owned(), test);
        rule
    }

    #[test]
    fn all_scopes_are_needed() {
        let mut rule = rule("/a", &[], Access::Token);
        rule.scopes = vec!["a:read".to_owned(), "b".to_owned()];
        assert_eq!(unmet(&rule, &json!({"scope": "b a:read c"})), None);
        let reason = unmet(&rule, &json!({"scope": "b a:reader"}));
        assert_eq!(reason.as_deref(), Some("scope `a:read` is not granted"));
        assert!(unmet(&rule, &json!({})).is_some());
    }

    #[test]
    fn one_role_is_enough() {
        let mut rule = rule("/a", &[], Access::Token);
        rule.roles = vec!["admin".to_owned(), "staff".to_owned()];
        assert_eq!(unmet(&rule, &json!({"roles": ["x", "staff"]})), None);
        assert_eq!(unmet(&rule, &json!({"roles": "admin"})), None);
        for claims in [
            json!({}),
            json!({"roles": []}),
            json!({"roles": "admin staff"}),
            json!({"roles": {"admin": true}}),
        ] {
            assert!(unmet(&rule, &claims).is_some(), "{claims}");
        }
    }

    #[test]
    fn claims_must_be_exactly_equal() {
        let mut rule = rule("/a", &[], Access::Token);
        rule.claims
            .insert("level".to_owned(), ClaimTest::Equals(json!(2)));
        assert_eq!(unmet(&rule, &json!({"level": 2})), None);
        for claims in [
            json!({}),
            json!({"level": 3}),
            json!({"level": "2"}),
            json!({"level": [2]}),
        ] {
            assert!(unmet(&rule, &claims).is_some(), "{claims}");
        }
    }

    #[test]
    fn one_of_any_scopes_is_enough() {
        let mut rule = rule("/a", &[], Access::Token);
        rule.any_scopes = vec!["a".to_owned(), "b".to_owned()];
        assert_eq!(unmet(&rule, &json!({"scp": ["x", "b"]})), None);
        let reason = unmet(&rule, &json!({"scope": "c ab"}));
        assert_eq!(
            reason.as_deref(),
            Some("none of the scopes a, b is granted")
        );
    }

    #[test]
    fn a_claim_contains_an_item_of_a_list_or_a_name_of_a_text() {
        let rule = with_claim("groups", ClaimTest::Contains(json!("ops")));
        for groups in [json!(["dev", "ops"]), json!("ops"), json!("dev ops")] {
            assert_eq!(unmet(&rule, &json!({"groups": groups})), None, "{groups}");
        }
        for groups in [
            json!([]),
            json!("devops"),
            json!([["ops"]]),
            json!({"ops": 1}),
            json!(null),
        ] {
            assert!(
                unmet(&rule, &json!({"groups": groups})).is_some(),
                "{groups}"
            );
        }
        assert!(unmet(&rule, &json!({})).is_some());
    }

    #[test]
    fn a_claim_is_one_of_some_values() {
        let rule = with_claim("tier", ClaimTest::OneOf(vec![json!("gold"), json!(2)]));
        assert_eq!(unmet(&rule, &json!({"tier": "gold"})), None);
        assert_eq!(unmet(&rule, &json!({"tier": 2})), None);
        for tier in [json!("2"), json!(["gold"]), json!("goldish"), json!(null)] {
            assert!(unmet(&rule, &json!({"tier": tier})).is_some(), "{tier}");
        }
    }

    #[test]
    fn a_dotted_name_leads_into_a_nested_claim() {
        let rule = with_claim("realm_access.roles", ClaimTest::Contains(json!("admin")));
        let nested = json!({"realm_access": {"roles": ["admin"]}});
        assert_eq!(unmet(&rule, &nested), None);
        for claims in [
            json!({"realm_access": "roles admin"}),
            json!({"realm_access": {"roles": {"admin": true}}}),
            json!({"roles": ["admin"]}),
            json!({"realm_access": [{"roles": ["admin"]}]}),
        ] {
            assert!(unmet(&rule, &claims).is_some(), "{claims}");
        }
        // A claim that is called so wins: the names of OpenID Connect's own are addresses with dots.
        let named = with_claim("https://a.example/team", ClaimTest::Equals(json!("blue")));
        assert_eq!(
            unmet(&named, &json!({"https://a.example/team": "blue"})),
            None
        );
    }

    #[test]
    fn a_login_must_be_recent() {
        let mut rule = rule("/a", &[], Access::Token);
        rule.max_age = Some(Duration::from_mins(1));
        assert_eq!(unmet(&rule, &json!({"auth_time": NOW.0 - 60})), None);
        for time in [json!(NOW.0 - 61), json!(null), json!("x"), json!(-1)] {
            assert!(
                unmet(&rule, &json!({"auth_time": time})).is_some(),
                "{time}"
            );
        }
        assert!(unmet(&rule, &json!({})).is_some());
    }
}
