//! The claims of the tokens that are issued, in the order in which `SimpleJWT` writes them, and what is read of those that come
//! back.

use std::time::Duration;

use serde_json::{Map, Value};

use super::rotation::{Millis, Successor};
use super::store::User;
use crate::config::{self, RESERVED_CLAIMS, Schema};

/// Claims of a token, in order.
pub(super) type ClaimMap = Map<String, Value>;

/// What the tokens of a service have in common.
#[derive(Debug, Clone)]
pub(super) struct Style {
    user_id_claim: String,
    access_lifetime: Duration,
    refresh_lifetime: Duration,
    sliding_lifetime: Duration,
    sliding_refresh_lifetime: Duration,
    leeway: Duration,
    audience: Option<Value>,
    issuer: Option<String>,
    /// Whether roles and groups stand in the record only. Beside Django they may come from whoever else issues tokens.
    owns_roles: bool,
}

/// A refresh token and an access token that belong together.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Pair {
    pub(super) refresh: ClaimMap,
    pub(super) access: ClaimMap,
}

/// Until when a sliding token may be refreshed.
const REFRESH_EXP: &str = "refresh_exp";

/// 31 December 9999, the last day that Django knows.
const LAST_DAY: i64 = 253_402_300_799;

/// Claims that follow the user's record even when it no longer has them.
const OF_RECORD: [&str; 2] = ["roles", "groups"];

impl Style {
    pub(super) fn new(tokens: &config::Tokens, issuer: &config::Issuer) -> Self {
        Self {
            user_id_claim: tokens.user_id_claim.clone(),
            access_lifetime: tokens.access_lifetime,
            refresh_lifetime: tokens.refresh_lifetime,
            sliding_lifetime: tokens.sliding_lifetime,
            sliding_refresh_lifetime: tokens.sliding_refresh_lifetime,
            leeway: issuer.leeway,
            audience: match issuer.audience.as_slice() {
                [] => None,
                [one] => Some(one.clone().into()),
                several => Some(several.into()),
            },
            issuer: issuer.issuer.clone(),
            owns_roles: tokens.schema == Schema::Destrier,
        }
    }

    /// Whether a user's record may set this claim.
    pub(super) fn is_free(&self, claim: &str) -> bool {
        !claim.is_empty() && claim != self.user_id_claim && !RESERVED_CLAIMS.contains(&claim)
    }

    /// What a login makes.
    pub(super) fn login(&self, user: &User, new: &Successor) -> Pair {
        let mut refresh = Self::dated("refresh", self.refresh_lifetime, &new.refresh, new);
        refresh.insert(self.user_id_claim.clone(), user.id.to_string().into());
        self.follow(&mut refresh, user);
        self.sign_off(&mut refresh);
        let access = self.access(&refresh, &new.access, new);
        Pair { refresh, access }
    }

    /// What a login makes where tokens slide.
    pub(super) fn sliding_login(&self, user: &User, new: &Successor) -> ClaimMap {
        let mut token = Self::dated("sliding", self.sliding_lifetime, &new.refresh, new);
        let until = later(new.at.seconds(), self.sliding_refresh_lifetime);
        token.insert(REFRESH_EXP.to_owned(), until.into());
        token.insert(self.user_id_claim.clone(), user.id.to_string().into());
        self.follow(&mut token, user);
        self.sign_off(&mut token);
        token
    }

    /// The same sliding token, valid for a while again: all but its times stays.
    pub(super) fn slid(&self, old: &ClaimMap, user: Option<&User>, now: Millis) -> ClaimMap {
        let mut token = self.current(old, user);
        let now = now.seconds();
        token.insert("exp".to_owned(), later(now, self.sliding_lifetime).into());
        token.insert("iat".to_owned(), now.into());
        token
    }

    /// When the last that can come of a sliding token has expired.
    pub(super) fn end_of_sliding(&self, token: &ClaimMap) -> i64 {
        let last_refresh = token.get(REFRESH_EXP).map_or(0, seconds);
        later(last_refresh, self.sliding_lifetime)
    }

