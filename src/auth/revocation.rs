//! Tokens that are not believed any more although they are valid: lists of what was revoked before it expires.
//!
//! A list is JSON: `{"revoked": [{"jti": "…"}, {"sub": "42", "issued_before": 1767225600}, {"sid": "…"}]}`. An entry may be
//! for one issuer only (`iss`), and may say when it is of no use any more (`exp`). What is not understood is refused as a
//! whole: an entry that is skipped would let pass what somebody wanted stopped.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Claims, UnixTime};
use crate::config::{self, OnStale};

/// Why something is no deny list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DenyListError {
    /// Not the JSON that was expected.
    #[error("it is not a deny list, such as {{\"revoked\": [{{\"jti\": \"…\"}}]}}: {0}")]
    Syntax(String),
    /// An entry must say one thing.
    #[error(
        "entry {0} must have exactly one of `jti`, `sub` and `sid`, each a text that is not empty"
    )]
    Entry(usize),
    /// Only for `sub`.
    #[error("entry {0} has `issued_before`, which goes with `sub` only")]
    IssuedBefore(usize),
}

/// A deny list as it is written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DenyListText {
    /// What was revoked.
    pub revoked: Vec<Revoked>,
}

/// One entry: exactly one of `jti`, `sub` and `sid`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Revoked {
    /// The token of this name (RFC 7519 section 4.1.7).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jti: Option<String>,
    /// Every token of this subject; for the token service, the user's number is one too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sub: Option<String>,
    /// Every token of this session (`OpenID` Connect Front-Channel Logout section 3).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sid: Option<String>,
    /// Of a subject: only those issued before, in seconds since 1970; one that does not say when it was issued is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issued_before: Option<u64>,
    /// Only tokens of this issuer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iss: Option<String>,
    /// When the last of these tokens has expired, in seconds since 1970: then the entry may go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exp: Option<u64>,
}

impl DenyListText {
    /// Reads it.
    ///
    /// # Errors
    /// What is wrong with the first thing that is wrong.
    pub fn parse(json: &[u8]) -> Result<Self, DenyListError> {
        let list: Self = serde_json::from_slice(json)
            .map_err(|error| DenyListError::Syntax(error.to_string()))?;
        for (index, entry) in list.revoked.iter().enumerate() {
            let number = index + 1;
            let what = [&entry.jti, &entry.sub, &entry.sid];
            let given: Vec<_> = what.into_iter().flatten().collect();
            if given.len() != 1 || given.iter().any(|text| text.is_empty()) {
                return Err(DenyListError::Entry(number));
            }
            if entry.issued_before.is_some() && entry.sub.is_none() {
                return Err(DenyListError::IssuedBefore(number));
            }
        }
        Ok(list)
    }
}

/// What an entry is good for, by the text that it names.
type Scopes = BTreeMap<Box<str>, Vec<Scope>>;

/// Which tokens of those that carry a text are meant.
#[derive(Debug)]
struct Scope {
    iss: Option<Box<str>>,
    issued_before: Option<u64>,
}

/// A list, ready to be asked.
#[derive(Debug, Default)]
struct DenyList {
    jti: Scopes,
    sub: Scopes,
    sid: Scopes,
}

impl DenyList {
    fn new(list: DenyListText) -> Self {
        let mut made = Self::default();
        for entry in list.revoked {
            let Revoked {
                jti,
                sub,
                sid,
                issued_before,
                iss,
                exp: _,
            } = entry;
            let scopes = [
                (jti, &mut made.jti),
                (sub, &mut made.sub),
                (sid, &mut made.sid),
            ];
            for (text, scopes) in scopes {
                if let Some(text) = text {
                    let scope = Scope {
                        iss: iss.clone().map(String::into_boxed_str),
                        issued_before,
                    };
                    scopes.entry(text.into_boxed_str()).or_default().push(scope);
                }
            }
        }
        made
    }

    fn count(&self) -> usize {
        let scopes = [&self.jti, &self.sub, &self.sid].into_iter();
        scopes.flat_map(BTreeMap::values).map(Vec::len).sum()
    }

    /// By which claim the token is on the list.
    fn find(&self, claims: &Claims, users: &[String]) -> Option<&'static str> {
        let names = |scopes: &Scopes, claim: &str| match claims.get(claim) {
            Some(Value::String(text)) => covers(scopes, text, claims),
            Some(Value::Number(number)) => covers(scopes, &number.to_string(), claims),
            Some(Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_)) | None => false,
        };
        if names(&self.jti, "jti") {
            return Some("jti");
        }
        if names(&self.sid, "sid") {
            return Some("sid");
        }
        let is_subject = !self.sub.is_empty() && users.iter().any(|claim| names(&self.sub, claim));
        is_subject.then_some("sub")
    }
}

