//! The payload of a token: what an issuer's policy demands of it (RFC 7519 section 4.1), and how it is read afterwards.

use serde::Serialize;
use serde_json::{Map, Number, Value};

use super::{UnixTime, shown};
use crate::config::Issuer;

/// The verified payload of a token.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Claims(Map<String, Value>);

impl Claims {
    /// Only `token` makes these, after it has checked everything.
    pub(super) fn new(claims: Map<String, Value>) -> Self {
        Self(claims)
    }

    /// A claim by name.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// `sub`: whom the token is about (RFC 7519 section 4.1.2).
    pub fn subject(&self) -> Option<&str> {
        self.get("sub").and_then(Value::as_str)
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

    /// Every claim, in the order of the token.
    pub fn as_map(&self) -> &Map<String, Value> {
        &self.0
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
        expiry: u64,
        /// The time of the check.
        now: u64,
    },
    /// `nbf > now + leeway`.
    #[error("the token is not valid before {start}, it is {now}")]
    NotYet {
        /// `nbf`.
        start: u64,
        /// The time of the check.
        now: u64,
    },
    /// `iat > now + leeway`.
    #[error("the token was issued in the future, at {issued}, it is {now}")]
    FromTheFuture {
        /// `iat`.
        issued: u64,
        /// The time of the check.
        now: u64,
    },
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

/// Checks a payload against the policy of an issuer.
pub(super) fn check(
    claims: &Map<String, Value>,
    issuer: &Issuer,
    now: UnixTime,
) -> Result<(), ClaimError> {
    let leeway = issuer.leeway.as_secs();
    let UnixTime(now) = now;
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
    Ok(())
}

/// A `NumericDate` in whole seconds. A fraction is rounded up, which compares exactly with a `now` in whole seconds.
fn date(claims: &Map<String, Value>, name: &'static str) -> Result<Option<u64>, ClaimError> {
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

fn seconds(number: &Number) -> Option<u64> {
    /// Beyond 2⁵³ a double does not hold every second.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the range is checked before"
    )]
    number.as_u64().or_else(|| {
        number
            .as_f64()
            .filter(|seconds| (0.0..=EXACT).contains(seconds))
            .map(|seconds| seconds.ceil() as u64)
    })
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
