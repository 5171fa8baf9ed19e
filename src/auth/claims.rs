//! The payload of a token: what an issuer's policy demands of it (RFC 7519 section 4.1), and how it is read afterwards.

mod derived;

use std::any::Any;
use std::sync::Arc;

use derived::Derived;
use serde::Serialize;
use serde_json::{Map, Number, Value};

use super::identity_fields::{Field, FieldsError, IdentityFields};
use super::{UnixTime, shown};
use crate::config::{Binding, ClaimTest, Issuer};

/// The verified payload of a token.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Claims {
    members: Map<String, Value>,
    /// What the configuration calls the issuer that signed the token.
    #[serde(skip)]
    verified_by: Option<Arc<str>>,
    /// The fields of the request that say some of it; kept here, so that a token that comes again makes none anew.
    #[serde(skip)]
    fields: Result<Vec<Field>, FieldsError>,
    /// Whether there is `cnf`: asked with every request, and nearly all tokens have none.
    #[serde(skip)]
    has_confirmation: bool,
    #[serde(skip)]
    derived: Derived,
}

impl Claims {
    /// Only `token` makes these, after it has checked everything.
    pub(super) fn new(members: Map<String, Value>) -> Self {
        Self {
            has_confirmation: members.contains_key(CONFIRMATION),
            members,
            verified_by: None,
            fields: Ok(Vec::new()),
            derived: Derived::default(),
        }
    }

    /// The same, of a token that this issuer signed.
    pub(super) fn verified_by(mut self, issuer: &Arc<str>) -> Self {
        self.verified_by = Some(Arc::clone(issuer));
        self
    }

    /// The same, with the fields that are made of them and of their token.
    pub(super) fn with_fields(mut self, fields: &IdentityFields, token: &[u8]) -> Self {
        self.fields = fields.of(&self.members, token);
        self
    }

    /// The fields in which the application gets some of them; whoever else set one is a forger.
    pub(crate) fn fields(&self) -> Result<&[Field], FieldsError> {
        self.fields.as_deref().map_err(|error| *error)
    }

    /// A claim by name.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.members.get(name)
    }

    /// Whether the claim of this name, or at this dotted path, is there and as the test asks.
    pub(super) fn passes(&self, path: &str, test: &ClaimTest) -> bool {
        at(&self.members, path).is_some_and(|value| passes(value, test))
    }

    /// `iat`: when it was issued, in whole seconds since 1970 (RFC 7519 section 4.1.6).
    pub(super) fn issued_at(&self) -> Option<i64> {
        let number = self.get("iat").and_then(Value::as_number)?;
        whole_seconds(number, f64::floor)
    }

    /// `sub`: whom the token is about (RFC 7519 section 4.1.2).
    pub fn subject(&self) -> Option<&str> {
        self.get("sub").and_then(Value::as_str)
    }

    /// The `name` of the `[[auth.issuer]]` whose key the token is signed with: what `iss` says it may say itself.
    pub fn issuer_name(&self) -> Option<&str> {
        self.verified_by.as_deref()
    }

    /// Who signed it (`iss`).
    pub fn issuer(&self) -> Option<&str> {
        self.get("iss").and_then(Value::as_str)
    }

    /// What was granted: `scope` (RFC 8693 section 4.2) and `scp`, each a list, or names separated by spaces.
    pub fn scopes(&self) -> impl Iterator<Item = &str> {
        ["scope", "scp"]
            .into_iter()
            .filter_map(|name| self.get(name))
            .flat_map(strings)
            .flat_map(|text| text.split(' '))
            .filter(|scope| !scope.is_empty())
    }

    /// `roles`: a list, or one role.
    pub fn roles(&self) -> impl Iterator<Item = &str> {
        self.get("roles").into_iter().flat_map(strings)
    }

    /// The thumbprint of the key that the token is bound to: `cnf.jkt` (RFC 9449 section 6.1).
    pub fn bound_key(&self) -> Option<&str> {
        self.confirmation(KEY)
    }

    /// The digest of the certificate that the token is bound to: `cnf.x5t#S256` (RFC 8705 section 3.1).
    pub fn bound_certificate(&self) -> Option<&str> {
        self.confirmation(CERTIFICATE)
    }

    fn confirmation(&self, name: &str) -> Option<&str> {
        if !self.has_confirmation {
            return None;
        }
        confirmation(&self.members, name).and_then(Value::as_str)
    }

    /// What `make` makes of them, once for all requests with the same token: claims are kept as long as their token is recognised. One
    /// type is kept for each; what is made of another one besides is made each time.
    pub fn derived<T: Any + Send + Sync>(&self, make: impl FnOnce() -> T) -> Arc<T> {
        self.derived.of(make)
    }

    /// Every claim, in the order of the token.
    pub fn as_map(&self) -> &Map<String, Value> {
        &self.members
    }
}

