//! The process that fetches what workers need from elsewhere, once for all of them: sets of keys, lists of tokens that are no
//! longer believed. It serves nobody, so its death costs nothing but a restart.

mod client;
mod freshness;
mod link_local;
mod once;
mod schedule;
mod source;
#[cfg(test)]
mod tests;

use std::io;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use tokio::task::JoinSet;

use client::Limits;
pub use once::fetch_once;
use schedule::{Schedule, Wish};
use source::{Brought, Failure, Source};

use crate::channel::{FromAgent, ToAgent};
use crate::config::{Fetch, Log};
use crate::log_writer;
use crate::logging;
use crate::master_end::MasterEnd;
use crate::sys::clock;
use crate::sys::handover::sealed_file;
use crate::sys::identity::Identity;
use crate::sys::process::{self, ProcessId};
use crate::tokens::DenyTable;

/// Everything that the agent needs.
#[derive(Debug)]
pub struct Task {
    /// The process that forked it.
    pub master: ProcessId,
    /// Its end of the channel to the master, non-blocking.
    pub channel: UnixStream,
    /// What it keeps fresh. Messages name them by their place.
    pub feeds: Vec<Feed>,
    /// What it becomes before it talks to anybody.
    pub identity: Identity,
    /// Where its log goes.
    pub log: Log,
    /// The database of the token service, where a deny list in it is one of the feeds.
    pub table: Option<DenyTable>,
}

/// Something that is kept fresh.
#[derive(Debug, Clone)]
pub struct Feed {
    /// What, and from where.
    pub fetch: Fetch,
    /// When what the workers have was fetched or confirmed, in seconds since 1970; `None` when they have none. An agent goes on
    /// where the one before it ended.
    pub known_since: Option<u64>,
}

/// What the process exits with when it could not do its work.
const FAILED: u8 = 3;

/// Fetches until told to stop, or until the master is gone. Called in the forked child; the process exits with what it returns.
pub fn run(task: Task) -> u8 {
    if let Err(error) = logging::change(&task.log) {
        tracing::error!(%error, "agent: cannot open the log file, the old one stays in use");
    }
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        let message = panic.payload_as_str().unwrap_or("no message");
        tracing::error!(place, message, "agent: panic");
    }));
    let result = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .and_then(|runtime| {
            let result = runtime.block_on(live(task, &Limits::default()));
            // A name may still be looked up on a thread of its own.
            runtime.shutdown_background();
            result
        });
    let code = match result {
        Ok(()) => 0,
        Err(error) => {
            tracing::error!(%error, "agent: cannot go on");
            FAILED
        }
    };
    logging::flush();
    code
}

async fn live(task: Task, limits: &Limits) -> io::Result<()> {
    task.identity.assume()?;
    // Only now: a change of user clears it.
    process::die_with(task.master)?;
    log_writer::start();
    let master = MasterEnd::new(task.channel)?;
    keep_fresh(master, task.feeds, task.table, limits).await
}

/// One feed and its attempts.
#[derive(Debug)]
struct Keeper {
    schedule: Schedule,
    /// Absent while an attempt is under way, which has it.
    source: Option<Source>,
    /// How logs call it.
    url: String,
}

/// An attempt that has ended.
struct Ended {
    feed: usize,
    source: Source,
    result: Result<Brought, Failure>,
}

async fn keep_fresh(
    mut master: MasterEnd<ToAgent>,
    feeds: Vec<Feed>,
    table: Option<DenyTable>,
    limits: &Limits,
) -> io::Result<()> {
    let mut keepers: Vec<Keeper> = feeds
        .into_iter()
        .map(|feed| Keeper::new(feed, limits, table.clone()))
        .collect();
    let mut attempts = JoinSet::new();
    loop {
        begin(&mut keepers, &mut attempts);
        // One that is under way ends by itself; where nothing is due nobody wakes up.
        let next = keepers.iter().filter_map(|keeper| keeper.schedule.next());
        let wait = next
            .min()
            .map(|next| next.saturating_sub(clock::monotonic()));
        tokio::select! {
            order = master.next() => match order {
                Some(ToAgent::Wanted { feed }) => wish(feed, &mut keepers, &mut master).await,
                Some(ToAgent::ReopenLogs) => {
                    if let Err(error) = logging::reopen() {
                        tracing::error!(%error, "agent: cannot open the log file anew, the old one stays in use");
                    }
                }
                Some(ToAgent::Quit) | None => return Ok(()),
            },
            Some(ended) = attempts.join_next() => {
                // A panic is a mistake here, and has been told; the next agent begins anew.
                let ended: Ended = ended.map_err(io::Error::other)?;
                let feed = ended.feed;
                if let Some(keeper) = keepers.get_mut(feed) {
                    end(ended, keeper, &mut master).await?;
                }
            }
            () = tokio::time::sleep(wait.unwrap_or_default()), if wait.is_some() => {}
        }
    }
}

