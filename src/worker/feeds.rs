//! What changes while a worker serves: keys and deny lists, which the master hands on.

use std::collections::BTreeMap;
use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinError;

use crate::auth::{DenyList, Guard, UnixTime};
use crate::channel::{FeedNews, Fingerprint, ToMaster};
use crate::config::{Config, FeedPurpose, FeedSource, KeySource};
use crate::http::fresh_keys::FreshKeys;
use crate::sys::clock;
use crate::sys::handover::read_sealed;
use crate::tls::{Tls, TlsError};
use crate::tokens::Signer;

/// After so long what did not arrive is asked for again.
const ASKED_AGAIN: Duration = Duration::from_secs(1);

/// Takes in what is new. A deny list may be long: it is read on a thread of its own, and requests go on meanwhile.
#[derive(Debug)]
pub(super) struct Feeds {
    takes: Arc<Takes>,
    /// News of deny lists, which are taken in one after the other.
    lists: mpsc::UnboundedSender<News>,
}

/// Of which feed, what the master said, and what came along.
type News = (Known, FeedNews, Option<OwnedFd>);

/// What a feed is for, and how many seconds it is good after it was fetched, for ever where it is a file.
type Known = (FeedPurpose, Option<u64>);

/// Where it goes.
struct Takes {
    config: Arc<Config>,
    guard: Arc<Guard>,
    signer: Option<Arc<Signer>>,
    tls: Option<Arc<Tls>>,
    fresh_keys: Arc<FreshKeys>,
    /// The key to sign with that the issuer's keys do not know yet: whoever puts a new one in force may begin with either file.
    early_key: Mutex<Option<Vec<u8>>>,
    /// What is in force of what came, by the places of the feeds.
    held: Mutex<BTreeMap<u32, Fingerprint>>,
    /// What is said to the master.
    words: mpsc::UnboundedSender<ToMaster>,
    /// The feeds that are fetched, by their places, of which nothing was heard yet.
    unheard: watch::Sender<Vec<u32>>,
    /// How many deny lists are being taken in.
    lists_under_way: watch::Sender<usize>,
}

impl fmt::Debug for Takes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Takes")
    }
}

impl Feeds {
    /// Those of a configuration; `fresh_keys` learns what comes of them. Within a runtime of tokio.
    pub(super) fn new(
        config: Arc<Config>,
        guard: Arc<Guard>,
        (signer, tls): (Option<Arc<Signer>>, Option<Arc<Tls>>),
        fresh_keys: Arc<FreshKeys>,
        words: mpsc::UnboundedSender<ToMaster>,
    ) -> Self {
        let feeds = config.feeds().into_iter();
        let places = (0..).zip(feeds);
        let fetched = places.filter(|(_, feed)| matches!(feed.source, FeedSource::Fetched(_)));
        let takes = Arc::new(Takes {
            unheard: watch::Sender::new(fetched.map(|(place, _)| place).collect()),
            config,
            guard,
            signer,
            tls,
            fresh_keys,
            early_key: Mutex::default(),
            held: Mutex::default(),
            lists_under_way: watch::Sender::default(),
            words,
        });
        let (lists, mut news) = mpsc::unbounded_channel::<News>();
        let takes_lists = Arc::clone(&takes);
        tokio::spawn(async move {
            while let Some((known, news, content)) = news.recv().await {
                takes_lists.take_list(known, &news, content).await;
                takes_lists.lists_under_way.send_modify(|count| *count -= 1);
            }
        });
        Self { takes, lists }
    }

    /// Returns when something was heard of everything that is fetched: that it has come, or that it could not be had.
    pub(super) async fn heard_of_all(&self) {
        let mut unheard = self.takes.unheard.subscribe();
        // The sender lives as long as `self`.
        let _all = unheard.wait_for(Vec::is_empty).await;
    }

    /// Returns when every deny list that came is in force, or was refused.
    pub(super) async fn lists_taken(&self) {
        let mut under_way = self.takes.lists_under_way.subscribe();
        // The sender lives as long as `self`.
        let _none = under_way.wait_for(|count| *count == 0).await;
    }

    /// Takes in what is new. What came, `content`, is put in force; where that fails everything stays as it was.
    pub(super) fn take(&self, news: &FeedNews, content: Option<OwnedFd>) {
        let Some(known) = self.takes.known(feed_of(news)) else {
            let feed = feed_of(news);
            tracing::error!(feed, "news of something that is not known here");
            return;
        };
        if let FeedPurpose::DenyList(_) = known.0 {
            let under_way = &self.takes.lists_under_way;
            under_way.send_modify(|count| *count += 1);
            // The task that listens lives as long as the runtime.
            let _leaving = self.lists.send((known, news.clone(), content));
        } else {
            self.takes.take(known, news, content);
        }
    }
}

