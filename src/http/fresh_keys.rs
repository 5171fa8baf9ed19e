//! Requests whose token names a key that its issuer is not known to have: the issuer's keys are fetched again, and whoever
//! waits for them goes on when they have come, or when it is known that they have not.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lru::LruCache;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::auth::WantedKey;
use crate::sys::clock;

/// How long a request waits at most: to fetch a key set takes less, and who waits longer than this goes away.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a name is taken for that of no key, after it was looked for: its key may be published any time.
const UNKNOWN_FOR: Duration = Duration::from_secs(5);
/// How many such names are remembered.
const UNKNOWN_MAX: NonZeroUsize = NonZeroUsize::new(1024).expect("not 0");

/// Asks for the keys of the issuer at a place of the configuration.
type Ask = Box<dyn Fn(usize) + Send + Sync>;

/// The keys that requests wait for.
pub struct FreshKeys {
    issuers: Vec<watch::Sender<State>>,
    /// Names that no key has, and until when that is taken for granted, in monotonic time.
    unknown: Mutex<LruCache<WantedKey, Duration>>,
    ask: Ask,
}

/// How far it is with the keys of one issuer.
#[derive(Debug, Clone, Copy, Default)]
struct State {
    is_asked: bool,
    /// Whether what was heard last were keys.
    is_new: bool,
}

impl fmt::Debug for FreshKeys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("FreshKeys")
    }
}

impl FreshKeys {
    /// For so many issuers; `ask` has the keys of one fetched, and [`Self::arrived`] or [`Self::nothing_new`] answers it.
    pub fn new(issuers: usize, ask: impl Fn(usize) + Send + Sync + 'static) -> Self {
        Self {
            issuers: (0..issuers).map(|_| watch::Sender::default()).collect(),
            unknown: Mutex::new(LruCache::new(UNKNOWN_MAX)),
            ask: Box::new(ask),
        }
    }

    /// Waits until more is known; whether a token that wants this key should be judged again.
    pub async fn wait_for(&self, key: &WantedKey) -> bool {
        let Some(issuer) = self.issuers.get(key.issuer) else {
            return false;
        };
        if self.is_unknown(key) {
            return false;
        }
        let mut news = issuer.subscribe();
        let mut is_first = false;
        issuer.send_if_modified(|state| {
            is_first = !state.is_asked;
            state.is_asked = true;
            false
        });
        if is_first {
            (self.ask)(key.issuer);
        }
        if let Ok(Ok(())) = timeout(PATIENCE, news.changed()).await {
            let is_new = news.borrow().is_new;
            if !is_new {
                self.remember(key);
            }
            return is_new;
        }
        // Nobody answered; the next one asks again.
        issuer.send_if_modified(|state| {
            state.is_asked = false;
            false
        });
        false
    }

    /// Other keys of this issuer are in force.
    pub fn arrived(&self, issuer: usize) {
        self.unknown().clear();
        self.hear(issuer, true);
    }

    /// The issuer has the keys that are known, or cannot be asked.
    pub fn nothing_new(&self, issuer: usize) {
        self.hear(issuer, false);
    }

    fn hear(&self, issuer: usize, is_new: bool) {
        if let Some(issuer) = self.issuers.get(issuer) {
            let _before = issuer.send_replace(State {
                is_asked: false,
                is_new,
            });
        }
    }

    fn is_unknown(&self, key: &WantedKey) -> bool {
        let mut unknown = self.unknown();
        unknown
            .get(key)
            .is_some_and(|until| clock::monotonic() < *until)
    }

    /// Only names: where no key is known at all, the next token may find some.
    fn remember(&self, key: &WantedKey) {
        if key.kid.is_some() {
            let until = clock::monotonic() + UNKNOWN_FOR;
            self.unknown().put(key.clone(), until);
        }
    }

    fn unknown(&self) -> MutexGuard<'_, LruCache<WantedKey, Duration>> {
        self.unknown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn key(kid: &str) -> WantedKey {
        WantedKey {
            issuer: 0,
            kid: Some(kid.to_owned()),
        }
    }

    fn fresh_keys() -> (Arc<FreshKeys>, Arc<AtomicUsize>) {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let ask = move |_| {
            count.fetch_add(1, Ordering::Relaxed);
        };
        (Arc::new(FreshKeys::new(1, ask)), asked)
    }

    async fn wait(keys: &Arc<FreshKeys>, kid: &str) -> tokio::task::JoinHandle<bool> {
        let (keys, key) = (Arc::clone(keys), key(kid));
        let waiting = tokio::spawn(async move { keys.wait_for(&key).await });
        tokio::task::yield_now().await;
        waiting
    }

    #[tokio::test]
    async fn all_that_wait_ask_once_and_go_on_together() {
        let (keys, asked) = fresh_keys();
        let waiting = [wait(&keys, "a").await, wait(&keys, "b").await];
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        keys.arrived(0);
        for waiting in waiting {
            assert!(waiting.await.unwrap());
        }
        let again = wait(&keys, "a").await;
        assert_eq!(asked.load(Ordering::Relaxed), 2);
        keys.arrived(0);
        assert!(again.await.unwrap());
    }

    #[tokio::test]
    async fn a_name_that_no_key_has_is_not_asked_for_again_until_there_are_other_keys() {
        let (keys, asked) = fresh_keys();
        let waiting = wait(&keys, "a").await;
        keys.nothing_new(0);
        assert!(!waiting.await.unwrap());
        assert!(!keys.wait_for(&key("a")).await);
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        keys.arrived(0);
        let waiting = wait(&keys, "a").await;
        assert_eq!(asked.load(Ordering::Relaxed), 2);
        keys.arrived(0);
        assert!(waiting.await.unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_ever_and_the_next_one_asks_again() {
        let (keys, asked) = fresh_keys();
        assert!(!keys.wait_for(&key("a")).await);
        assert!(!keys.wait_for(&key("a")).await);
        assert_eq!(asked.load(Ordering::Relaxed), 2);
    }
}
