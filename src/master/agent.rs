//! The agent as the master knows it: forked when a generation has something that must be fetched, a token database, or addresses where monitoring asks; started again when
//! it dies, asked when a worker needs a key. What it brings is handed to the workers; without it they go on with what they have.

mod admin;
mod start;
mod watched;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::rc::Rc;

use watched::{Process, Progress, SILENCE_MAX, Watched};

pub use admin::{AdminAssignment, AdminGuard, AdminSocket};

use super::Master;
use crate::channel::{self, FeedNews, Fingerprint, FromAgent, ToAgent};
use crate::config::{Fetch, Hooks, Log, SourceFiles, Tokens};
use crate::supervisor::{Backoff, Generation, Now, WorkerId};
use crate::sys::clock;
use crate::sys::handover::check_sealed;
use crate::sys::identity::Identity;
use crate::sys::process::{self, Ending, ProcessId};

/// What the agent process does, from the fork to its exit code. Called in the child.
pub type RunAgent = Rc<dyn Fn(AgentAssignment) -> u8>;

/// What the agent is given.
#[derive(Debug)]
pub struct AgentAssignment {
    /// This process.
    pub master: ProcessId,
    /// Its end of the channel, non-blocking.
    pub channel: UnixStream,
    /// What it keeps fresh, with the last good content.
    pub feeds: Vec<(Fetch, Option<Known>)>,
    /// What it shall become before it talks to anybody.
    pub identity: Identity,
    /// Where its log goes.
    pub log: Log,
    /// How it answers monitoring; absent where nobody can ask.
    pub admin: Option<AdminAssignment>,
    /// What it runs when something happens; absent: nothing.
    pub hooks: Option<Hooks>,
    /// What it watches for changes; absent: nothing.
    pub sources: Option<SourceFiles>,
}

/// What was fetched last.
#[derive(Debug)]
pub struct Known {
    /// When, or when it was confirmed, in seconds since 1970.
    pub since: u64,
    /// A sealed file with it.
    pub content: OwnedFd,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Agent {
    process: Option<Process>,
    deaths: Backoff,
    /// The last good content of everything that was fetched for a generation that is left.
    pub(super) fetched: Vec<Fetched>,
}

/// Something that was fetched.
#[derive(Debug)]
pub(super) struct Fetched {
    pub(super) fetch: Fetch,
    /// When, or when it was confirmed, in seconds since 1970.
    pub(super) at: u64,
    /// How many keys or entries there are.
    pub(super) entries: u64,
    pub(super) file: OwnedFd,
    /// What it is, where an agent has said so: of what was handed over in an upgrade the next one says it.
    pub(super) content: Option<Fingerprint>,
}

impl Agent {
    /// None runs yet.
    pub(super) fn new(fetched: Vec<Fetched>) -> Self {
        Self {
            process: None,
            deaths: Backoff::default(),
            fetched,
        }
    }

    /// Whether it is this process.
    pub(super) fn is(&self, pid: ProcessId) -> bool {
        self.process.as_ref().is_some_and(|it| it.pid == pid)
    }

    /// Its channel, with whether something waits to be written.
    pub(super) fn descriptor(&self) -> Option<(BorrowedFd<'_>, bool)> {
        let process = self.process.as_ref()?;
        Some((process.channel.as_fd(), !process.outgoing.is_empty()))
    }

    /// How much waits for it to be read, in bytes; none where it does not run.
    pub(super) fn unsent(&self) -> Option<usize> {
        self.process.as_ref().map(|process| process.outgoing.len())
    }

    /// Tells it, where it runs.
    pub(super) fn tell(&mut self, message: &ToAgent) {
        if let Some(process) = &mut self.process {
            process.outgoing.extend(channel::encode(message));
            process.send();
        }
    }

    /// Has something fetched for whoever asks; those who ask until an answer comes are answered by that.
    fn want(&mut self, place: usize, now: Now) {
        let process = self.process.as_mut();
        let Some(watched) = process.and_then(|process| process.feeds.get_mut(place)) else {
            return;
        };
        if std::mem::replace(&mut watched.is_asked, true) {
            return;
        }
        watched.is_expected_within(SILENCE_MAX, now);
        if let Ok(feed) = u32::try_from(place) {
            self.tell(&ToAgent::Wanted { feed });
        }
    }

