//! The process that fetches what workers need from elsewhere, once for all of them: sets of keys, lists of tokens that are no
//! longer believed; takes out of the token database what has expired; and answers monitoring (`admin`). No request of a client depends
//! on it, so its death costs nothing but a restart.

mod alarms;
mod changes;
mod client;
mod freshness;
mod front_desk;
mod hooks;
mod link_local;
mod once;
mod schedule;
mod source;
#[cfg(test)]
mod tests;
mod watch;

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use tokio::task::JoinSet;

use changes::Changes;
use client::Limits;
use front_desk::FrontDesk;
pub use hooks::Setting as HookSetting;
pub use once::fetch_once;
use schedule::{Schedule, Wish};
use source::{Brought, Failure, Source};
use watch::Watch;

use crate::admin;
use crate::channel::{Fingerprint, FromAgent, ToAgent};
use crate::config::{Fetch, Log, SourceFiles};
use crate::log_writer;
use crate::logging;
use crate::master_end::MasterEnd;
use crate::sys::clock;
use crate::sys::handover::{read_sealed, sealed_file};
use crate::sys::identity::Identity;
use crate::sys::process::{self, ProcessId};
use crate::tokens::{DenyTable, Flush};

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
    /// The database out of which it takes what has expired, and how often.
    pub flush: Option<(Flush, Duration)>,
    /// How it answers monitoring; absent where nobody can ask.
    pub admin: Option<admin::Setting>,
    /// What it runs when something happens; absent: nothing.
    pub hooks: Option<HookSetting>,
    /// For development: what it watches for changes; absent: nothing.
    pub sources: Option<SourceFiles>,
}

/// Something that is kept fresh.
#[derive(Debug)]
pub struct Feed {
    /// What, and from where.
    pub fetch: Fetch,
    /// What the workers have. An agent goes on where the one before it ended.
    pub known: Option<Known>,
}

/// What was fetched last.
#[derive(Debug)]
pub struct Known {
    /// When, or when it was confirmed, in seconds since 1970.
    pub since: u64,
    /// A sealed file with it.
    pub content: OwnedFd,
}

/// Until the first flush of the token database, where the others are farther apart.
const FIRST_FLUSH: Duration = Duration::from_mins(1);

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
    if let Some((flush, interval)) = task.flush {
        tokio::spawn(flush_now_and_then(flush, interval));
    }
    let master = MasterEnd::new(task.channel)?;
    let mut desk = FrontDesk::open(task.admin)?;
    let mut watch = Watch::new(task.hooks, task.master);
    let mut changes = Changes::new(task.sources);
    let kept = keep_fresh(
        master,
        task.feeds,
        task.table,
        (&mut desk, &mut watch, &mut changes),
        limits,
    )
    .await;
    // Another agent answers from now on; what became of orders, and what has happened, is told to its end.
    desk.finish().await;
    watch.finish().await;
    kept
}

