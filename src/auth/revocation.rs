//! Tokens that are not believed any more although they are valid: whether one is on a deny list, and whether that is known.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::deny_list::DenyList;
use super::{Claims, UnixTime};
use crate::config::{self, OnStale};

/// What a token is refused for though its issuer would accept it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Denied {
    /// It is on a list, by this claim.
    Listed(&'static str),
    /// Nobody knows whether it is: the list at this place is not known, or too old.
    Unknown(usize),
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

impl Listed {
    fn is_good(&self, now: UnixTime) -> bool {
        self.list.is_some() && self.good_until.is_none_or(|until| now < until)
    }
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
    pub(super) fn renew(&self, place: usize, list: DenyList, good_until: Option<UnixTime>) {
        if let Some(listed) = self.lists.get(place) {
            let list = Some(Arc::new(list));
            listed.store(Arc::new(Listed { list, good_until }));
        }
    }

    /// The list at this place is good until then, or for ever. Whether it was too old before.
    pub(super) fn keep(&self, place: usize, good_until: Option<UnixTime>, now: UnixTime) -> bool {
        self.lists.get(place).is_some_and(|listed| {
            let before = listed.load();
            let list = before.list.clone();
            listed.store(Arc::new(Listed { list, good_until }));
            !before.is_good(now)
        })
    }

    /// Whether a token with these claims is refused.
    pub(super) fn check(&self, claims: &Claims, now: UnixTime) -> Result<(), Denied> {
        for (place, listed) in self.lists.iter().enumerate() {
            let listed = listed.load();
            let list = listed.list.as_ref();
            // What was revoked stays so, however old the list is.
            if let Some(claim) = list.and_then(|list| list.find(claims, &self.users)) {
                return Err(Denied::Listed(claim));
            }
            if !listed.is_good(now) && self.on_stale == OnStale::Deny {
                return Err(Denied::Unknown(place));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::super::deny_list::DenyListError;
    use super::*;
    use crate::sys::clock;

    const NOW: UnixTime = UnixTime(1000);

    fn with(list: &Value) -> Revocations {
        let revocations = empty(OnStale::Deny);
        renew(&revocations, &list.to_string(), None).unwrap();
        revocations
    }

    fn renew(
        revocations: &Revocations,
        list: &str,
        good_until: Option<UnixTime>,
    ) -> Result<(), DenyListError> {
        revocations.renew(0, DenyList::parse(list.as_bytes())?, good_until);
        Ok(())
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
            assert!(
                renew(&revocations, &bad.to_string(), None).is_err(),
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
            (OnStale::Deny, Err(Denied::Unknown(0))),
            (OnStale::Allow, Ok(())),
        ] {
            let revocations = empty(on_stale);
            assert_eq!(revocations.check(&token, NOW), verdict);
            let list = r#"{"revoked": [{"jti": "a"}]}"#;
            let until = Some(UnixTime(NOW.0 + 10));
            renew(&revocations, list, until).unwrap();
            assert_eq!(revocations.check(&token, UnixTime(NOW.0 + 9)), Ok(()));
            assert_eq!(revocations.check(&token, UnixTime(NOW.0 + 10)), verdict);
            let later = revocations.check(&revoked, UnixTime(NOW.0 + 10));
            assert_eq!(later, Err(Denied::Listed("jti")));
            let (until, now) = (Some(UnixTime(NOW.0 + 20)), UnixTime(NOW.0 + 10));
            assert!(revocations.keep(0, until, now));
            assert!(!revocations.keep(0, until, now));
            assert_eq!(revocations.check(&token, now), Ok(()));
        }
    }

    /// What a list of the largest size costs: `cargo test --lib -- --ignored --nocapture what_the_largest`.
    #[test]
    #[ignore = "it measures and holds nothing"]
    #[expect(clippy::print_stdout, reason = "what was measured")]
    fn what_the_largest_list_costs() {
        let memory = |name: &str| {
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            let digits: String = line.chars().filter(char::is_ascii_digit).collect();
            digits.parse::<u64>().unwrap() / 1024
        };
        let entry = |number: u64| {
            let name = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            format!("{{\"jti\":\"{name:016x}\"}}")
        };
        let entries: Vec<String> = (0..310_000).map(entry).collect();
        let list = format!("{{\"revoked\":[{}]}}", entries.join(","));
        drop(entries);
        assert!(list.len() < 8 * 1024 * 1024);
        let before = memory("VmRSS");
        let started = clock::monotonic();
        let revocations = empty(OnStale::Deny);
        renew(&revocations, &list, None).unwrap();
        let took = clock::monotonic().saturating_sub(started);
        let after = memory("VmRSS").saturating_sub(before);
        println!("{} bytes: {took:?}, {after} MiB held", list.len());
    }
}
