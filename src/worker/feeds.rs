//! What changes while a worker serves: keys and deny lists, which the master hands on.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use tokio::sync::watch;

use crate::auth::{Guard, UnixTime};
use crate::channel::FeedNews;
use crate::config::{Config, FeedPurpose, FeedSource, KeySource};
use crate::http::fresh_keys::FreshKeys;
use crate::sys::clock;
use crate::sys::handover::read_sealed;
use crate::tls::{Tls, TlsError};
use crate::tokens::Signer;

/// Where it goes.
#[derive(Debug)]
pub(super) struct Feeds {
    config: Arc<Config>,
    guard: Arc<Guard>,
    signer: Option<Arc<Signer>>,
    tls: Option<Arc<Tls>>,
    fresh_keys: Arc<FreshKeys>,
    /// The feeds that are fetched, by their places, of which nothing was heard yet.
    unheard: watch::Sender<Vec<u32>>,
}

impl Feeds {
    /// Those of a configuration; `fresh_keys` learns what comes of them.
    pub(super) fn new(
        config: Arc<Config>,
        guard: Arc<Guard>,
        (signer, tls): (Option<Arc<Signer>>, Option<Arc<Tls>>),
        fresh_keys: Arc<FreshKeys>,
    ) -> Self {
        let feeds = config.feeds().into_iter();
        let places = (0..).zip(feeds);
        let fetched = places.filter(|(_, feed)| matches!(feed.source, FeedSource::Fetched(_)));
        Self {
            unheard: watch::Sender::new(fetched.map(|(place, _)| place).collect()),
            config,
            guard,
            signer,
            tls,
            fresh_keys,
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
        let feeds = self.config.feeds();
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
                Ok(())
            }
            FeedPurpose::SigningKey => self.renew_signer(content),
            FeedPurpose::DenyList(place) => {
                let renewed = self.guard.renew_deny_list(place, content, good_until);
                renewed.map_err(|error| error.to_string())
            }
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

    fn keep_in_force(&self, purpose: FeedPurpose, good_until: Option<UnixTime>) {
        match purpose {
            FeedPurpose::IssuerKeys(issuer) => self.guard.keep_keys(issuer, good_until),
            // What comes from files has no end of its own.
            FeedPurpose::SigningKey | FeedPurpose::TlsCertificate(_) | FeedPurpose::TlsClients => {}
            FeedPurpose::DenyList(place) => self.guard.keep_deny_list(place, good_until),
        }
    }

    fn signs_with_secret_of(&self, place: usize) -> bool {
        let auth = &self.config.auth;
        let signs = auth
            .tokens
            .as_ref()
            .is_some_and(|tokens| tokens.issuer == place);
        let source = auth.issuers.get(place).map(|issuer| &issuer.keys);
        signs && matches!(source, Some(KeySource::Secret { .. }))
    }

    fn renew_signer(&self, content: &[u8]) -> Result<(), String> {
        let Some(signer) = &self.signer else {
            return Ok(());
        };
        let now = UnixTime(clock::unix().as_secs());
        signer.renew(&self.config.auth, content, &self.guard, now)
    }
}
