//! What the agent is given so that it can answer monitoring, and told when somebody asks.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::watched::AdminSetting;
use crate::channel::ToAgent;
use crate::config::FeedPurpose;
use crate::master::{Master, admin};
use crate::scoreboard::Scoreboard;

/// So much may wait to be read by an agent that asks and does not listen.
const UNSENT_MAX: usize = 1 << 20;

/// What the agent answers monitoring with.
#[derive(Debug)]
pub struct AdminAssignment {
    /// Where it is asked.
    pub sockets: Vec<AdminSocket>,
    /// What the workers do. It is only read.
    pub scoreboard: Arc<Scoreboard>,
    /// `health.ready_min`.
    pub ready_min: u16,
    /// What has happened last, oldest first, as [`ToAgent::Event`] tells what comes next.
    pub events: Vec<String>,
    /// A sealed file with what the keys of `admin.issuer` have come to, where they have changed since they were read.
    pub keys: Option<OwnedFd>,
}

/// A socket that listens, non-blocking.
#[derive(Debug)]
pub struct AdminSocket {
    /// Whether it is one of TCP, where a token may be needed.
    pub is_tcp: bool,
    /// The socket.
    pub socket: OwnedFd,
}

impl Master {
    /// Of the generation that serves, or is about to be the first; none where nobody can ask.
    pub(super) fn admin_setting(&self) -> Option<AdminSetting> {
        let serving = self
            .serving()
            .or_else(|| self.generations.values().last())?;
        let config = &serving.loaded.config;
        let mut binds = admin::binds(config);
        binds.retain(|bind| self.admin.open.iter().any(|it| it.bind == *bind));
        let issuer = config.admin_issuer().zip(config.admin.issuer);
        let newest = self.generations.keys().last().copied();
        let issuer = issuer
            .zip(newest)
            .map(|((issuer, place), newest)| (issuer.clone(), self.digest_of_keys(place), newest));
        (!binds.is_empty()).then(|| AdminSetting {
            admin: config.admin.clone(),
            binds,
            ready_min: config.health.ready_min,
            issuer,
        })
    }

    fn digest_of_keys(&self, issuer: usize) -> Option<[u8; 32]> {
        let pinned = self.generations.values().last()?;
        pinned.digest_in_force(Self::place_of_keys(&pinned.loaded.config, issuer)?)
    }

    fn place_of_keys(config: &crate::config::Config, issuer: usize) -> Option<usize> {
        let feeds = config.feeds();
        let purpose = FeedPurpose::IssuerKeys(issuer);
        feeds.iter().position(|feed| feed.purpose == purpose)
    }

    /// The sockets and the rest, for the process that is about to be forked.
    pub(super) fn lend_admin(&self, setting: &AdminSetting) -> std::io::Result<AdminAssignment> {
        let open = self.admin.open.iter();
        let wanted = open.filter(|it| setting.binds.contains(&it.bind));
        let sockets = wanted.map(|it| {
            Ok(AdminSocket {
                is_tcp: it.path.is_none(),
                socket: it.socket.try_clone()?,
            })
        });
        let keys = self.generations.values().last().and_then(|pinned| {
            let config = &pinned.loaded.config;
            let place = Self::place_of_keys(config, config.admin.issuer?)?;
            pinned.feeds.get(place)?.content_file()
        });
        Ok(AdminAssignment {
            sockets: sockets.collect::<std::io::Result<_>>()?,
            scoreboard: Arc::clone(&self.scoreboard),
            ready_min: setting.ready_min,
            events: self
                .ledger
                .timeline
                .events()
                .map(|event| serde_json::to_string(event).unwrap_or_default())
                .collect(),
            keys: keys.map(OwnedFd::try_clone).transpose()?,
        })
    }

    /// Whether it listens.
    fn agent_has_read(&self) -> bool {
        let process = self.agent.process.as_ref();
        process.is_some_and(|process| process.outgoing.len() < UNSENT_MAX)
    }

    /// Something has happened.
    pub(in crate::master) fn tell_agent_event(&mut self, document: String) {
        if self.agent_has_read() {
            self.agent.tell(&ToAgent::Event { document });
        }
    }

    /// Monitoring asks.
    pub(super) fn tell_agent_status(&mut self) {
        if !self.agent_has_read() {
            return;
        }
        // A type of ours with string keys: serialising it into memory cannot fail.
        let document = serde_json::to_string(&self.brief_status()).unwrap_or_default();
        self.agent.tell(&ToAgent::Status { document });
    }
}