    /// When it has been silent for too long about something.
    fn overdue_at(&self) -> Option<Now> {
        let feeds = self.process.iter().flat_map(|process| &process.feeds);
        feeds.filter_map(|watched| watched.expected_by).min()
    }

    pub(super) fn last_good(&self, fetch: &Fetch) -> Option<&Fetched> {
        self.fetched.iter().find(|it| it.fetch == *fetch)
    }

    /// The process, with how long it has run.
    pub(super) fn runs(&self, now: Now) -> Option<(ProcessId, Now)> {
        let process = self.process.as_ref()?;
        Some((process.pid, now.saturating_sub(process.started)))
    }

    /// What the process has told of this.
    pub(super) fn progress(&self, fetch: &Fetch) -> Option<&Progress> {
        self.watched(fetch).map(|watched| &watched.progress)
    }

    fn watched(&self, fetch: &Fetch) -> Option<&Watched> {
        let process = self.process.as_ref()?;
        process.feeds.iter().find(|it| it.fetch == *fetch)
    }

    /// The place of something among what the process fetches.
    fn place(&self, fetch: &Fetch) -> Option<usize> {
        let process = self.process.as_ref()?;
        process.feeds.iter().position(|it| it.fetch == *fetch)
    }
}

impl Master {
    /// Starts the agent when it is needed, another one when it needs to know other things, and none when nothing is fetched.
    pub(super) fn mind_agent(&mut self) {
        self.end_agent_that_hangs();
        let wanted = self.fetches();
        let runs = self.agent.process.as_ref();
        let admin = self.admin_setting();
        let is_needed = !wanted.is_empty()
            || self.has_to_be_flushed()
            || admin.is_some()
            || self.hooks().is_some()
            || self.watched_sources().is_some();
        let is_right = runs.map_or(!is_needed, |process| {
            let setting = self.agent_setting();
            let feeds = process.feeds.iter().map(|watched| &watched.fetch);
            feeds.eq(wanted.iter().copied())
                && process.tokens.as_ref() == self.tokens_of_newest()
                && process.admin == admin
                && process.hooks.as_ref() == self.hooks()
                && process.sources == self.watched_sources()
                && setting.is_some_and(|(identity, log)| {
                    process.identity == *identity && process.log == *log
                })
        });
        // Whoever waits for what becomes of a reload is told through the agent of before.
        let has_to_tell = self.supervisor.is_taking_over() && self.orders.has_whom_to_tell();
        if is_right || runs.is_some() && has_to_tell {
            return;
        }
        let wanted: Vec<Fetch> = wanted.into_iter().cloned().collect();
        // It leaves when its channel closes.
        self.give_agent_up();
        let is_named = |fetched: &Fetched| wanted.contains(&fetched.fetch);
        self.agent.fetched.retain(is_named);
        if !is_needed || self.now() < self.agent.deaths.not_before {
            return;
        }
        match self.fork_agent(&wanted) {
            Ok(pid) => tracing::info!(pid = pid.number(), "agent started"),
            Err(reason) => {
                tracing::error!(reason, "cannot start the agent");
                self.delay_agent();
            }
        }
    }

    /// When a next agent may be started, where one is missing, or when the one that runs has been silent for too long.
    pub(super) fn next_agent(&self) -> Option<Now> {
        self.next_agent_start().or_else(|| self.agent.overdue_at())
    }

    /// When a next agent may be started, where one is missing.
    pub(super) fn next_agent_start(&self) -> Option<Now> {
        let is_missing = self.agent.process.is_none()
            && (self.has_to_be_flushed()
                || !self.fetches().is_empty()
                || self.admin_setting().is_some()
                || self.hooks().is_some()
                || self.watched_sources().is_some());
        is_missing.then_some(self.agent.deaths.not_before)
    }