/// By what whoever shows the token is known (RFC 7800 section 3.1).
const CONFIRMATION: &str = "cnf";
const KEY: &str = "jkt";
const CERTIFICATE: &str = "x5t#S256";

/// A member of `cnf`.
fn confirmation<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    claims.get(CONFIRMATION)?.as_object()?.get(name)
}

/// A claim by name, or where none is called so, by its dotted path into nested claims: `realm_access.roles`.
pub(super) fn at<'a>(claims: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    claims.get(path).or_else(|| {
        let mut names = path.split('.');
        let first = claims.get(names.next()?)?;
        names.try_fold(first, |value, name| value.as_object()?.get(name))
    })
}

fn passes(value: &Value, test: &ClaimTest) -> bool {
    match test {
        ClaimTest::Equals(wanted) => value == wanted,
        ClaimTest::OneOf(wanted) => wanted.contains(value),
        ClaimTest::Contains(wanted) => match (value, wanted) {
            (Value::Array(items), wanted) => items.contains(wanted),
            (Value::String(names), Value::String(wanted)) => {
                names.split(' ').any(|name| name == wanted)
            }
            _ => false,
        },
    }
}

/// The string, or the strings of the list.
fn strings(value: &Value) -> impl Iterator<Item = &str> {
    let one = value.as_str();
    let many = value.as_array().into_iter().flatten();
    one.into_iter().chain(many.filter_map(Value::as_str))
}

/// Why a payload is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClaimError {
    /// It is not there, or null.
    #[error("claim {} is missing", shown(.0))]
    Missing(String),
    /// It is not what the issuer's tokens must say.
    #[error("claim {} does not have a value that is needed", shown(.0))]
    Value(String),
    /// It has another type than RFC 7519 gives it.
    #[error("claim `{name}` is not {wanted}")]
    Type {
        /// Which claim.
        name: &'static str,
        /// What it must be.
        wanted: &'static str,
    },
    /// `now >= exp + leeway`.
    #[error("the token expired at {expiry}, it is {now}")]
    Expired {
        /// `exp`.
        expiry: i64,
        /// The time of the check.
        now: i64,
    },
    /// `nbf > now + leeway`.
    #[error("the token is not valid before {start}, it is {now}")]
    NotYet {
        /// `nbf`.
        start: i64,
        /// The time of the check.
        now: i64,
    },
    /// `iat > now + leeway`.
    #[error("the token was issued in the future, at {issued}, it is {now}")]
    FromTheFuture {
        /// `iat`.
        issued: i64,
        /// The time of the check.
        now: i64,
    },
    /// A refresh token, which is for the token service only.
    #[error("claim `token_type` is not `access`")]
    TokenType,
    /// Another issuer than the one whose key fits.
    #[error("claim `iss` is not {}", shown(.0))]
    Issuer(String),
    /// It is meant for someone else.
    #[error("claim `aud` holds none of the accepted audiences")]
    Audience,
    /// RFC 7519 section 4.1.3: who does not identify with a value of it must refuse.
    #[error("claim `aud` is present, but no audience is configured")]
    UnexpectedAudience,
}

/// When a payload that passed [`check`] is expired, leeway included.
pub(super) fn expiry(claims: &Map<String, Value>, issuer: &Issuer) -> i64 {
    let leeway = i64::try_from(issuer.leeway.as_secs()).unwrap_or(i64::MAX);
    let expiry = date(claims, "exp").ok().flatten();
    expiry.map_or(i64::MIN, |expiry| expiry.saturating_add(leeway))
}

