//! What keys and deny lists are in force, where they come from and how old they are, for `destrier status`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Master, Pinned};
use crate::config::{Feed, Fetch};
use crate::sys::{clock, process_memory};

/// The process that fetches.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct AgentStatus {
    /// Its process; null while none runs.
    pub pid: Option<u32>,
    /// Since it was started.
    pub uptime: Option<f64>,
    /// How soon another one is started, where none runs.
    pub restarts_in: Option<f64>,
    /// Its resident set in bytes; null where the kernel does not tell.
    #[serde(default)]
    pub rss: Option<u64>,
}

/// A key file, a key set that is fetched, a deny list.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct FeedStatus {
    /// `keys`, `signing-key`, `deny-list`, `certificate` or `client-authorities`.
    pub purpose: String,
    /// Whose keys; null for a deny list.
    pub issuer: Option<String>,
    /// The file, or the address without its query.
    pub source: String,
    /// Whether the agent fetches it; else it is a file, which is watched.
    pub is_fetched: bool,
    /// Whether it counts.
    pub state: FeedCondition,
    /// How many keys or entries are in force; null where that says nothing, or nothing is known.
    pub entries: Option<u64>,
    /// Of what is fetched: since it was fetched, or confirmed by its server.
    pub age: Option<f64>,
    /// Of what is fetched: until the next attempt; null until there was one.
    pub next_in: Option<f64>,
    /// Of what is fetched: until it is too old (`stale_max`).
    pub stale_in: Option<f64>,
    /// Of a certificate: when it ends, in seconds since 1970.
    #[serde(default)]
    pub not_after: Option<u64>,
    /// What is wrong with what has come of it since; what is in force stays.
    pub failure: Option<FeedFailure>,
}

/// Whether it counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FeedCondition {
    /// It does.
    Good,
    /// It is older than `stale_max`.
    Stale,
    /// Nothing was fetched yet.
    Unknown,
}

/// What went wrong.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct FeedFailure {
    /// Why, the last time.
    pub reason: String,
    /// Of what is fetched: how long ago it began.
    pub since: Option<f64>,
    /// Of what is fetched: how long ago it was tried last.
    pub ago: Option<f64>,
}

impl Master {
    /// Null where nothing is fetched, and no token database is to be freed of what has expired.
    pub(super) fn agent_status(&self) -> Option<AgentStatus> {
        let now = self.now();
        let runs = self.agent.runs(now);
        let next = self.next_agent_start();
        (runs.is_some() || next.is_some()).then(|| AgentStatus {
            pid: runs.map(|(pid, _)| pid.number()),
            uptime: runs.map(|(_, uptime)| uptime.as_secs_f64()),
            restarts_in: next.map(|next| next.saturating_sub(now).as_secs_f64()),
            rss: None,
        })
    }

    /// The resident set of the agent, in bytes.
    pub(super) fn agent_memory(&self) -> Option<u64> {
        let (pid, _) = self.agent.runs(self.now())?;
        process_memory::resident(pid).ok()
    }

    /// What the generation that serves has, in the order of its configuration.
    pub(super) fn feed_statuses(&self) -> Vec<FeedStatus> {
        let Some(pinned) = self.serving() else {
            return Vec::new();
        };
        let feeds = pinned.loaded.config.feeds();
        let feeds = feeds.iter().enumerate();
        feeds
            .map(|(place, feed)| self.feed_status(pinned, place, feed))
            .collect()
    }

    fn feed_status(&self, pinned: &Pinned, place: usize, feed: &Feed<'_>) -> FeedStatus {
        let status = feed.source.fetch().map_or_else(
            || file_status(pinned, place, feed),
            |fetch| self.fetched_status(fetch),
        );
        let issuer = pinned.loaded.config.auth.issuer_of(feed.purpose);
        FeedStatus {
            purpose: feed.purpose.name().to_owned(),
            issuer: issuer.map(|issuer| issuer.name.clone()),
            ..status
        }
    }

    fn fetched_status(&self, fetch: &Fetch) -> FeedStatus {
        let now = clock::unix();
        // Clocks may be set back.
        let ago = |at: u64| now.as_secs_f64() - seconds(at);
        let known = self.agent.last_good(fetch);
        let stale_in = known.map(|known| {
            let until = known.at.saturating_add(fetch.stale_max.as_secs());
            seconds(until) - now.as_secs_f64()
        });
        let state = match stale_in {
            None => FeedCondition::Unknown,
            Some(left) if left <= 0.0 => FeedCondition::Stale,
            Some(_) => FeedCondition::Good,
        };
        let progress = self.agent.progress(fetch);
        let next = progress.and_then(|progress| progress.next);
        let failure = progress.and_then(|progress| progress.failure.as_ref());
        FeedStatus {
            source: fetch.shown().to_owned(),
            is_fetched: true,
            entries: known.map(|known| known.entries),
            age: known.map(|known| ago(known.at).max(0.0)),
            next_in: next.map(|next| (-ago(next)).max(0.0)),
            stale_in: stale_in.map(|left| left.max(0.0)),
            failure: failure.map(|failure| FeedFailure {
                reason: failure.reason.clone(),
                since: Some(ago(failure.since).max(0.0)),
                ago: Some(ago(failure.at).max(0.0)),
            }),
            ..of_nothing(state)
        }
    }
}

fn file_status(pinned: &Pinned, place: usize, feed: &Feed<'_>) -> FeedStatus {
    let file = feed.source.file();
    let failure = pinned.feeds.get(place).and_then(|state| state.problem());
    let entries = pinned.entries_in_force(place);
    FeedStatus {
        source: file.map_or_else(String::new, |file| file.display().to_string()),
        entries: entries.and_then(|entries| entries.try_into().ok()),
        not_after: pinned.not_after_in_force(place),
        failure: failure.map(|reason| FeedFailure {
            reason: reason.to_owned(),
            since: None,
            ago: None,
        }),
        ..of_nothing(FeedCondition::Good)
    }
}

fn of_nothing(state: FeedCondition) -> FeedStatus {
    FeedStatus {
        purpose: String::new(),
        issuer: None,
        source: String::new(),
        is_fetched: false,
        state,
        entries: None,
        age: None,
        next_in: None,
        stale_in: None,
        not_after: None,
        failure: None,
    }
}

/// Seconds since 1970, as the rest of a status counts.
fn seconds(at: u64) -> f64 {
    std::time::Duration::from_secs(at).as_secs_f64()
}