    /// An attempt ends within 10 seconds, whatever its server does: an agent that tells nothing does not turn any more.
    fn end_agent_that_hangs(&mut self) {
        let now = self.now();
        if self.agent.overdue_at().is_none_or(|at| now < at) {
            return;
        }
        let Some(process) = &mut self.agent.process else {
            return;
        };
        tracing::error!(
            pid = process.pid.number(),
            "the agent does not answer, it is replaced"
        );
        for watched in &mut process.feeds {
            watched.expected_by = None;
        }
        // Reaped and started again as one that died.
        let _gone_already = process::kill_now(process.pid);
    }

    /// The token service of the newest generation, whose database the agent knows.
    fn tokens_of_newest(&self) -> Option<&Tokens> {
        let newest = self.generations.values().last()?;
        newest.loaded.config.auth.tokens.as_ref()
    }

    /// Whether there is a token database out of which it takes what has expired.
    fn has_to_be_flushed(&self) -> bool {
        let tokens = self.tokens_of_newest();
        tokens.is_some_and(|tokens| tokens.flush_interval.is_some())
    }

    /// What the generations that are left have fetched, each once.
    fn fetches(&self) -> Vec<&Fetch> {
        let mut fetches = Vec::new();
        for pinned in self.generations.values() {
            let feeds = pinned.loaded.config.feeds().into_iter();
            for fetch in feeds.filter_map(|feed| feed.source.fetch()) {
                if !fetches.contains(&fetch) {
                    fetches.push(fetch);
                }
            }
        }
        fetches
    }

    /// A process has ended that is no worker; whether it was the agent.
    pub(super) fn heard_of_agent(&mut self, pid: ProcessId, ending: Ending) -> bool {
        let known = self
            .agent
            .process
            .as_ref()
            .map(|process| (process.pid, process.started));
        let Some((_, started)) = known.filter(|(agent, _)| *agent == pid) else {
            return false;
        };
        // Its last words may have arrived together with its end.
        self.hear_agent();
        let now = self.now();
        let policy = self.supervisor.policy();
        if policy.is_some_and(|policy| now.saturating_sub(started) >= policy.backoff_reset) {
            self.agent.deaths = Backoff::default();
        }
        self.delay_agent();
        let again_in = self.agent.deaths.not_before.saturating_sub(now);
        tracing::error!(
            pid = pid.number(),
            %ending,
            again_in = super::deaths::in_words(again_in),
            "the agent died: workers go on with what they have"
        );
        self.give_agent_up();
        true
    }

    fn delay_agent(&mut self) {
        let now = self.now();
        if let Some(policy) = self.supervisor.policy() {
            let seed = u64::from(ProcessId::own().number());
            self.agent.deaths.crashed(now, policy, seed);
        }
    }

    /// Nobody answers what was asked of it.
    fn give_agent_up(&mut self) {
        let Some(process) = self.agent.process.take() else {
            return;
        };
        self.orders.forget();
        for Watched { fetch, .. } in process.feeds {
            let again_in = None;
            self.spread(&fetch, |feed| FeedNews::Failed { feed, again_in });
        }
    }

    /// Takes in what the agent has said.
    pub(super) fn hear_agent(&mut self) {
        let Some(process) = &mut self.agent.process else {
            return;
        };
        process.send();
        let (messages, goes_on) = process.receive();
        let mut is_good = goes_on;
        for message in messages {
            if let Err(reason) = self.take_from_agent(message) {
                tracing::error!(reason, "the agent does what no agent does, it is replaced");
                is_good = false;
                break;
            }
        }
        let Some(process) = &self.agent.process else {
            return;
        };
        // One may have come with the first bytes of a message that is not whole yet.
        if is_good && process.descriptors.len() > 1 {
            tracing::error!("the agent sends more descriptors than messages, it is replaced");
            is_good = false;
        }
        if !is_good {
            // Reaped and started again as one that died.
            let _gone_already = process::kill_now(process.pid);
        }
    }