fn covers(scopes: &Scopes, text: &str, claims: &Claims) -> bool {
    // Almost every token is on no list.
    let Some(scopes) = scopes.get(text) else {
        return false;
    };
    let iss = claims.get("iss").and_then(Value::as_str);
    let issued = claims.issued_at();
    scopes.iter().any(|scope| {
        let is_of_issuer = scope.iss.is_none() || scope.iss.as_deref() == iss;
        let is_of_time = match (scope.issued_before, issued) {
            (Some(before), Some(issued)) => u64::try_from(issued).map_or(true, |at| at < before),
            (Some(_), None) | (None, _) => true,
        };
        is_of_issuer && is_of_time
    })
}

/// What a token is refused for though its issuer would accept it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Denied {
    /// It is on a list, by this claim.
    Listed(&'static str),
    /// Nobody knows whether it is: a list is not known, or too old.
    Unknown,
}

/// All the lists of a configuration, in its order; each may be replaced while tokens are judged.
#[derive(Debug)]
pub(super) struct Revocations {
    lists: Vec<ArcSwap<Listed>>,
    on_stale: OnStale,
    /// The claims that name a subject.
    users: Vec<String>,
}

/// What is known of one list.
#[derive(Debug, Default)]
struct Listed {
    list: Option<Arc<DenyList>>,
    /// From then on it is too old.
    good_until: Option<UnixTime>,
}

impl Revocations {
    /// Lists that are not known yet.
    pub(super) fn new(config: &config::Auth) -> Self {
        let service = config.tokens.as_ref();
        let user_id = service.map(|tokens| tokens.user_id_claim.clone());
        Self {
            lists: config
                .revocation
                .lists
                .iter()
                .map(|_| ArcSwap::default())
                .collect(),
            on_stale: config.revocation.on_stale,
            users: ["sub".to_owned()].into_iter().chain(user_id).collect(),
        }
    }

    /// Goes on with this list, which is good until then, or for ever.
    pub(super) fn renew(
        &self,
        place: usize,
        content: &[u8],
        good_until: Option<UnixTime>,
    ) -> Result<(), DenyListError> {
        if let Some(listed) = self.lists.get(place) {
            let list = DenyList::new(DenyListText::parse(content)?);
            listed.store(Arc::new(Listed {
                list: Some(Arc::new(list)),
                good_until,
            }));
        }
        Ok(())
    }

    /// How many entries the list at this place has, where it is known.
    pub(super) fn count(&self, place: usize) -> Option<usize> {
        let listed = self.lists.get(place)?.load();
        listed.list.as_ref().map(|list| list.count())
    }

    /// The list at this place is good until then, or for ever.
    pub(super) fn keep(&self, place: usize, good_until: Option<UnixTime>) {
        if let Some(listed) = self.lists.get(place) {
            let list = listed.load().list.clone();
            listed.store(Arc::new(Listed { list, good_until }));
        }
    }