const fn feed_of(news: &FeedNews) -> u32 {
    let (FeedNews::Changed { feed, .. }
    | FeedNews::Confirmed { feed, .. }
    | FeedNews::Failed { feed, .. }) = news;
    *feed
}

/// What came along with news of a change.
fn content_of(purpose: FeedPurpose, content: Option<OwnedFd>) -> Result<Vec<u8>, Untaken> {
    let content =
        content.ok_or_else(|| Untaken::Lost("no descriptor is left for it".to_owned()))?;
    let read = read_sealed(content, purpose.size_max());
    read.map_err(|error| Untaken::Lost(error.to_string()))
}

/// The list, and what tells it apart.
fn read_list(
    purpose: FeedPurpose,
    content: Option<OwnedFd>,
) -> Result<(DenyList, Fingerprint), Untaken> {
    let content = content_of(purpose, content)?;
    let list = DenyList::parse(&content).map_err(|error| Untaken::Refused(error.to_string()))?;
    Ok((list, Fingerprint::of(&content)))
}

/// Why what came is not in force.
enum Untaken {
    /// It did not arrive.
    Lost(String),
    /// It is no good.
    Refused(String),
}

impl Takes {
    fn known(&self, feed: u32) -> Option<Known> {
        let feeds = self.config.feeds();
        let known = feeds.get(usize::try_from(feed).ok()?)?;
        let stale_max = known.source.fetch().map(|fetch| fetch.stale_max.as_secs());
        Some((known.purpose, stale_max))
    }

    fn take(&self, known: Known, news: &FeedNews, content: Option<OwnedFd>) {
        let (purpose, _) = known;
        self.conclude(known, news, |until| {
            let content = content_of(purpose, content)?;
            let put = self.put_in_force(purpose, &content, until);
            put.map_err(Untaken::Refused)?;
            Ok(Fingerprint::of(&content))
        });
    }

    /// As [`Self::take`], of a deny list.
    async fn take_list(&self, known: Known, news: &FeedNews, content: Option<OwnedFd>) {
        let (FeedPurpose::DenyList(place), _) = known else {
            return;
        };
        let mut read = Err(Untaken::Lost("nothing came along".to_owned()));
        if let FeedNews::Changed { .. } = news {
            let reading = tokio::task::spawn_blocking(move || read_list(known.0, content));
            let failed = |error: JoinError| Err(Untaken::Refused(error.to_string()));
            read = reading.await.unwrap_or_else(failed);
        }
        self.conclude(known, news, |until| {
            let (list, fingerprint) = read?;
            self.guard.renew_deny_list(place, list, until);
            Ok(fingerprint)
        });
    }

    /// What became of the news is told; `put` puts in force what has changed, which is good until then.
    fn conclude(
        &self,
        (purpose, stale_max): Known,
        news: &FeedNews,
        put: impl FnOnce(Option<UnixTime>) -> Result<Fingerprint, Untaken>,
    ) {
        let feed = feed_of(news);
        let is_new = match news {
            FeedNews::Changed { at, .. } => self.took(feed, put(good_until(*at, stale_max))),
            // What was too old and is good again is as good as new.
            FeedNews::Confirmed { at, content, .. } => {
                let until = good_until(Some(*at), stale_max);
                self.has(feed, content) && self.keep_in_force(purpose, until)
            }
            FeedNews::Failed { .. } => false,
        };
        self.tell_who_waits(purpose, is_new, news);
        self.heard_of(feed);
    }

    fn tell_who_waits(&self, purpose: FeedPurpose, is_new: bool, news: &FeedNews) {
        if is_new {
            self.fresh_keys.arrived(purpose);
            return;
        }
        let quiet_for = match news {
            FeedNews::Failed { again_in, .. } => again_in.map(Duration::from_millis),
            FeedNews::Changed { .. } | FeedNews::Confirmed { .. } => None,
        };
        self.fresh_keys.nothing_new(purpose, quiet_for);
    }

    /// Whether something was put in force, of which this is the fingerprint; why not is told. What was lost is asked for again.
    fn took(&self, feed: u32, taken: Result<Fingerprint, Untaken>) -> bool {
        let (error, is_lost) = match taken {
            Ok(fingerprint) => {
                self.held().insert(feed, fingerprint);
                return true;
            }
            Err(Untaken::Lost(error)) => (error, true),
            // It was judged before by the same rules; what is left are rules between feeds.
            Err(Untaken::Refused(error)) => (error, false),
        };
        if is_lost {
            tracing::error!(
                feed,
                error,
                "what has changed did not arrive, it is asked for again"
            );
            let words = self.words.clone();
            tokio::spawn(async move {
                tokio::time::sleep(ASKED_AGAIN).await;
                // Nobody listens to it any more when the worker is about to exit.
                let _leaving = words.send(ToMaster::FeedMissing { feed });
            });
        } else {
            tracing::error!(feed, error, "cannot be put in force, what was before stays");
        }
        false
    }

