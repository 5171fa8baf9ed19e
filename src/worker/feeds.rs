//! What changes while a worker serves: new keys, which the master reads and hands on.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::auth::{Guard, UnixTime};
use crate::config::{Config, FeedPurpose, KeySource};
use crate::sys::clock;
use crate::sys::handover::read_sealed;
use crate::tokens::Signer;

/// Where it goes.
#[derive(Debug)]
pub(super) struct Feeds {
    pub(super) config: Arc<Config>,
    pub(super) guard: Arc<Guard>,
    pub(super) signer: Option<Arc<Signer>>,
}

impl Feeds {
    /// Puts into force what came for a feed, by its place in the configuration. Where that fails everything stays as it was.
    pub(super) fn take(&self, place: u32, content: Option<OwnedFd>) {
        let feeds = self.config.auth.feeds();
        let feed = usize::try_from(place)
            .ok()
            .and_then(|place| feeds.get(place));
        let (Some(feed), Some(content)) = (feed, content) else {
            tracing::error!(feed = place, "nothing came that could be put in force");
            return;
        };
        let taken = read_sealed(content)
            .map_err(|error| error.to_string())
            .and_then(|content| self.put_in_force(feed.purpose, &content));
        match taken {
            Ok(()) => tracing::debug!(feed = place, "in force"),
            // The master has judged it by the same rules; what is left are rules between feeds.
            Err(error) => {
                tracing::error!(
                    feed = place,
                    error,
                    "cannot be put in force, what was before stays"
                );
            }
        }
    }

    fn put_in_force(&self, purpose: FeedPurpose, content: &[u8]) -> Result<(), String> {
        match purpose {
            FeedPurpose::IssuerKeys(issuer) => {
                let renewed = self.guard.renew_keys(issuer, content);
                renewed.map_err(|error| error.to_string())?;
                if self.signs_with_secret_of(issuer) {
                    return self.renew_signer(content);
                }
                Ok(())
            }
            FeedPurpose::SigningKey => self.renew_signer(content),
            FeedPurpose::DenyList(place) => {
                let renewed = self.guard.renew_deny_list(place, content, None);
                renewed.map_err(|error| error.to_string())
            }
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