    /// Whether a token with these claims is refused.
    pub(super) fn check(&self, claims: &Claims, now: UnixTime) -> Result<(), Denied> {
        for listed in &self.lists {
            let listed = listed.load();
            let list = listed.list.as_ref();
            // What was revoked stays so, however old the list is.
            if let Some(claim) = list.and_then(|list| list.find(claims, &self.users)) {
                return Err(Denied::Listed(claim));
            }
            let is_good = list.is_some() && listed.good_until.is_none_or(|until| now < until);
            if !is_good && self.on_stale == OnStale::Deny {
                return Err(Denied::Unknown);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const NOW: UnixTime = UnixTime(1000);

    fn with(list: &Value) -> Revocations {
        let revocations = empty(OnStale::Deny);
        let list = list.to_string();
        revocations.renew(0, list.as_bytes(), None).unwrap();
        revocations
    }

    fn empty(on_stale: OnStale) -> Revocations {
        Revocations {
            lists: vec![ArcSwap::default()],
            on_stale,
            users: vec!["sub".to_owned(), "user_id".to_owned()],
        }
    }

    fn claims(value: &Value) -> Claims {
        Claims::new(value.as_object().unwrap().clone())
    }

    fn check(list: &Value, token: &Value) -> Result<(), Denied> {
        with(&json!({ "revoked": list })).check(&claims(token), NOW)
    }

    #[test]
    fn what_is_named_is_refused_and_nothing_else() {
        let list = json!([{"jti": "a"}, {"sid": "s"}, {"sub": "42"}]);
        for (token, denied) in [
            (json!({"jti": "a", "sub": "1"}), Some("jti")),
            (json!({"jti": "b", "sid": "s"}), Some("sid")),
            (json!({"sub": "42"}), Some("sub")),
            (json!({"user_id": "42"}), Some("sub")),
            (json!({"user_id": 42}), Some("sub")),
            (json!({"jti": "A", "sid": "a", "sub": "a"}), None),
            (json!({"jti": ["a"], "id": "42"}), None),
            (json!({}), None),
        ] {
            let expected = denied.map_or(Ok(()), |claim| Err(Denied::Listed(claim)));
            assert_eq!(check(&list, &token), expected, "{token}");
        }
    }

    #[test]
    fn an_entry_for_one_issuer_is_for_no_other() {
        let list = json!([{"jti": "a", "iss": "https://one"}, {"jti": "b", "iss": "https://two"}]);
        let denied =
            |jti: &str, iss: Value| check(&list, &json!({"jti": jti, "iss": iss})).is_err();
        assert!(denied("a", json!("https://one")));
        assert!(!denied("a", json!("https://two")));
        assert!(!denied("a", Value::Null));
        assert!(denied("b", json!("https://two")));
    }

    #[test]
    fn a_token_that_does_not_say_when_it_was_issued_was_issued_before() {
        let list = json!([{"sub": "u", "issued_before": 500}]);
        assert!(check(&list, &json!({"sub": "u"})).is_err());
        assert!(check(&list, &json!({"sub": "u", "iat": "400"})).is_err());
        assert_eq!(check(&list, &json!({"sub": "u", "iat": 500})), Ok(()));
    }

    proptest! {
        #[test]
        fn of_a_subject_what_was_issued_before_is_refused(before in 0..2000_u64, issued in 0..2000_u64) {
            let list = json!([{"sub": "u", "issued_before": before}]);
            let denied = check(&list, &json!({"sub": "u", "iat": issued})).is_err();
            prop_assert_eq!(denied, issued < before);
        }

        #[test]
        fn no_bytes_can_make_it_panic(bytes: Vec<u8>) {
            let _refused = DenyListText::parse(&bytes);
        }
    }

    #[test]
    fn what_is_not_understood_is_refused_as_a_whole_and_the_list_of_before_stays() {
        let revocations = with(&json!({"revoked": [{"jti": "a"}]}));
        for bad in [
            json!([]),
            json!({}),
            json!({"revoked": [{"jti": "b"}], "more": 1}),
            json!({"revoked": [{"jti": "b", "sub": "c"}]}),
            json!({"revoked": [{"jti": ""}]}),
            json!({"revoked": [{}]}),
            json!({"revoked": [{"jti": 1}]}),
            json!({"revoked": [{"jti": "b", "issued_before": 1}]}),
            json!({"revoked": [{"sub": "b", "issued_before": "1"}]}),
            json!({"revoked": [{"jti": "b", "unknown": "1"}]}),
        ] {
            let text = bad.to_string();
            assert!(
                revocations.renew(0, text.as_bytes(), None).is_err(),
                "{bad}"
            );
        }
        let check = |jti: &str| revocations.check(&claims(&json!({ "jti": jti })), NOW);
        assert_eq!(check("a"), Err(Denied::Listed("jti")));
        assert_eq!(check("b"), Ok(()));
    }

    #[test]
    fn a_list_that_is_not_known_or_too_old_refuses_or_lets_pass_as_configured() {
        let token = claims(&json!({"jti": "b"}));
        let revoked = claims(&json!({"jti": "a"}));
        for (on_stale, verdict) in [
            (OnStale::Deny, Err(Denied::Unknown)),
            (OnStale::Allow, Ok(())),
        ] {
            let revocations = empty(on_stale);
            assert_eq!(revocations.check(&token, NOW), verdict);
            let list = br#"{"revoked": [{"jti": "a"}]}"#;
            let until = Some(UnixTime(NOW.0 + 10));
            revocations.renew(0, list, until).unwrap();
            assert_eq!(revocations.check(&token, UnixTime(NOW.0 + 9)), Ok(()));
            assert_eq!(revocations.check(&token, UnixTime(NOW.0 + 10)), verdict);
            let later = revocations.check(&revoked, UnixTime(NOW.0 + 10));
            assert_eq!(later, Err(Denied::Listed("jti")));
        }
    }
}