/// Begins the attempts that are due.
fn begin(keepers: &mut [Keeper], attempts: &mut JoinSet<Ended>) {
    let now = clock::monotonic();
    for (feed, keeper) in keepers.iter_mut().enumerate() {
        let is_due = keeper.schedule.next().is_some_and(|next| next <= now);
        if let Some(mut source) = keeper.source.take_if(|_| is_due) {
            keeper.schedule.begin(now);
            attempts.spawn(async move {
                let result = source.attempt().await;
                Ended {
                    feed,
                    source,
                    result,
                }
            });
        }
    }
}

/// A worker misses a key.
async fn wish(feed: u32, keepers: &mut [Keeper], master: &mut MasterEnd<ToAgent>) {
    let keeper = usize::try_from(feed)
        .ok()
        .and_then(|index| keepers.get_mut(index));
    let reason = match keeper.map(|keeper| keeper.schedule.wish(clock::monotonic())) {
        Some(Wish::Granted) => return,
        Some(Wish::TooOften) => "asked too often",
        None => "there is no such feed",
    };
    let failed = FromAgent::Failed {
        feed,
        reason: reason.to_owned(),
        next: None,
    };
    master.say(&failed, None).await;
}

/// Tells the master and the log what an attempt brought.
async fn end(ended: Ended, keeper: &mut Keeper, master: &mut MasterEnd<ToAgent>) -> io::Result<()> {
    keeper.source = Some(ended.source);
    let now = clock::monotonic();
    // Their number is that of the issuers in a file.
    let feed = u32::try_from(ended.feed).unwrap_or(u32::MAX);
    let url = &keeper.url;
    let brought = match ended.result {
        Ok(brought) => brought,
        Err(failure) => {
            let reason = logging::cut(&failure.to_string()).to_owned();
            if keeper.schedule.failed(now) {
                tracing::warn!(url, reason, "cannot fetch; what is known stays in use");
            } else {
                tracing::debug!(url, reason, "still cannot fetch");
            }
            let next = Some(keeper.next_attempt());
            let failed = FromAgent::Failed { feed, reason, next };
            master.say(&failed, None).await;
            return Ok(());
        }
    };
    let (is_new, lifetime) = (brought.content.is_some(), brought.lifetime);
    if let Some(failed_for) = keeper.schedule.succeeded(now, is_new, lifetime) {
        let failed_for = humantime::format_duration(whole_seconds(failed_for)).to_string();
        tracing::info!(url, failed_for, "can fetch again");
    }
    let (at, next) = (clock::unix().as_secs(), keeper.next_attempt());
    let Some(content) = brought.content else {
        tracing::debug!(url, "fetched, nothing has changed");
        let confirmed = FromAgent::Confirmed { feed, at, next };
        master.say(&confirmed, None).await;
        return Ok(());
    };
    for warning in brought.warnings {
        tracing::warn!(url, warning, "fetched");
    }
    tracing::info!(url, bytes = content.len(), "fetched something new");
    let file = sealed_file("destrier-feed", &content)?;
    let entries = u64::try_from(brought.entries).unwrap_or(u64::MAX);
    let message = FromAgent::Fetched {
        feed,
        at,
        entries,
        next,
    };
    master.say(&message, Some(file.into())).await;
    Ok(())
}

impl Keeper {
    fn new(feed: Feed, limits: &Limits, table: Option<DenyTable>) -> Self {
        let times = (feed.fetch.refresh, feed.fetch.stale_max);
        let age = feed.known_since.map(|known_since| {
            let since = Duration::from_secs(known_since);
            clock::unix().saturating_sub(since)
        });
        // Without random numbers the hosts of a fleet fetch together.
        let seed = getrandom::u64().unwrap_or_default();
        Self {
            schedule: Schedule::new(times, age, clock::monotonic(), seed),
            url: source::shown(&feed.fetch.url),
            source: Some(Source::new(feed.fetch, limits.clone(), table)),
        }
    }
}

impl Keeper {
    /// When it begins unless somebody asks for it earlier, in seconds since 1970.
    fn next_attempt(&self) -> u64 {
        let next = self.schedule.next().unwrap_or_default();
        let wait = next.saturating_sub(clock::monotonic());
        clock::unix().saturating_add(wait).as_secs()
    }
}

fn whole_seconds(time: Duration) -> Duration {
    Duration::from_secs(time.as_secs())
}
