//! The agent as the master knows it: forked when a generation has something that must be fetched, started again when it
//! dies, asked when a worker needs a key. What it brings is handed to the workers; without it they go on with what they have.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::rc::Rc;

use super::Master;
use crate::channel::{self, Decoder, FeedNews, FromAgent, ToAgent};
use crate::config::{Fetch, Log};
use crate::logging;
use crate::supervisor::{Backoff, Generation, Now, WorkerId};
use crate::sys::clock;
use crate::sys::identity::Identity;
use crate::sys::process::{self, Ending, Keep, ProcessId};
use crate::sys::socket;

/// What the agent process does, from the fork to its exit code. Called in the child.
pub type RunAgent = Rc<dyn Fn(AgentAssignment) -> u8>;

/// What the agent is given.
#[derive(Debug)]
pub struct AgentAssignment {
    /// This process.
    pub master: ProcessId,
    /// Its end of the channel, non-blocking.
    pub channel: UnixStream,
    /// What it keeps fresh, with when the last good content was fetched, in seconds since 1970.
    pub feeds: Vec<(Fetch, Option<u64>)>,
    /// What it shall become before it talks to anybody.
    pub identity: Identity,
    /// Where its log goes.
    pub log: Log,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Agent {
    process: Option<Process>,
    deaths: Backoff,
    /// The last good content of everything that was fetched for a generation that is left.
    pub(super) fetched: Vec<Fetched>,
}

/// The process.
#[derive(Debug)]
struct Process {
    pid: ProcessId,
    started: Now,
    channel: UnixStream,
    incoming: Decoder<FromAgent>,
    /// What came along with messages, in their order.
    descriptors: VecDeque<OwnedFd>,
    outgoing: Vec<u8>,
    /// What it fetches, as messages number it.
    feeds: Vec<Fetch>,
    /// What it has told of each.
    progress: Vec<Progress>,
    identity: Identity,
    log: Log,
}

/// What the process has told of something that it fetches.
#[derive(Debug, Clone, Default)]
pub(super) struct Progress {
    is_told: bool,
    /// When it makes its next attempt, in seconds since 1970.
    pub(super) next: Option<u64>,
    /// Since an attempt failed, until one does not.
    pub(super) failure: Option<Failure>,
}

/// Attempts that failed, one after the other.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    /// Of the last one.
    pub(super) reason: String,
    /// When the first one failed, in seconds since 1970.
    pub(super) since: u64,
    /// When the last one did.
    pub(super) at: u64,
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

    /// Its channel, with whether something waits to be written.
    pub(super) fn descriptor(&self) -> Option<(BorrowedFd<'_>, bool)> {
        let process = self.process.as_ref()?;
        Some((process.channel.as_fd(), !process.outgoing.is_empty()))
    }

    /// Tells it, where it runs.
    pub(super) fn tell(&mut self, message: &ToAgent) {
        if let Some(process) = &mut self.process {
            process.outgoing.extend(channel::encode(message));
            process.send();
        }
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
        let place = self.place(fetch)?;
        self.process.as_ref()?.progress.get(place)
    }

    /// The place of something among what the process fetches.
    fn place(&self, fetch: &Fetch) -> Option<usize> {
        let process = self.process.as_ref()?;
        process.feeds.iter().position(|it| it == fetch)
    }
}

impl Progress {
    fn take_in(&mut self, message: &FromAgent, now: u64) {
        self.is_told = true;
        match message {
            FromAgent::Fetched { next, .. } | FromAgent::Confirmed { next, .. } => {
                self.next = Some(*next);
                self.failure = None;
            }
            FromAgent::Failed { reason, next, .. } => {
                // Else no attempt was made.
                if let Some(next) = *next {
                    self.next = Some(next);
                    self.failure = Some(Failure {
                        reason: reason.clone(),
                        since: self.failure.as_ref().map_or(now, |failure| failure.since),
                        at: now,
                    });
                }
            }
        }
    }
}