    /// Takes in one message.
    ///
    /// # Errors
    /// An agent that is one does not say this, or it was not heard well: only another one can go on.
    fn take_from_agent(&mut self, message: FromAgent) -> Result<(), String> {
        let now = self.now();
        let Some(process) = &mut self.agent.process else {
            return Ok(());
        };
        let (feed, file) = match message {
            FromAgent::StatusWanted => {
                self.tell_agent_status();
                return Ok(());
            }
            FromAgent::SourceChanged { file } => {
                self.source_changed(&file);
                return Ok(());
            }
            FromAgent::Ordered { number, order, by } => {
                self.orders.arrive(number, order, by);
                return Ok(());
            }
            FromAgent::Fetched { feed, .. } => (feed, process.descriptors.pop_front().flatten()),
            FromAgent::Confirmed { feed, .. } | FromAgent::Failed { feed, .. } => (feed, None),
        };
        let place = usize::try_from(feed).unwrap_or(usize::MAX);
        let watched = process.feeds.get_mut(place);
        let watched = watched.ok_or("it speaks of what it was not asked for")?;
        watched.heard(&message, now, clock::unix().as_secs());
        let fetch = watched.fetch.clone();
        match message {
            FromAgent::StatusWanted
            | FromAgent::SourceChanged { .. }
            | FromAgent::Ordered { .. } => {}
            FromAgent::Fetched {
                at,
                entries,
                content,
                ..
            } => {
                let file = file.ok_or("what it fetched did not arrive")?;
                check_sealed(&file, fetch.size_max()).map_err(|error| error.to_string())?;
                self.agent.fetched.retain(|known| known.fetch != fetch);
                self.agent.fetched.push(Fetched {
                    fetch: fetch.clone(),
                    at,
                    entries,
                    file,
                    content: Some(content),
                });
                self.hand_to_all(&self.places_of(&fetch));
            }
            FromAgent::Confirmed { at, content, .. } => {
                let mut known = self.agent.fetched.iter_mut();
                let known = known.find(|known| known.fetch == fetch);
                let known = known.ok_or("it confirms what nobody has")?;
                if known.content.as_ref().is_some_and(|it| *it != content) {
                    return Err("it confirms something else than it sent".to_owned());
                }
                known.at = at;
                known.content = Some(content.clone());
                self.spread(&fetch, |feed| FeedNews::Confirmed {
                    feed,
                    at,
                    content: content.clone(),
                });
            }
            FromAgent::Failed {
                reason, again_in, ..
            } => {
                tracing::debug!(feed, reason, "nothing new was fetched");
                self.spread(&fetch, |feed| FeedNews::Failed { feed, again_in });
            }
        }
        Ok(())
    }

    /// Tells the workers of every generation that has this fetched.
    fn spread(&mut self, fetch: &Fetch, news: impl Fn(u32) -> FeedNews) {
        for (generation, place) in self.places_of(fetch) {
            if let Ok(feed) = u32::try_from(place) {
                self.crew.tell_generation(generation, &news(feed));
            }
        }
    }

    /// Where it stands among the feeds of the generations that have it fetched.
    fn places_of(&self, fetch: &Fetch) -> Vec<(Generation, usize)> {
        let generations = self.generations.iter();
        let places = generations.flat_map(|(generation, pinned)| {
            let feeds = pinned.loaded.config.feeds().into_iter().enumerate();
            let places = feeds.filter(|(_, feed)| feed.source.fetch() == Some(fetch));
            places.map(|(place, _)| (*generation, place))
        });
        places.collect()
    }

    /// A worker needs a key that it does not know, or a list.
    pub(super) fn want_feed(&mut self, id: WorkerId, feed: u32) {
        let now = self.now();
        let Some(hand) = self.crew.get(id) else {
            return;
        };
        let pinned = self.generations.get(&hand.generation);
        let fetch = pinned.and_then(|pinned| {
            let feeds = pinned.loaded.config.feeds();
            feeds
                .get(usize::try_from(feed).ok()?)?
                .source
                .fetch()
                .cloned()
        });
        let place = fetch.and_then(|fetch| self.agent.place(&fetch));
        if let Some(place) = place {
            self.agent.want(place, now);
        } else {
            // Nobody fetches it now.
            let again_in = None;
            self.tell_news(id, FeedNews::Failed { feed, again_in });
        }
    }

    /// Whether the agent has tried to fetch this, and has nothing.
    pub(super) fn is_known_to_fail(&self, fetch: &Fetch) -> bool {
        let watched = self.agent.watched(fetch);
        // Without an agent nobody fetches it soon.
        watched.map_or(self.agent.deaths.failures > 0, |watched| watched.is_told)
    }
}