    /// Whether a sliding token may still be refreshed.
    pub(super) fn check_refresh_exp(&self, token: &ClaimMap, now: Millis) -> Result<(), KindError> {
        let until = token.get(REFRESH_EXP).ok_or(KindError::NoRefreshExp)?;
        if !until.is_number() || seconds(until) > LAST_DAY {
            return Err(KindError::Invalid);
        }
        if now.seconds() < later(seconds(until), self.leeway) {
            Ok(())
        } else {
            Err(KindError::RefreshExpired)
        }
    }

    /// The access token that belongs to a refresh token: every claim but its own kind, times and name.
    pub(super) fn access(&self, refresh: &ClaimMap, jti: &str, made: &Successor) -> ClaimMap {
        let mut access = Self::dated("access", self.access_lifetime, jti, made);
        for (name, value) in refresh {
            if !matches!(name.as_str(), "token_type" | "exp" | "iat" | "jti") {
                access.insert(name.clone(), value.clone());
            }
        }
        self.sign_off(&mut access);
        access
    }

    /// What a rotation makes of a refresh token: all its other claims stay where they are.
    pub(super) fn rotated(&self, old: &ClaimMap, user: Option<&User>, new: &Successor) -> Pair {
        let refresh = Self::dated("refresh", self.refresh_lifetime, &new.refresh, new);
        let mut rotated = self.current(old, user);
        for (name, value) in refresh {
            rotated.insert(name, value);
        }
        let access = self.access(&rotated, &new.access, new);
        Pair {
            refresh: rotated,
            access,
        }
    }

    /// The claims of a refresh token, with what the user's record says now.
    pub(super) fn current(&self, old: &ClaimMap, user: Option<&User>) -> ClaimMap {
        let mut claims = old.clone();
        if let Some(user) = user {
            self.follow(&mut claims, user);
        }
        claims
    }

    fn follow(&self, claims: &mut ClaimMap, user: &User) {
        for name in OF_RECORD {
            if self.owns_roles && !user.claims.contains_key(name) {
                // Not `remove`, which would put the last claim in its place.
                claims.shift_remove(name);
            }
        }
        for (name, value) in &user.claims {
            if self.is_free(name) {
                claims.insert(name.clone(), value.clone());
            }
        }
    }

    fn dated(kind: &str, lifetime: Duration, jti: &str, made: &Successor) -> ClaimMap {
        let now = made.at.seconds();
        let mut claims = Map::new();
        claims.insert("token_type".to_owned(), kind.into());
        claims.insert("exp".to_owned(), later(now, lifetime).into());
        claims.insert("iat".to_owned(), now.into());
        claims.insert("jti".to_owned(), jti.into());
        claims
    }

    fn sign_off(&self, claims: &mut ClaimMap) {
        if let Some(audience) = &self.audience {
            claims.insert("aud".to_owned(), audience.clone());
        }
        if let Some(issuer) = &self.issuer {
            claims.insert("iss".to_owned(), issuer.clone().into());
        }
    }

    /// Whom a token is about.
    pub(super) fn whom(&self, claims: &ClaimMap) -> Whom {
        match claims.get(&self.user_id_claim) {
            None | Some(Value::Null | Value::Bool(false)) => Whom::Nobody,
            Some(Value::String(text)) if text.is_empty() => Whom::Blank,
            Some(Value::String(text)) => text.trim().parse().map_or(Whom::Unknown, Whom::User),
            Some(Value::Number(number)) => match number.as_i64() {
                Some(0) => Whom::Nobody,
                Some(id) => Whom::User(id),
                None => Whom::Unknown,
            },
            Some(Value::Bool(true) | Value::Array(_) | Value::Object(_)) => Whom::Unknown,
        }
    }
}

/// The user that a token names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whom {
    /// None: such a token passes, as with `SimpleJWT`.
    Nobody,
    /// An empty text: passes where nothing is noted of the token, for else `SimpleJWT` looks for the user.
    Blank,
    /// The one with this number.
    User(i64),
    /// One that cannot exist.
    Unknown,
}

/// Why a token whose signature is good is no good here; the words are `SimpleJWT`'s.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum KindError {
    #[error("Token is invalid")]
    Invalid,
    #[error("Token has no id")]
    NoId,
    #[error("Token has no type")]
    NoType,
    #[error("Token has wrong type")]
    WrongType,
    #[error("Token has no 'refresh_exp' claim")]
    NoRefreshExp,
    #[error("Token 'refresh_exp' claim has expired")]
    RefreshExpired,
}

