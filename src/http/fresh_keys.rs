//! Requests whose token names a key that its issuer is not known to have, or that cannot be judged for lack of a deny list: what is
//! missing is fetched again, and whoever waits for it goes on when it has come, or when it is known that it has not.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lru::LruCache;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use crate::auth::Wanted;
use crate::config::FeedPurpose;

/// How long a request waits at most: to fetch a key set takes less, and who waits longer than this goes away.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a name is taken for that of no key, after it was looked for: its key may be published any time.
const UNKNOWN_FOR: Duration = Duration::from_secs(5);
/// How many such names are remembered.
const UNKNOWN_MAX: NonZeroUsize = NonZeroUsize::new(1024).expect("not 0");
/// What is fetched is asked for so seldom, however many requests want it: names are free to make up.
const ASKED_MIN: Duration = Duration::from_secs(1);

/// Has something fetched again.
type Ask = Arc<dyn Fn(FeedPurpose) + Send + Sync>;

/// What requests wait for.
pub struct FreshKeys {
    feeds: Vec<(FeedPurpose, watch::Sender<State>)>,
    /// Names that no key has, and until when that is taken for granted.
    unknown: Mutex<LruCache<Wanted, Instant>>,
    ask: Ask,
}

/// How far it is with one of them.
#[derive(Debug, Clone, Copy, Default)]
struct State {
    is_asked: bool,
    /// When it was asked for last, or will be.
    asked_at: Option<Instant>,
    /// Until then nobody asks: there were too many.
    quiet_until: Option<Instant>,
    /// Whether what was heard last was something new.
    is_new: bool,
}

impl fmt::Debug for FreshKeys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("FreshKeys")
    }
}

impl FreshKeys {
    /// For these feeds; `ask` has one of them fetched, and [`Self::arrived`] or [`Self::nothing_new`] answers it.
    pub fn new(
        feeds: impl IntoIterator<Item = FeedPurpose>,
        ask: impl Fn(FeedPurpose) + Send + Sync + 'static,
    ) -> Self {
        let feeds = feeds.into_iter();
        Self {
            feeds: feeds.map(|feed| (feed, watch::Sender::default())).collect(),
            unknown: Mutex::new(LruCache::new(UNKNOWN_MAX)),
            ask: Arc::new(ask),
        }
    }

    /// Waits until more is known; whether a token that wants this should be judged again.
    pub async fn wait_for(&self, wanted: &Wanted) -> bool {
        let Some(feed) = self.feed(wanted.feed) else {
            return false;
        };
        let now = Instant::now();
        let is_quiet = feed.borrow().quiet_until.is_some_and(|until| now < until);
        if is_quiet || self.is_unknown(wanted) {
            return false;
        }
        let mut news = feed.subscribe();
        let mut ask_at = None;
        feed.send_if_modified(|state| {
            let will_be_asked = state.asked_at.is_some_and(|at| now < at);
            if !state.is_asked && !will_be_asked {
                let next = state.asked_at.map_or(now, |before| before + ASKED_MIN);
                state.asked_at = Some(next.max(now));
                ask_at = state.asked_at;
            }
            state.is_asked = true;
            false
        });
        if let Some(at) = ask_at {
            self.ask_at(at, now, wanted.feed);
        }
        if let Ok(Ok(())) = timeout(PATIENCE, news.changed()).await {
            let is_new = news.borrow().is_new;
            if !is_new {
                self.remember(wanted);
            }
            return is_new;
        }
        // Nobody answered; the next one asks again.
        feed.send_if_modified(|state| {
            state.is_asked = false;
            false
        });
        false
    }

    /// Something else is in force, or what is was found to be good though it had seemed too old.
    pub fn arrived(&self, feed: FeedPurpose) {
        self.unknown().clear();
        self.hear(feed, true, None);
    }

    /// There is nothing but what is known, or it cannot be had; where too much was asked for, nobody asks for so long.
    pub fn nothing_new(&self, feed: FeedPurpose, quiet_for: Option<Duration>) {
        self.hear(feed, false, quiet_for);
    }

    fn hear(&self, feed: FeedPurpose, is_new: bool, quiet_for: Option<Duration>) {
        if let Some(feed) = self.feed(feed) {
            feed.send_modify(|state| {
                state.is_asked = false;
                state.is_new = is_new;
                let quiet_until = quiet_for.map(|time| Instant::now() + time);
                // What is fetched by itself says nothing about who asks.
                let before = state.quiet_until.filter(|_| !is_new);
                state.quiet_until = quiet_until.or(before);
            });
        }
    }

    /// Asks then. Not as a part of the request, whose client may go away before.
    fn ask_at(&self, at: Instant, now: Instant, feed: FeedPurpose) {
        if at <= now {
            (self.ask)(feed);
            return;
        }
        let ask = Arc::clone(&self.ask);
        tokio::spawn(async move {
            sleep_until(at).await;
            ask(feed);
        });
    }

