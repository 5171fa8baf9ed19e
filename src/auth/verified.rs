//! Tokens that were verified before: a client shows the same one with each request, and a signature costs much more than
//! to recognise it.
//!
//! Only tokens that were accepted are kept, by a digest, never themselves, and only while nothing of the verdict can have
//! changed: from the time of the verdict until `exp`. All are forgotten when keys change; policies cannot, for a guard is made
//! anew for them.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::digest::{SHA256, digest};
use lru::LruCache;

use super::{Claims, UnixTime};

/// Tokens that are kept; about a kilobyte each.
const TOKENS_MAX: NonZeroUsize = NonZeroUsize::new(1024).expect("not 0");

/// What stands for a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Fingerprint([u8; 32]);

impl Fingerprint {
    pub(super) fn of(token: &[u8]) -> Option<Self> {
        digest(&SHA256, token).as_ref().try_into().ok().map(Self)
    }
}

/// See the module. The one who looks in is one thread of one worker: each has its own after the fork.
pub(super) struct VerifiedTokens {
    tokens: Mutex<LruCache<Fingerprint, Verified>>,
    hits: AtomicU64,
    misses: AtomicU64,
}

struct Verified {
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
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        }
    }

    /// The claims of a token that was verified before, if it is still valid, and the place of its issuer.
    pub(super) fn find(&self, token: &Fingerprint, now: UnixTime) -> Option<(Arc<Claims>, usize)> {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let found = tokens.get(token);
        let holds = found.filter(|found| {
            found.since <= now && i64::try_from(now.0).is_ok_and(|now| now < found.until)
        });
        if let Some(found) = holds {
            count(&self.hits);
            return Some((Arc::clone(&found.claims), found.issuer));
        }
        count(&self.misses);
        tokens.pop(token);
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
        token: Fingerprint,
        (claims, issuer): (&Arc<Claims>, usize),
        now: UnixTime,
        until: i64,
    ) {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let verified = Verified {
            claims: Arc::clone(claims),
            issuer,
            since: now,
            until,
        };
        tokens.put(token, verified);
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
    use std::sync::Arc;

    use serde_json::Map;

    use super::{Fingerprint, VerifiedTokens};
    use crate::auth::{Claims, UnixTime};

    fn kept() -> (VerifiedTokens, Fingerprint) {
        let tokens = VerifiedTokens::new();
        let token = Fingerprint::of(b"a.b.c").expect("32 bytes");
        let claims = Arc::new(Claims::new(Map::new()));
        tokens.keep(token, (&claims, 0), UnixTime(100), 200);
        (tokens, token)
    }

    #[test]
    fn a_verdict_holds_from_when_it_was_given_until_the_token_expires() {
        for (now, holds) in [(100, true), (199, true), (200, false), (99, false)] {
            let (tokens, token) = kept();
            assert_eq!(tokens.find(&token, UnixTime(now)).is_some(), holds, "{now}");
        }
    }

    #[test]
    fn what_no_longer_holds_is_forgotten() {
        let (tokens, token) = kept();
        assert!(tokens.find(&token, UnixTime(200)).is_none());
        assert!(tokens.find(&token, UnixTime(150)).is_none());
    }

    #[test]
    fn a_token_that_differs_in_one_byte_is_another_one() {
        let (tokens, _) = kept();
        let other = Fingerprint::of(b"a.b.C").expect("32 bytes");
        assert!(tokens.find(&other, UnixTime(150)).is_none());
    }

    #[test]
    fn what_is_recognised_and_what_is_not_is_counted() {
        let (tokens, token) = kept();
        let other = Fingerprint::of(b"a.b.C").expect("32 bytes");
        let _found = tokens.find(&token, UnixTime(150));
        let _absent = tokens.find(&other, UnixTime(150));
        let _expired = tokens.find(&token, UnixTime(200));
        assert_eq!(tokens.counts(), (1, 2));
    }
}