    /// Whether what was confirmed is what is in force here; else it is asked for.
    fn has(&self, feed: u32, confirmed: &Fingerprint) -> bool {
        let has = self.held().get(&feed) == Some(confirmed);
        if !has {
            tracing::error!(
                feed,
                "what was confirmed is not what is in force here, it is asked for"
            );
            let _leaving = self.words.send(ToMaster::FeedMissing { feed });
        }
        has
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<u32, Fingerprint>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn heard_of(&self, feed: u32) {
        self.unheard.send_if_modified(|unheard| {
            let before = unheard.len();
            unheard.retain(|place| *place != feed);
            unheard.len() < before
        });
    }

    fn put_in_force(
        &self,
        purpose: FeedPurpose,
        content: &[u8],
        good_until: Option<UnixTime>,
    ) -> Result<(), String> {
        match purpose {
            FeedPurpose::IssuerKeys(issuer) => {
                let renewed = self.guard.renew_keys(issuer, content, good_until);
                renewed.map_err(|error| error.to_string())?;
                if self.signs_with_secret_of(issuer) {
                    return self.renew_signer(content);
                }
                if self.signs_for(issuer) {
                    self.look_at_signer_again();
                }
                Ok(())
            }
            FeedPurpose::SigningKey => {
                let renewed = self.renew_signer(content);
                let early_key = renewed.is_err().then(|| content.to_vec());
                *self.early_key() = early_key;
                renewed.map_err(|error| {
                    format!("{error}; it is tried again when the keys of its issuer change")
                })
            }
            FeedPurpose::DenyList(_) => Err("a deny list is taken in aside".to_owned()),
            FeedPurpose::TlsCertificate(place) => {
                self.renew_tls(|tls| tls.renew_certificate(place, content))
            }
            FeedPurpose::TlsClients => self.renew_tls(|tls| tls.renew_clients(content)),
        }
    }

    fn renew_tls(&self, renew: impl FnOnce(&Tls) -> Result<(), TlsError>) -> Result<(), String> {
        let tls = self.tls.as_deref().ok_or("TLS is not spoken here")?;
        renew(tls).map_err(|error| error.to_string())
    }

    /// Whether it was too old before.
    fn keep_in_force(&self, purpose: FeedPurpose, good_until: Option<UnixTime>) -> bool {
        let now = UnixTime(clock::unix().as_secs());
        match purpose {
            FeedPurpose::IssuerKeys(issuer) => self.guard.keep_keys(issuer, good_until, now),
            // What comes from files has no end of its own.
            FeedPurpose::SigningKey | FeedPurpose::TlsCertificate(_) | FeedPurpose::TlsClients => {
                false
            }
            FeedPurpose::DenyList(place) => self.guard.keep_deny_list(place, good_until, now),
        }
    }

    fn signs_for(&self, place: usize) -> bool {
        let tokens = self.config.auth.tokens.as_ref();
        tokens.is_some_and(|tokens| tokens.issuer == place)
    }

    fn signs_with_secret_of(&self, place: usize) -> bool {
        let source = self.config.auth.issuers.get(place);
        let source = source.map(|issuer| &issuer.keys);
        self.signs_for(place) && matches!(source, Some(KeySource::Secret { .. }))
    }

    /// The issuer that the service signs for has other keys, which may know the key that came before them.
    fn look_at_signer_again(&self) {
        let mut early_key = self.early_key();
        if let Some(content) = &*early_key
            && self.renew_signer(content).is_ok()
        {
            *early_key = None;
            tracing::info!("the signing key that came before the keys of its issuer is in force");
            return;
        }
        drop(early_key);
        if let Some(signer) = &self.signer {
            let now = UnixTime(clock::unix().as_secs());
            signer.look_up_name(&self.config.auth, &self.guard, now);
        }
    }

    fn early_key(&self) -> MutexGuard<'_, Option<Vec<u8>>> {
        self.early_key
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn renew_signer(&self, content: &[u8]) -> Result<(), String> {
        let Some(signer) = &self.signer else {
            return Ok(());
        };
        let now = UnixTime(clock::unix().as_secs());
        signer.renew(&self.config.auth, content, &self.guard, now)
    }
}

/// Until when something is good that was fetched or confirmed then; for ever where it was not.
fn good_until(at: Option<u64>, stale_max: Option<u64>) -> Option<UnixTime> {
    Some(UnixTime(at?.saturating_add(stale_max?)))
}