    fn feed(&self, wanted: FeedPurpose) -> Option<&watch::Sender<State>> {
        let mut feeds = self.feeds.iter();
        let found = feeds.find(|(feed, _)| *feed == wanted);
        found.map(|(_, state)| state)
    }

    fn is_unknown(&self, wanted: &Wanted) -> bool {
        let mut unknown = self.unknown();
        unknown
            .get(wanted)
            .is_some_and(|until| Instant::now() < *until)
    }

    /// Only names: where no key is known at all, the next token may find some.
    fn remember(&self, wanted: &Wanted) {
        if wanted.kid.is_some() {
            let until = Instant::now() + UNKNOWN_FOR;
            self.unknown().put(wanted.clone(), until);
        }
    }

    fn unknown(&self) -> MutexGuard<'_, LruCache<Wanted, Instant>> {
        self.unknown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const KEYS: FeedPurpose = FeedPurpose::IssuerKeys(0);

    fn key(kid: &str) -> Wanted {
        Wanted {
            feed: KEYS,
            kid: Some(kid.to_owned()),
        }
    }

    fn fresh_keys() -> (Arc<FreshKeys>, Arc<AtomicUsize>) {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let ask = move |_| {
            count.fetch_add(1, Ordering::Relaxed);
        };
        let feeds = [KEYS, FeedPurpose::DenyList(0)];
        (Arc::new(FreshKeys::new(feeds, ask)), asked)
    }

    async fn wait(keys: &Arc<FreshKeys>, kid: &str) -> tokio::task::JoinHandle<bool> {
        let (keys, key) = (Arc::clone(keys), key(kid));
        let waiting = tokio::spawn(async move { keys.wait_for(&key).await });
        tokio::task::yield_now().await;
        waiting
    }

    /// Until what waits for its turn was asked.
    async fn a_second() {
        tokio::time::sleep(ASKED_MIN).await;
        tokio::task::yield_now().await;
    }

    #[tokio::test(start_paused = true)]
    async fn all_that_wait_ask_once_and_go_on_together() {
        let (keys, asked) = fresh_keys();
        let waiting = [wait(&keys, "a").await, wait(&keys, "b").await];
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        keys.arrived(KEYS);
        for waiting in waiting {
            assert!(waiting.await.unwrap());
        }
        let again = wait(&keys, "a").await;
        a_second().await;
        assert_eq!(asked.load(Ordering::Relaxed), 2);
        keys.arrived(KEYS);
        assert!(again.await.unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_that_no_key_has_is_not_asked_for_again_until_there_are_other_keys() {
        let (keys, asked) = fresh_keys();
        let waiting = wait(&keys, "a").await;
        keys.nothing_new(KEYS, None);
        assert!(!waiting.await.unwrap());
        assert!(!keys.wait_for(&key("a")).await);
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        keys.arrived(KEYS);
        let waiting = wait(&keys, "a").await;
        a_second().await;
        assert_eq!(asked.load(Ordering::Relaxed), 2);
        keys.arrived(KEYS);
        assert!(waiting.await.unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_ever_and_the_next_one_asks_again() {
        let (keys, asked) = fresh_keys();
        assert!(!keys.wait_for(&key("a")).await);
        assert!(!keys.wait_for(&key("a")).await);
        assert_eq!(asked.load(Ordering::Relaxed), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_names_that_are_made_up_asks_once_a_second_and_not_at_all_while_it_is_told_so()
     {
        let (keys, asked) = fresh_keys();
        let started = Instant::now();
        let mut number = 0;
        while started.elapsed() < Duration::from_secs(10) {
            for _ in 0..100 {
                let _waits = wait(&keys, &number.to_string()).await;
                number += 1;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
            keys.nothing_new(KEYS, None);
        }
        let in_ten_seconds = asked.load(Ordering::Relaxed);
        assert!((10..=11).contains(&in_ten_seconds), "{in_ten_seconds}");
        a_second().await;
        let before = asked.load(Ordering::Relaxed);
        keys.nothing_new(KEYS, Some(Duration::from_secs(30)));
        for number in 0..1000 {
            let refused = keys.wait_for(&key(&format!("quiet {number}"))).await;
            assert!(!refused);
        }
        assert_eq!(asked.load(Ordering::Relaxed), before);
        // It concerns nothing else, and is over after that time, or when there is something new.
        let list = Wanted {
            feed: FeedPurpose::DenyList(0),
            kid: None,
        };
        assert!(!keys.wait_for(&list).await);
        assert_eq!(asked.load(Ordering::Relaxed), before + 1);
        keys.arrived(KEYS);
        let _waits = wait(&keys, "new").await;
        assert_eq!(asked.load(Ordering::Relaxed), before + 2);
    }
}