/// Checks a payload against the policy of an issuer.
pub(super) fn check(
    claims: &Map<String, Value>,
    issuer: &Issuer,
    now: UnixTime,
) -> Result<(), ClaimError> {
    let leeway = i64::try_from(issuer.leeway.as_secs()).unwrap_or(i64::MAX);
    let now = i64::try_from(now.0).unwrap_or(i64::MAX);
    let latest = now.saturating_add(leeway);

    let expiry = date(claims, "exp")?.ok_or_else(|| ClaimError::Missing("exp".to_owned()))?;
    if now >= expiry.saturating_add(leeway) {
        return Err(ClaimError::Expired { expiry, now });
    }
    if let Some(start) = date(claims, "nbf")?.filter(|start| *start > latest) {
        return Err(ClaimError::NotYet { start, now });
    }
    if let Some(issued) = date(claims, "iat")?.filter(|issued| *issued > latest) {
        return Err(ClaimError::FromTheFuture { issued, now });
    }

    let iss = text(claims, "iss")?;
    text(claims, "sub")?;
    text(claims, "jti")?;
    if let Some(expected) = &issuer.issuer {
        match iss {
            None => return Err(ClaimError::Missing("iss".to_owned())),
            Some(iss) if iss != expected => return Err(ClaimError::Issuer(expected.clone())),
            Some(_) => {}
        }
    }
    audience(claims.get("aud"), &issuer.audience)?;
    for name in &issuer.require {
        if claims.get(name).is_none_or(Value::is_null) {
            return Err(ClaimError::Missing(name.clone()));
        }
    }
    for (name, test) in &issuer.claims {
        if !at(claims, name).is_some_and(|value| passes(value, test)) {
            return Err(ClaimError::Value(name.clone()));
        }
    }
    Ok(())
}

/// Refuses a token of the token service that opens nothing, such as a refresh token; where it signs sliding tokens, they do, and
/// access tokens of before do still (the claim is `SimpleJWT`'s).
pub(super) fn check_token_type(
    claims: &Map<String, Value>,
    issuer: &Issuer,
) -> Result<(), ClaimError> {
    let opens = |token_type: &Value| {
        token_type == "access" || (issuer.signs_sliding_tokens && token_type == "sliding")
    };
    match claims.get("token_type") {
        Some(token_type) if issuer.signs_refresh_tokens && !opens(token_type) => {
            Err(ClaimError::TokenType)
        }
        Some(_) | None => Ok(()),
    }
}

/// Refuses a token that is not bound as all tokens of its issuer are, or whose binding cannot be understood: who took it for a
/// token without one would let anybody use it. Other members of `cnf` are ignored (RFC 7800 section 3.1).
pub(super) fn check_confirmation(
    claims: &Map<String, Value>,
    issuer: &Issuer,
) -> Result<(), ClaimError> {
    let (name, wanted) = ("cnf", "an object whose `jkt` and `x5t#S256` are strings");
    let is_understood = |cnf: &Value| {
        let is_text = |member| cnf.get(member).is_none_or(Value::is_string);
        cnf.is_object() && is_text(KEY) && is_text(CERTIFICATE)
    };
    if !claims.get(name).is_none_or(is_understood) {
        return Err(ClaimError::Type { name, wanted });
    }
    let needed = match issuer.binding {
        Binding::None => return Ok(()),
        Binding::Dpop => KEY,
        Binding::Mtls => CERTIFICATE,
    };
    match confirmation(claims, needed) {
        Some(_) => Ok(()),
        None => Err(ClaimError::Missing(format!("{name}.{needed}"))),
    }
}

/// A `NumericDate` in whole seconds, before 1970 too. A fraction is rounded up, which compares exactly with a `now` in
/// whole seconds.
pub(super) fn date(
    claims: &Map<String, Value>,
    name: &'static str,
) -> Result<Option<i64>, ClaimError> {
    let wanted = "a number of seconds since 1970";
    match claims.get(name) {
        None => Ok(None),
        Some(Value::Number(number)) => seconds(number)
            .map(Some)
            .ok_or(ClaimError::Type { name, wanted }),
        Some(
            Value::Null | Value::Bool(_) | Value::String(_) | Value::Array(_) | Value::Object(_),
        ) => Err(ClaimError::Type { name, wanted }),
    }
}

fn seconds(number: &Number) -> Option<i64> {
    whole_seconds(number, f64::ceil)
}

fn whole_seconds(number: &Number, round: fn(f64) -> f64) -> Option<i64> {
    /// Beyond it two readers may see two times: a double does not hold every second (RFC 8259 section 6).
    const EXACT: i64 = (1 << 53) - 1;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a cast to an integer stops at its bounds, which lie outside the range"
    )]
    let whole = |seconds: f64| round(seconds) as i64;
    let seconds = number.as_i64().or_else(|| number.as_f64().map(whole))?;
    (-EXACT..=EXACT).contains(&seconds).then_some(seconds)
}