impl Process {
    /// Sends what there is room for.
    fn send(&mut self) {
        while !self.outgoing.is_empty() {
            match self.channel.write(&self.outgoing) {
                Ok(written) => drop(self.outgoing.drain(..written)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // It has gone; the kernel will report its end.
                Err(_) => self.outgoing.clear(),
            }
        }
    }

    /// What it has said since the last time; `false` when it says no more.
    fn receive(&mut self) -> (Vec<FromAgent>, bool) {
        let mut bytes = [0; 4096];
        let goes_on = loop {
            match socket::receive_with(&self.channel, &mut bytes) {
                Ok((0, _)) => break false,
                Ok((count, descriptors)) => {
                    self.descriptors.extend(descriptors);
                    self.incoming.push(bytes.get(..count).unwrap_or_default());
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break true,
                Err(_) => break false,
            }
        };
        let mut messages = Vec::new();
        while let Some(message) = self.incoming.next_message() {
            match message {
                Ok(message) => messages.push(message),
                Err(error) => {
                    tracing::error!(pid = self.pid.number(), %error, "the agent says what no agent says");
                    return (messages, false);
                }
            }
        }
        (messages, goes_on)
    }
}

impl Master {
    /// Starts the agent when it is needed, another one when it needs to know other things, and none when nothing is fetched.
    pub(super) fn mind_agent(&mut self) {
        let wanted = self.fetches();
        let runs = self.agent.process.as_ref();
        let is_right = runs.map_or(wanted.is_empty(), |process| {
            let setting = self.agent_setting();
            process.feeds.iter().eq(wanted.iter().copied())
                && setting.is_some_and(|(identity, log)| {
                    process.identity == *identity && process.log == *log
                })
        });
        if is_right {
            return;
        }
        let wanted: Vec<Fetch> = wanted.into_iter().cloned().collect();
        // It leaves when its channel closes.
        self.give_agent_up();
        let is_named = |fetched: &Fetched| wanted.contains(&fetched.fetch);
        self.agent.fetched.retain(is_named);
        if wanted.is_empty() || self.now() < self.agent.deaths.not_before {
            return;
        }
        match self.fork_agent(wanted) {
            Ok(pid) => tracing::info!(pid = pid.number(), "agent started"),
            Err(reason) => {
                tracing::error!(reason, "cannot start the agent");
                self.delay_agent();
            }
        }
    }

    /// When a next agent may be started, where one is missing.
    pub(super) fn next_agent(&self) -> Option<Now> {
        let is_missing = self.agent.process.is_none() && !self.fetches().is_empty();
        is_missing.then_some(self.agent.deaths.not_before)
    }

    /// What the generations that are left have fetched, each once.
    fn fetches(&self) -> Vec<&Fetch> {
        let mut fetches = Vec::new();
        for pinned in self.generations.values() {
            let feeds = pinned.loaded.config.auth.feeds().into_iter();
            for fetch in feeds.filter_map(|feed| feed.source.fetch()) {
                if !fetches.contains(&fetch) {
                    fetches.push(fetch);
                }
            }
        }
        fetches
    }

    /// Who it shall be, and where its log goes.
    fn agent_setting(&self) -> Option<(&Identity, &Log)> {
        let pinned = self.serving().or_else(|| self.generations.values().last());
        pinned.map(|pinned| (&pinned.identity, &pinned.loaded.config.log))
    }

    fn fork_agent(&mut self, feeds: Vec<Fetch>) -> Result<ProcessId, String> {
        let setting = self.agent_setting();
        let (identity, log) = setting.ok_or("there is no generation")?;
        let (identity, log) = (identity.clone(), log.clone());
        let (ours, theirs) = UnixStream::pair().map_err(|error| format!("socketpair: {error}"))?;
        for end in [&ours, &theirs] {
            end.set_nonblocking(true)
                .map_err(|error| format!("socketpair: {error}"))?;
        }
        let known_since = |fetch: &Fetch| self.agent.last_good(fetch).map(|known| known.at);
        let mut keep = vec![Keep::new(&theirs)];
        keep.extend(logging::descriptor());
        let assignment = AgentAssignment {
            master: ProcessId::own(),
            channel: theirs,
            feeds: feeds
                .iter()
                .map(|fetch| (fetch.clone(), known_since(fetch)))
                .collect(),
            identity: identity.clone(),
            log: log.clone(),
        };
        // The newest generation knows what is to be fetched for it.
        let newest = self.generations.values().last();
        let run = newest.map(|pinned| Rc::clone(&pinned.loaded.run_agent));
        let run = run.ok_or("there is no generation")?;
        let forked = process::fork_worker(&keep, move || {
            logging::after_fork();
            run(assignment)
        });
        let pid = forked.map_err(|error| format!("fork: {error}"))?;
        self.agent.process = Some(Process {
            pid,
            started: self.now(),
            channel: ours,
            incoming: Decoder::default(),
            descriptors: VecDeque::new(),
            outgoing: Vec::new(),
            progress: vec![Progress::default(); feeds.len()],
            feeds,
            identity,
            log,
        });
        Ok(pid)
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
        for fetch in process.feeds {
            self.spread(&fetch, |feed| FeedNews::Failed { feed });
        }
    }

    /// Takes in what the agent has said.
    pub(super) fn hear_agent(&mut self) {
        let Some(process) = &mut self.agent.process else {
            return;
        };
        process.send();
        let (messages, goes_on) = process.receive();
        for message in messages {
            self.take_from_agent(message);
        }
        if !goes_on && let Some(process) = &self.agent.process {
            // Reaped and started again as one that died.
            let _gone_already = process::kill_now(process.pid);
        }
    }

    fn take_from_agent(&mut self, message: FromAgent) {
        let Some(process) = &mut self.agent.process else {
            return;
        };
        let (FromAgent::Fetched { feed, .. }
        | FromAgent::Confirmed { feed, .. }
        | FromAgent::Failed { feed, .. }) = message;
        let file = match message {
            FromAgent::Fetched { .. } => process.descriptors.pop_front(),
            FromAgent::Confirmed { .. } | FromAgent::Failed { .. } => None,
        };
        let place = usize::try_from(feed).unwrap_or(usize::MAX);
        let Some(fetch) = process.feeds.get(place).cloned() else {
            tracing::error!(feed, "the agent speaks of what it was not asked for");
            return;
        };
        if let Some(progress) = process.progress.get_mut(place) {
            progress.take_in(&message, clock::unix().as_secs());
        }
        match (message, file) {
            (FromAgent::Fetched { at, entries, .. }, Some(file)) => {
                self.agent.fetched.retain(|known| known.fetch != fetch);
                self.agent.fetched.push(Fetched {
                    fetch: fetch.clone(),
                    at,
                    entries,
                    file,
                });
                self.hand_to_all(&self.places_of(&fetch));
            }
            (FromAgent::Confirmed { at, .. }, _) => {
                let known = self.agent.fetched.iter_mut();
                for known in known.filter(|known| known.fetch == fetch) {
                    known.at = at;
                }
                self.spread(&fetch, |feed| FeedNews::Confirmed { feed, at });
            }
            (FromAgent::Failed { reason, .. }, _) => {
                tracing::debug!(feed, reason, "nothing new was fetched");
                self.spread(&fetch, |feed| FeedNews::Failed { feed });
            }
            (FromAgent::Fetched { .. }, None) => {
                tracing::error!(feed, "the agent sent nothing along");
            }
        }
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
            let feeds = pinned.loaded.config.auth.feeds().into_iter().enumerate();
            let places = feeds.filter(|(_, feed)| feed.source.fetch() == Some(fetch));
            places.map(|(place, _)| (*generation, place))
        });
        places.collect()
    }

    /// A worker needs a key that it does not know.
    pub(super) fn want_key(&mut self, id: WorkerId, feed: u32) {
        let Some(hand) = self.crew.get(id) else {
            return;
        };
        let pinned = self.generations.get(&hand.generation);
        let fetch = pinned.and_then(|pinned| {
            let feeds = pinned.loaded.config.auth.feeds();
            feeds
                .get(usize::try_from(feed).ok()?)?
                .source
                .fetch()
                .cloned()
        });
        let place = fetch.and_then(|fetch| self.agent.place(&fetch));
        if let Some(feed) = place.and_then(|place| u32::try_from(place).ok()) {
            self.agent.tell(&ToAgent::Wanted { feed });
        } else {
            // Nobody fetches it now.
            self.tell_news(id, FeedNews::Failed { feed });
        }
    }

    /// Whether the agent has tried to fetch this, and has nothing.
    pub(super) fn is_known_to_fail(&self, fetch: &Fetch) -> bool {
        let progress = self.agent.progress(fetch);
        // Without an agent nobody fetches it soon.
        progress.map_or(self.agent.deaths.failures > 0, |progress| progress.is_told)
    }
}
