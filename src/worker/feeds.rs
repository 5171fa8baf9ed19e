//! What changes while a worker serves: keys and deny lists, which the master hands on.

use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::auth::{Guard, UnixTime};
use crate::channel::FeedNews;
use crate::config::{Config, FeedPurpose, FeedSource, KeySource};
use crate::http::fresh_keys::FreshKeys;
use crate::sys::clock;
use crate::sys::handover::read_sealed;
use crate::tokens::Signer;

/// Where it goes.
pub(super) struct Feeds {
    config: Arc<Config>,
    guard: Arc<Guard>,
    signer: Option<Arc<Signer>>,
    fresh_keys: Arc<FreshKeys>,
    /// The key to sign with that the issuer's keys do not know yet: whoever puts a new one in force may begin with either file.
    early_key: Mutex<Option<Vec<u8>>>,
    /// The feeds that are fetched, by their places, of which nothing was heard yet.
    unheard: watch::Sender<Vec<u32>>,
}

impl fmt::Debug for Feeds {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Feeds")
    }
}

impl Feeds {
    /// Those of a configuration; `fresh_keys` learns what comes of them.
    pub(super) fn new(
        config: Arc<Config>,
        guard: Arc<Guard>,
        signer: Option<Arc<Signer>>,
        fresh_keys: Arc<FreshKeys>,
    ) -> Self {
        let feeds = config.auth.feeds().into_iter();
        let places = (0..).zip(feeds);
        let fetched = places.filter(|(_, feed)| matches!(feed.source, FeedSource::Fetched(_)));
        Self {
            unheard: watch::Sender::new(fetched.map(|(place, _)| place).collect()),
            config,
            guard,
            signer,
            fresh_keys,
            early_key: Mutex::default(),
        }
    }

    /// Returns when something was heard of everything that is fetched: that it has come, or that it could not be had.
    pub(super) async fn heard_of_all(&self) {
        let mut unheard = self.unheard.subscribe();
        // The sender lives as long as `self`.
        let _all = unheard.wait_for(Vec::is_empty).await;
    }

    /// Takes in what is new. What came, `content`, is put in force; where that fails everything stays as it was.
    pub(super) fn take(&self, news: &FeedNews, content: Option<OwnedFd>) {
        let (FeedNews::Changed { feed, .. }
        | FeedNews::Confirmed { feed, .. }
        | FeedNews::Failed { feed }) = *news;
        let feeds = self.config.auth.feeds();
        let place = usize::try_from(feed).ok();
        let Some(known) = place.and_then(|place| feeds.get(place)) else {
            tracing::error!(feed, "news of something that is not known here");
            return;
        };
        let good_until = |at: Option<u64>| {
            let stale_max = known.source.fetch().map(|fetch| fetch.stale_max.as_secs());
            Some(UnixTime(at?.saturating_add(stale_max?)))
        };
        let is_new = match *news {
            FeedNews::Changed { at, .. } => {
                let taken = content
                    .ok_or_else(|| "nothing came along".to_owned())
                    .and_then(|it| read_sealed(it).map_err(|error| error.to_string()))
                    .and_then(|it| self.put_in_force(known.purpose, &it, good_until(at)));
                if let Err(error) = &taken {
                    // It was judged before by the same rules; what is left are rules between feeds.
                    tracing::error!(feed, error, "cannot be put in force, what was before stays");
                }
                taken.is_ok()
            }
            FeedNews::Confirmed { at, .. } => {
                self.keep_in_force(known.purpose, good_until(Some(at)));
                false
            }
            FeedNews::Failed { .. } => false,
        };
        if let FeedPurpose::IssuerKeys(issuer) = known.purpose {
            if is_new {
                self.fresh_keys.arrived(issuer);
            } else {
                self.fresh_keys.nothing_new(issuer);
            }
        }
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
            FeedPurpose::DenyList(place) => {
                let renewed = self.guard.renew_deny_list(place, content, good_until);
                renewed.map_err(|error| error.to_string())
            }
        }
    }

    fn keep_in_force(&self, purpose: FeedPurpose, good_until: Option<UnixTime>) {
        match purpose {
            FeedPurpose::IssuerKeys(issuer) => self.guard.keep_keys(issuer, good_until),
            FeedPurpose::SigningKey => {}
            FeedPurpose::DenyList(place) => self.guard.keep_deny_list(place, good_until),
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