fn text<'a>(
    claims: &'a Map<String, Value>,
    name: &'static str,
) -> Result<Option<&'a str>, ClaimError> {
    let wanted = "a string";
    claims
        .get(name)
        .map(|value| value.as_str().ok_or(ClaimError::Type { name, wanted }))
        .transpose()
}

fn audience(claim: Option<&Value>, accepted: &[String]) -> Result<(), ClaimError> {
    let is_accepted = |text: &str| accepted.iter().any(|each| each == text);
    let error = ClaimError::Type {
        name: "aud",
        wanted: "a string or a list of strings",
    };
    let holds_one = match claim {
        None if accepted.is_empty() => return Ok(()),
        None => return Err(ClaimError::Missing("aud".to_owned())),
        Some(Value::String(text)) => is_accepted(text),
        Some(Value::Array(list)) if list.iter().all(Value::is_string) => {
            list.iter().filter_map(Value::as_str).any(is_accepted)
        }
        Some(
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_),
        ) => return Err(error),
    };
    match (holds_one, accepted.is_empty()) {
        (true, _) => Ok(()),
        (false, true) => Err(ClaimError::UnexpectedAudience),
        (false, false) => Err(ClaimError::Audience),
    }
}

#[cfg(test)]
mod laws;
#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use serde_json::json;

    use super::super::fixtures::{NOW, fresh, issuer};
    use super::*;

    fn check_with(claims: &Value, issuer: &Issuer) -> Result<(), ClaimError> {
        check(claims.as_object().unwrap(), issuer, NOW)
    }

    fn check_plain(claims: &Value) -> Result<(), ClaimError> {
        check_with(claims, &issuer("a"))
    }

    fn lenient(seconds: u64) -> Issuer {
        Issuer {
            leeway: Duration::from_secs(seconds),
            ..issuer("a")
        }
    }

    #[test]
    fn a_token_is_expired_from_exp_on() {
        assert_eq!(check_plain(&json!({"exp": NOW.0 + 1})), Ok(()));
        let error = check_plain(&json!({"exp": NOW.0})).unwrap_err();
        assert!(matches!(error, ClaimError::Expired { .. }));
        assert_eq!(check_with(&json!({"exp": NOW.0}), &lenient(1)), Ok(()));
        assert!(check_with(&json!({"exp": NOW.0 - 1}), &lenient(1)).is_err());
    }

    #[test]
    fn a_refresh_token_of_the_token_service_is_no_access_token() {
        let service = Issuer {
            signs_refresh_tokens: true,
            ..issuer("a")
        };
        let check =
            |claims: Value, issuer: &Issuer| check_token_type(claims.as_object().unwrap(), issuer);
        assert_eq!(check(json!({"token_type": "access"}), &service), Ok(()));
        assert_eq!(check(json!({}), &service), Ok(()));
        for token_type in [json!("refresh"), json!("sliding"), json!(null), json!(1)] {
            let claims = json!({ "token_type": token_type });
            assert_eq!(check(claims.clone(), &service), Err(ClaimError::TokenType));
            assert_eq!(check(claims, &issuer("a")), Ok(()));
        }
        let sliding = Issuer {
            signs_sliding_tokens: true,
            ..service
        };
        for (token_type, opens) in [("access", true), ("sliding", true), ("refresh", false)] {
            let claims = json!({ "token_type": token_type });
            assert_eq!(check(claims, &sliding).is_ok(), opens, "{token_type}");
        }
    }

    #[test]
    fn exp_is_required() {
        let error = ClaimError::Missing("exp".to_owned());
        assert_eq!(check_plain(&json!({})), Err(error));
    }

    #[test]
    fn a_fraction_is_compared_exactly() {
        let half = |seconds: u64| format!("{seconds}.5").parse::<f64>().unwrap();
        assert_eq!(check_plain(&json!({"exp": half(NOW.0)})), Ok(()));
        assert!(check_plain(&json!({"exp": half(NOW.0 - 1)})).is_err());
        assert!(check_plain(&fresh(json!({"nbf": half(NOW.0)}))).is_err());
        assert_eq!(check_plain(&fresh(json!({"nbf": half(NOW.0 - 1)}))), Ok(()));
    }

    #[test]
    fn nbf_and_iat_of_the_future_are_refused() {
        for name in ["nbf", "iat"] {
            assert_eq!(check_plain(&fresh(json!({name: NOW.0}))), Ok(()));
            assert!(check_plain(&fresh(json!({name: NOW.0 + 1}))).is_err());
            let late = fresh(json!({name: NOW.0 + 5}));
            assert_eq!(check_with(&late, &lenient(5)), Ok(()));
            assert!(check_with(&late, &lenient(4)).is_err());
        }
    }

    #[test]
    fn a_date_is_a_number_that_time_can_be() {
        for name in ["exp", "nbf", "iat"] {
            for value in [
                json!("1900000000"),
                json!(null),
                json!(true),
                json!([1]),
                json!(1_u64 << 53),
                json!(u64::MAX),
                json!(i64::MAX),
                json!(i64::MIN),
                json!(9_007_199_254_740_992.0),
                json!(1e20),
                json!(1e300),
                json!(-1e300),
            ] {
                let error = check_plain(&fresh(json!({name: value}))).unwrap_err();
                assert!(matches!(error, ClaimError::Type { .. }), "{name} {value}");
            }
        }
        let last = (1_u64 << 53) - 1;
        assert_eq!(check_with(&json!({"exp": last}), &lenient(9)), Ok(()));
        assert!(check_with(&fresh(json!({"nbf": last})), &lenient(9)).is_err());
    }

    #[test]
    fn a_time_before_1970_is_past() {
        for past in [json!(-1), json!(-0.5), json!(-9_007_199_254_740_991_i64)] {
            let claims = fresh(json!({"nbf": past, "iat": past}));
            assert_eq!(check_plain(&claims), Ok(()), "{past}");
            let error = check_plain(&json!({"exp": past})).unwrap_err();
            assert!(matches!(error, ClaimError::Expired { .. }), "{past}");
        }
    }

    #[test]
    fn iss_sub_and_jti_are_strings() {
        for name in ["iss", "sub", "jti"] {
            assert_eq!(check_plain(&fresh(json!({name: "x"}))), Ok(()));
            for value in [json!(5), json!(null), json!(["x"]), json!({})] {
                let error = check_plain(&fresh(json!({name: value}))).unwrap_err();
                assert!(matches!(error, ClaimError::Type { .. }), "{name} {value}");
            }
        }
    }

    #[test]
    fn claims_must_be_what_the_issuer_wants() {
        let wanted = [
            ("tier".to_owned(), ClaimTest::Equals(json!("gold"))),
            (
                "realm.env".to_owned(),
                ClaimTest::OneOf(vec![json!("live")]),
            ),
        ];
        let issuer = Issuer {
            claims: wanted.into_iter().collect(),
            ..issuer("a")
        };
        let good = fresh(json!({"tier": "gold", "realm": {"env": "live"}}));
        assert_eq!(check_with(&good, &issuer), Ok(()));
        for (claims, name) in [
            (json!({"tier": "gold"}), "realm.env"),
            (
                json!({"tier": "gold", "realm": {"env": "test"}}),
                "realm.env",
            ),
            (json!({"tier": ["gold"], "realm": {"env": "live"}}), "tier"),
        ] {
            let error = check_with(&fresh(claims), &issuer);
            assert_eq!(error, Err(ClaimError::Value(name.to_owned())));
        }
    }

    #[test]
    fn iss_must_be_the_configured_one() {
        let issuer = Issuer {
            issuer: Some("https://a".to_owned()),
            ..issuer("a")
        };
        assert_eq!(
            check_with(&fresh(json!({"iss": "https://a"})), &issuer),
            Ok(())
        );
        for claims in [
            json!({}),
            json!({"iss": "https://a/"}),
            json!({"iss": ["https://a"]}),
        ] {
            assert!(check_with(&fresh(claims), &issuer).is_err());
        }
    }

    #[test]
    fn aud_must_hold_a_configured_one() {
        let issuer = Issuer {
            audience: vec!["api".to_owned(), "web".to_owned()],
            ..issuer("a")
        };
        for aud in [json!("api"), json!("web"), json!(["x", "web"])] {
            assert_eq!(check_with(&fresh(json!({"aud": aud})), &issuer), Ok(()));
        }
        for aud in [
            json!("other"),
            json!([]),
            json!(["x"]),
            json!(5),
            json!(null),
            json!(["api", 5]),
            json!({"api": 1}),
        ] {
            assert!(
                check_with(&fresh(json!({"aud": aud})), &issuer).is_err(),
                "{aud}"
            );
        }
        let error = check_with(&fresh(json!({})), &issuer).unwrap_err();
        assert_eq!(error, ClaimError::Missing("aud".to_owned()));
    }

    #[test]
    fn aud_is_refused_when_none_is_configured() {
        for aud in [json!("api"), json!(["api"]), json!([])] {
            let result = check_plain(&fresh(json!({"aud": aud})));
            assert_eq!(result, Err(ClaimError::UnexpectedAudience));
        }
    }

    #[test]
    fn required_claims_of_any_name_must_be_there() {
        let issuer = Issuer {
            require: vec!["jti".to_owned(), "tenant".to_owned()],
            ..issuer("a")
        };
        assert_eq!(
            check_with(&fresh(json!({"jti": "1", "tenant": 0})), &issuer),
            Ok(())
        );
        for claims in [json!({"jti": "1"}), json!({"jti": "1", "tenant": null})] {
            let error = check_with(&fresh(claims), &issuer).unwrap_err();
            assert_eq!(error, ClaimError::Missing("tenant".to_owned()));
        }
    }

    #[test]
    fn scopes_and_roles_are_read_in_every_common_form() {
        let claims = |value: Value| Claims::new(value.as_object().unwrap().clone());
        for value in [
            json!({"scope": "a  b"}),
            json!({"scp": ["a", "b"]}),
            json!({"scope": "a", "scp": ["b", 5]}),
        ] {
            assert_eq!(claims(value).scopes().collect::<Vec<_>>(), ["a", "b"]);
        }
        assert_eq!(claims(json!({"scope": 5})).scopes().count(), 0);
        let roles = claims(json!({"roles": ["a b", "c"]}));
        assert_eq!(roles.roles().collect::<Vec<_>>(), ["a b", "c"]);
        assert_eq!(
            claims(json!({"roles": "a b"})).roles().collect::<Vec<_>>(),
            ["a b"]
        );
        assert_eq!(claims(json!({"sub": "u"})).subject(), Some("u"));
        assert_eq!(
            serde_json::to_string(&claims(json!({"z": 1, "a": 2}))).unwrap(),
            r#"{"z":1,"a":2}"#
        );
    }

    proptest! {
        #[test]
        fn exp_nbf_and_iat_are_plain_arithmetic(
            exp in NOW.0 - 100..NOW.0 + 100, nbf in NOW.0 - 100..NOW.0 + 100,
            iat in NOW.0 - 100..NOW.0 + 100, leeway in 0u64..50,
        ) {
            let is_valid = NOW.0 < exp + leeway && nbf <= NOW.0 + leeway && iat <= NOW.0 + leeway;
            let claims = json!({"exp": exp, "nbf": nbf, "iat": iat});
            prop_assert_eq!(check_with(&claims, &lenient(leeway)).is_ok(), is_valid);
        }

        #[test]
        fn no_number_makes_it_panic(exp in any::<f64>(), nbf in any::<i64>(), leeway in any::<u64>()) {
            drop(check_with(&json!({"exp": exp, "nbf": nbf}), &lenient(leeway)));
        }

        #[test]
        fn a_token_is_for_us_exactly_when_the_lists_meet(
            aud in proptest::collection::vec("[a-d]", 0..4), accepted in proptest::collection::vec("[a-d]", 1..4),
        ) {
            let meets = aud.iter().any(|each| accepted.contains(each));
            let issuer = Issuer { audience: accepted, ..issuer("a") };
            prop_assert_eq!(check_with(&fresh(json!({"aud": aud})), &issuer).is_ok(), meets);
        }

        #[test]
        fn iss_matches_only_itself(iss in ".{0,6}", expected in ".{0,6}") {
            let is_same = iss == expected;
            let issuer = Issuer { issuer: Some(expected), ..issuer("a") };
            prop_assert_eq!(check_with(&fresh(json!({"iss": iss})), &issuer).is_ok(), is_same);
        }

        #[test]
        fn every_required_claim_is_needed(
            held in proptest::collection::btree_set("[f-i]", 0..4), require in proptest::collection::btree_set("[f-i]", 0..4),
        ) {
            let mut claims = fresh(json!({}));
            for name in &held { claims[name.as_str()] = json!(1); }
            let issuer = Issuer { require: require.iter().cloned().collect(), ..issuer("a") };
            prop_assert_eq!(check_with(&claims, &issuer).is_ok(), require.is_subset(&held));
        }
    }
}