/// The `jti` of a token of any kind.
pub(super) fn jti(claims: &ClaimMap) -> Result<&str, KindError> {
    let is_date = |name: &str| {
        claims
            .get(name)
            .is_none_or(|date| seconds(date) <= LAST_DAY)
    };
    if !is_date("exp") || !is_date("iat") {
        return Err(KindError::Invalid);
    }
    match claims.get("jti") {
        Some(Value::String(jti)) => Ok(jti),
        Some(_) => Err(KindError::Invalid),
        None => Err(KindError::NoId),
    }
}

/// Whether it is a token of this kind: `refresh`, `sliding`.
pub(super) fn check_kind(claims: &ClaimMap, wanted: &str) -> Result<(), KindError> {
    match claims.get("token_type") {
        Some(kind) if kind == wanted => Ok(()),
        Some(_) => Err(KindError::WrongType),
        None => Err(KindError::NoType),
    }
}

fn later(seconds: i64, time: Duration) -> i64 {
    seconds.saturating_add(i64::try_from(time.as_secs()).unwrap_or(i64::MAX))
}

/// A date of a token in whole seconds.
pub(super) fn seconds(date: &Value) -> i64 {
    let rounded = || date.as_f64().unwrap_or_default();
    #[expect(clippy::cast_possible_truncation, reason = "`as` saturates")]
    date.as_i64().unwrap_or_else(|| rounded() as i64)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::rotation::Millis;
    use super::*;

    fn style(issuer: Option<&str>, audience: &[&str]) -> Style {
        Style {
            user_id_claim: "user_id".to_owned(),
            access_lifetime: Duration::from_mins(5),
            refresh_lifetime: Duration::from_hours(24),
            sliding_lifetime: Duration::from_mins(5),
            sliding_refresh_lifetime: Duration::from_hours(24),
            leeway: Duration::ZERO,
            audience: match audience {
                [] => None,
                [one] => Some((*one).into()),
                several => Some(json!(several)),
            },
            issuer: issuer.map(str::to_owned),
            owns_roles: true,
        }
    }

    fn user(claims: &Value) -> User {
        User {
            id: 1,
            username: "alice".to_owned(),
            is_active: true,
            claims: claims.as_object().unwrap().clone(),
        }
    }

    fn made(seconds: i64) -> Successor {
        Successor {
            refresh: format!("r{seconds}"),
            access: format!("a{seconds}"),
            at: Millis(seconds * 1000 + 999),
        }
    }

    fn text(claims: &ClaimMap) -> String {
        Value::from(claims.clone()).to_string()
    }

    #[test]
    fn claims_stand_in_the_order_of_simplejwt() {
        let pair = style(None, &[]).login(&user(&json!({})), &made(1_795_440_323));
        assert_eq!(
            text(&pair.access),
            r#"{"token_type":"access","exp":1795440623,"iat":1795440323,"jti":"a1795440323","user_id":"1"}"#
        );
        assert_eq!(
            text(&pair.refresh),
            r#"{"token_type":"refresh","exp":1795526723,"iat":1795440323,"jti":"r1795440323","user_id":"1"}"#
        );
        let style = style(Some("https://a.example"), &["api"]);
        let pair = style.login(&user(&json!({"roles": ["ops"]})), &made(0));
        let end = r#""user_id":"1","roles":["ops"],"aud":"api","iss":"https://a.example"}"#;
        assert!(text(&pair.access).ends_with(end) && text(&pair.refresh).ends_with(end));
    }

    #[test]
    fn a_rotation_keeps_every_other_claim_and_the_access_token_copies_them() {
        let old = json!({"token_type": "refresh", "exp": 9, "iat": 1, "jti": "old", "user_id": 7, "tenant": "x"});
        let pair = style(None, &[]).rotated(old.as_object().unwrap(), None, &made(100));
        assert_eq!(
            text(&pair.refresh),
            r#"{"token_type":"refresh","exp":86500,"iat":100,"jti":"r100","user_id":7,"tenant":"x"}"#
        );
        assert_eq!(
            text(&pair.access),
            r#"{"token_type":"access","exp":400,"iat":100,"jti":"a100","user_id":7,"tenant":"x"}"#
        );
    }

    #[test]
    fn roles_and_groups_follow_the_record_and_it_cannot_set_what_is_the_services_own() {
        let style = style(None, &[]);
        let pair = style.login(
            &user(&json!({"roles": ["a"], "exp": 1, "user_id": 2, "x": 1})),
            &made(0),
        );
        assert_eq!(pair.refresh["exp"], 86400);
        assert_eq!(pair.refresh["user_id"], "1");
        let pair = style.rotated(
            &pair.refresh,
            Some(&user(&json!({"groups": ["g"]}))),
            &made(1),
        );
        assert_eq!(pair.access.get("roles"), None);
        assert_eq!(pair.access["groups"], json!(["g"]));
        assert_eq!(pair.access["x"], 1);
    }

    #[test]
    fn a_user_is_named_by_text_or_number() {
        let style = style(None, &[]);
        for (claim, whom) in [
            (json!("12"), Whom::User(12)),
            (json!(12), Whom::User(12)),
            (json!(null), Whom::Nobody),
            (json!(""), Whom::Blank),
            (json!("x"), Whom::Unknown),
            (json!([1]), Whom::Unknown),
            (json!(1e30), Whom::Unknown),
        ] {
            let claims = json!({ "user_id": claim });
            assert_eq!(style.whom(claims.as_object().unwrap()), whom, "{claims}");
        }
        assert_eq!(style.whom(&Map::new()), Whom::Nobody);
    }

    #[test]
    fn a_token_without_a_name_or_of_another_kind_is_told_so() {
        let claims = |value: Value| value.as_object().unwrap().clone();
        assert_eq!(jti(&claims(json!({"exp": 1}))), Err(KindError::NoId));
        assert_eq!(jti(&claims(json!({"exp": 1, "jti": "a"}))), Ok("a"));
        for far in [json!(99_999_999_999_999_i64), json!(1e20)] {
            assert_eq!(
                jti(&claims(json!({"exp": far, "jti": "a"}))),
                Err(KindError::Invalid)
            );
        }
        let untyped = check_kind(&claims(json!({})), "refresh");
        assert_eq!(untyped, Err(KindError::NoType));
        let access = claims(json!({"token_type": "access"}));
        assert_eq!(check_kind(&access, "refresh"), Err(KindError::WrongType));
        assert_eq!(check_kind(&access, "access"), Ok(()));
    }

    #[test]
    fn a_sliding_token_keeps_its_name_and_slides_until_it_may_no_more() {
        let style = Style {
            leeway: Duration::from_secs(2),
            ..style(None, &["api"])
        };
        let token = style.sliding_login(&user(&json!({"roles": ["a"]})), &made(100));
        assert_eq!(
            text(&token),
            r#"{"token_type":"sliding","exp":400,"iat":100,"jti":"r100","refresh_exp":86500,"user_id":"1","roles":["a"],"aud":"api"}"#
        );
        let slid = style.slid(&token, None, Millis(200_999));
        assert_eq!(
            text(&slid),
            r#"{"token_type":"sliding","exp":500,"iat":200,"jti":"r100","refresh_exp":86500,"user_id":"1","roles":["a"],"aud":"api"}"#
        );
        assert_eq!(style.end_of_sliding(&slid), 86800);
        let at = |seconds: i64| style.check_refresh_exp(&slid, Millis(seconds * 1000));
        assert_eq!(at(86501), Ok(()));
        assert_eq!(at(86502), Err(KindError::RefreshExpired));
        let with = |refresh_exp: Value| {
            let claims = json!({ "refresh_exp": refresh_exp });
            style.check_refresh_exp(claims.as_object().unwrap(), Millis(0))
        };
        for odd in [
            json!("1"),
            json!(null),
            json!([1]),
            json!(1e20),
            json!(true),
        ] {
            assert_eq!(with(odd.clone()), Err(KindError::Invalid), "{odd}");
        }
        assert_eq!(with(json!(0.5)), Ok(()));
        let none = style.check_refresh_exp(&Map::new(), Millis(0));
        assert_eq!(none, Err(KindError::NoRefreshExp));
    }
}
