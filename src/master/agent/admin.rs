//! What the agent is given so that it can answer monitoring, and told when somebody asks.

use std::any::Any;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;

use super::watched::AdminSetting;
use crate::channel::ToAgent;
use crate::config::{Config, FeedPurpose};
use crate::master::{Master, Pinned, admin};
use crate::scoreboard::Scoreboard;
use crate::supervisor::Generation;
use crate::sys::identity;

/// So much may wait to be read by an agent that asks and does not listen.
const UNSENT_MAX: usize = 1 << 20;

/// What tokens for the metrics and for orders are judged by. The master keeps it with its generation and lends it to the agent; what it is, whoever
/// makes it knows.
pub type AdminGuard = Rc<dyn Any>;

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
    /// Whose orders are taken on Unix sockets besides those of root: the user of the master.
    pub owner: u32,
    /// What a token for the metrics, and for orders, is judged by; absent: none is needed for the one, and none opens the other.
    pub guard: Option<AdminGuard>,
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
    /// The generation that serves, or is about to be the first. How it is monitored is its affair: a candidate may be given up.
    fn monitored(&self) -> Option<(Generation, &Pinned)> {
        let serving = self.supervisor.serving();
        let serving = serving.and_then(|it| self.generations.get_key_value(&it));
        let monitored = serving.or_else(|| self.generations.last_key_value());
        monitored.map(|(generation, pinned)| (*generation, pinned))
    }

    /// How monitoring is answered; none where nobody can ask.
    pub(super) fn admin_setting(&self) -> Option<AdminSetting> {
        let (generation, pinned) = self.monitored()?;
        let config = &pinned.loaded.config;
        let mut binds = admin::binds(config);
        binds.retain(|bind| self.admin.open.iter().any(|it| it.bind == *bind));
        let digest = || pinned.digest_in_force(place_of_keys(config)?);
        let keys = config.admin.issuer.map(|_| (generation, digest()));
        (!binds.is_empty()).then(|| AdminSetting {
            admin: config.admin.clone(),
            binds,
            ready_min: config.health.ready_min,
            keys,
        })
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
        let monitored = self.monitored().map(|(_, pinned)| pinned);
        let keys = monitored.and_then(|pinned| {
            let place = place_of_keys(&pinned.loaded.config)?;
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
            owner: identity::effective_user(),
            guard: monitored.and_then(|pinned| pinned.loaded.admin_guard.clone()),
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

/// The place of the keys of `admin.issuer` among the feeds.
fn place_of_keys(config: &Config) -> Option<usize> {
    let purpose = FeedPurpose::IssuerKeys(config.admin.issuer?);
    config
        .feeds()
        .iter()
        .position(|feed| feed.purpose == purpose)
}