/// Takes out of the token database what has expired, for as long as the process lives. First when the boot of the workers is over.
async fn flush_now_and_then(flush: Flush, interval: Duration) {
    let mut random = fastrand::Rng::new();
    let mut wait = interval.min(FIRST_FLUSH);
    loop {
        // Up to a quarter more, so that hosts that share the database do not come together.
        tokio::time::sleep(wait.mul_f64(1.0 + 0.25 * random.f64())).await;
        wait = interval;
        match flush.run().await {
            Ok(0) => {}
            Ok(rows) => {
                tracing::info!(rows, "what had expired was taken out of the token database");
            }
            Err(reason) => {
                let reason = logging::cut(&reason);
                tracing::warn!(
                    reason,
                    "cannot take out of the token database what has expired"
                );
            }
        }
    }
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
    (desk, watch, changes): (&mut FrontDesk, &mut Watch, &mut Changes),
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
                Some(ToAgent::Status { document }) => desk.answer(document),
                Some(ToAgent::OrderEnded { number, outcome }) => desk.order_ended(number, outcome),
                Some(ToAgent::Happened { at, happening }) => watch.happened(at, &happening),
                Some(ToAgent::Event { document }) => desk.happened(document),
                Some(ToAgent::ReopenLogs) => {
                    if let Err(error) = logging::reopen() {
                        tracing::error!(%error, "agent: cannot open the log file anew, the old one stays in use");
                    }
                }
                Some(ToAgent::Quit) | None => return Ok(()),
            },
            question = watch.next() => {
                if let Some(question) = question
                    && desk.keep(question)
                {
                    master.say(&FromAgent::StatusWanted, None).await;
                }
            }
            file = changes.next() => {
                let file = file.display().to_string();
                master.say(&FromAgent::SourceChanged { file }, None).await;
            }
            asked = desk.next() => {
                if let Some(message) = desk.take_in(asked) {
                    master.say(&message, None).await;
                }
            }
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
    let (reason, again_in) = match keeper.map(|keeper| keeper.schedule.wish(clock::monotonic())) {
        Some(Wish::Granted) => return,
        Some(Wish::TooOften { again_in }) => ("asked too often", Some(again_in)),
        None => ("there is no such feed", None),
    };
    let message = FromAgent::Failed {
        feed,
        reason: reason.to_owned(),
        again_in: again_in.and_then(|time| u64::try_from(time.as_millis()).ok()),
        next: None,
    };
    master.say(&message, None).await;
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
            let message = FromAgent::Failed {
                feed,
                reason,
                again_in: None,
                next: Some(keeper.next_attempt()),
            };
            master.say(&message, None).await;
            return Ok(());
        }
    };
    let Brought {
        content,
        entries,
        fingerprint,
        warnings,
        lifetime,
    } = brought;
    let is_new = content.is_some();
    if let Some(failed_for) = keeper.schedule.succeeded(now, is_new, lifetime) {
        let failed_for = humantime::format_duration(whole_seconds(failed_for)).to_string();
        tracing::info!(url, failed_for, "can fetch again");
    }
    let (at, next) = (clock::unix().as_secs(), keeper.next_attempt());
    let Some(bytes) = content else {
        tracing::debug!(url, "fetched, nothing has changed");
        let message = FromAgent::Confirmed {
            feed,
            at,
            next,
            content: fingerprint,
        };
        master.say(&message, None).await;
        return Ok(());
    };
    for warning in warnings {
        tracing::warn!(url, warning, "fetched");
    }
    tracing::info!(url, bytes = bytes.len(), "fetched something new");
    let file = sealed_file("destrier-feed", &bytes)?;
    let message = FromAgent::Fetched {
        feed,
        at,
        entries: u64::try_from(entries).unwrap_or(u64::MAX),
        next,
        content: fingerprint,
    };
    master.say(&message, Some(file.into())).await;
    Ok(())
}

impl Keeper {
    fn new(feed: Feed, limits: &Limits, table: Option<DenyTable>) -> Self {
        let times = (feed.fetch.refresh, feed.fetch.stale_max);
        // What cannot be read is fetched anew.
        let known = feed.known.and_then(|Known { since, content }| {
            let content = read_sealed(content, feed.fetch.size_max()).ok()?;
            Some((Duration::from_secs(since), Fingerprint::of(&content)))
        });
        let age = known.as_ref();
        let age = age.map(|(since, _)| clock::unix().saturating_sub(*since));
        let mut source = Source::new(feed.fetch.clone(), limits.clone(), table);
        if let Some((_, content)) = known {
            source.knows(content);
        }
        // Without random numbers the hosts of a fleet fetch together.
        let seed = getrandom::u64().unwrap_or_default();
        Self {
            schedule: Schedule::new(times, age, clock::monotonic(), seed),
            url: source::shown(&feed.fetch.url),
            source: Some(source),
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
