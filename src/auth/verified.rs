//! Tokens that were verified before: a client shows the same one with each request, and a signature costs much more than
//! to recognise it.
//!
//! A token is found by a hash and then compared whole, so that nothing but the token itself is taken for it. Only those that were
//! accepted are kept, and only while nothing of the verdict can have changed: from the time of the verdict until `exp`. All are
//! forgotten when keys change; policies cannot, for a guard is made anew for them.

use std::fmt;
use std::hash::BuildHasher;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use lru::{DefaultHasher, LruCache};

use super::{Claims, UnixTime};

/// Tokens that are kept; about a kilobyte each, and what an application makes of their claims.
const TOKENS_MAX: NonZeroUsize = NonZeroUsize::new(1024).expect("not 0");

/// See the module. The one who looks in is one thread of one worker: each has its own after the fork.
pub(super) struct VerifiedTokens {
    /// By their hashes. Where two have the same one, the later takes the place of the earlier.
    tokens: Mutex<LruCache<u64, Verified>>,
    /// Seeded by chance. Whoever finds tokens with the same hash all the same wins nothing: they are verified each time.
    hasher: DefaultHasher,
    hits: AtomicU64,
    misses: AtomicU64,
}

struct Verified {
    token: Box<[u8]>,
    claims: Arc<Claims>,
    issuer: usize,
    /// When it was verified: at an earlier time `nbf` and `iat` might speak against it.
    since: UnixTime,
    /// Then it has expired.
    until: i64,
}

impl VerifiedTokens {
    pub(super) fn new() -> Self {
        Self {
            tokens: Mutex::new(LruCache::new(TOKENS_MAX)),
            hasher: DefaultHasher::default(),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        }
    }

    /// The claims of a token that was verified before, if it is still valid, and the place of its issuer.
    pub(super) fn find(&self, token: &[u8], now: UnixTime) -> Option<(Arc<Claims>, usize)> {
        let hash = self.hasher.hash_one(token);
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        // How long it takes must not tell how much of a token was guessed.
        let found = tokens
            .get(&hash)
            .filter(|found| verify_slices_are_equal(&found.token, token).is_ok());
        let Some(found) = found else {
            count(&self.misses);
            return None;
        };
        if found.since <= now && i64::try_from(now.0).is_ok_and(|now| now < found.until) {
            count(&self.hits);
            return Some((Arc::clone(&found.claims), found.issuer));
        }
        count(&self.misses);
        tokens.pop(&hash);
        None
    }

    /// How many were recognised, and how many were not, since the process has judged.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.hits.load(Relaxed), self.misses.load(Relaxed))
    }

    /// Forgets all of them.
    pub(super) fn forget(&self) {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.clear();
    }

    /// Keeps a token that was verified just now and expires at `until`, leeway included.
    pub(super) fn keep(
        &self,
        token: &[u8],
        (claims, issuer): (&Arc<Claims>, usize),
        now: UnixTime,
        until: i64,
    ) {
        let hash = self.hasher.hash_one(token);
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let verified = Verified {
            token: token.into(),
            claims: Arc::clone(claims),
            issuer,
            since: now,
            until,
        };
        tokens.put(hash, verified);
    }
}

/// One more. Whoever counts holds the lock, so nobody else does.
fn count(figure: &AtomicU64) {
    figure.store(figure.load(Relaxed) + 1, Relaxed);
}

impl fmt::Debug for VerifiedTokens {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("VerifiedTokens")
    }
}

#[cfg(test)]
mod tests {
    use std::hash::BuildHasher;
    use std::sync::Arc;

    use serde_json::Map;

    use super::VerifiedTokens;
    use crate::auth::{Claims, UnixTime};

    const TOKEN: &[u8] = b"a.b.c";

    fn kept() -> VerifiedTokens {
        let tokens = VerifiedTokens::new();
        let claims = Arc::new(Claims::new(Map::new()));
        tokens.keep(TOKEN, (&claims, 0), UnixTime(100), 200);
        tokens
    }

    #[test]
    fn a_verdict_holds_from_when_it_was_given_until_the_token_expires() {
        for (now, holds) in [(100, true), (199, true), (200, false), (99, false)] {
            let found = kept().find(TOKEN, UnixTime(now));
            assert_eq!(found.is_some(), holds, "{now}");
        }
    }

    #[test]
    fn what_no_longer_holds_is_forgotten() {
        let tokens = kept();
        assert!(tokens.find(TOKEN, UnixTime(200)).is_none());
        assert!(tokens.find(TOKEN, UnixTime(150)).is_none());
    }

    #[test]
    fn a_token_that_differs_in_one_byte_is_another_one() {
        for other in [&b"a.b.C"[..], b"a.b", b"a.b.cc", b""] {
            assert!(kept().find(other, UnixTime(150)).is_none(), "{other:?}");
        }
    }

    #[test]
    fn a_token_of_the_same_hash_is_another_one() {
        let tokens = kept();
        {
            let mut kept = tokens.tokens.lock().unwrap();
            let (_, verified) = kept.pop_lru().unwrap();
            kept.put(tokens.hasher.hash_one(b"a.b.C".as_slice()), verified);
        }
        assert!(tokens.find(b"a.b.C", UnixTime(150)).is_none());
    }

    #[test]
    fn what_is_recognised_and_what_is_not_is_counted() {
        let tokens = kept();
        let _found = tokens.find(TOKEN, UnixTime(150));
        let _absent = tokens.find(b"a.b.C", UnixTime(150));
        let _expired = tokens.find(TOKEN, UnixTime(200));
        assert_eq!(tokens.counts(), (1, 2));
    }
}
