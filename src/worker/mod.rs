//! One process that serves: boots the application, takes connections when told to, drains when told to, exits.

mod accept;
mod addresses;
mod assembly;
mod connection;
mod descriptors;
mod drain;
mod event_loop;
mod feeds;
mod heir;
mod http2;
mod intake;
mod limited;
mod linger;
mod memory;
mod orders;
mod parked;
mod probing;
mod proxy_header;
mod proxy_protocol;
mod spans;
mod stacks;
mod timer;
mod tls;
mod watched;
mod websocket;

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use accept::{Accepting, Ending, Listener};
use connection::Serving;
use feeds::Feeds;
use orders::Orders;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::app::{App, AppService, Boot, BoxError};
use crate::auth::Guard;
use crate::channel::{ToMaster, ToWorker};
use crate::config::Config;
use crate::http::fresh_keys::FreshKeys;
use crate::log_writer;
use crate::logging;
use crate::rate_limit::RateTable;
use crate::replay::ReplayCache;
use crate::scoreboard::SeatWriter;
use crate::sys::crash;
use crate::sys::identity::Identity;
use crate::sys::listener::ListeningSocket;
use crate::sys::process::{self, ProcessId};
use crate::telemetry::CollectorAccess;
use crate::tls::Tls;
use crate::tokens::{self, Signer};

/// Everything that a worker needs.
#[derive(Debug)]
pub struct Task {
    /// The process that forked it.
    pub master: ProcessId,
    /// Its number, for logs.
    pub worker: u64,
    /// The generation it runs.
    pub generation: u64,
    /// How many workers that generation has: this one has that part of what is limited for all together.
    pub workers: u16,
    /// The configuration of that generation.
    pub config: Arc<Config>,
    /// The keys and rules of that generation.
    pub guard: Arc<Guard>,
    /// What the token service of that generation signs with; absent when it has none.
    pub signer: Option<Arc<Signer>>,
    /// What it speaks TLS with; absent when no address of that generation does.
    pub tls: Option<Arc<Tls>>,
    /// What its database asks for; absent when it asks for nothing.
    pub database_password: Option<tokens::Password>,
    /// What files say of the way to a collector of traces.
    pub collector: CollectorAccess,
    /// Its end of the control channel.
    pub channel: UnixStream,
    /// Where its connections come from.
    pub listeners: Vec<ListeningSocket>,
    /// Where it says what it does.
    pub seat: SeatWriter,
    /// The proofs that were shown to any worker; absent where no issuer asks for proofs.
    pub replay: Option<Arc<ReplayCache>>,
    /// What clients have used of the rates of rules; absent while no generation has had any.
    pub rates: Option<Arc<RateTable>>,
    /// What it becomes before it runs anything of the application.
    pub identity: Identity,
    /// What it shows in the place of the application, which it does not load; for development.
    pub failure: Option<String>,
}

/// What a worker process exits with. The master reads it in its death report only: what counts was said on the channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkerExit {
    /// It drained, or its master is gone.
    Done,
    /// It could not boot; the reason was told.
    BootFailed,
}

impl From<WorkerExit> for u8 {
    fn from(exit: WorkerExit) -> Self {
        match exit {
            WorkerExit::Done => 0,
            WorkerExit::BootFailed => 3,
        }
    }
}

/// A worker whose master has died exits within this time, whatever its clients do.
const ORPHAN_GRACE: Duration = Duration::from_millis(500);

/// Serves until told to stop. Called in the forked child; the process exits with what it returns.
pub fn run<A: App>(task: Task, app: &A) -> WorkerExit {
    let worker = task.worker;
    change_logs(&task.config, Some(worker));
    std::panic::set_hook(Box::new(move |panic| {
        let place = panic.location().map(ToString::to_string);
        let message = panic.payload_as_str().unwrap_or("no message");
        tracing::error!(worker, place, message, "panic");
    }));
    // The event loop runs on this thread.
    if let Err(error) = crash::watch(task.master, task.seat.crash_note()) {
        tracing::warn!(worker, %error, "cannot watch for crashes, death reports will not know their cause");
    }
    let seat = task.seat.clone();
    let exit = match event_loop::turned(&seat, app.loan(), live(task, app)) {
        Ok(exit) => exit,
        Err(error) => {
            // Without a runtime there is no way to tell the master but the exit itself.
            tracing::error!(worker, %error, "cannot start the event loop");
            WorkerExit::BootFailed
        }
    };
    crash::means_to_exit();
    logging::end_access();
    logging::flush();
    exit
}

/// Puts the logs of the generation into force, with the privileges that the worker still has.
pub(crate) fn change_logs(config: &Config, worker: Option<u64>) {
    if let Err(error) = logging::change(&config.log) {
        tracing::error!(worker, %error, "cannot open the log file, the old one stays in use");
    }
    if let Err(error) = logging::change_access(config.access_log.as_ref()) {
        tracing::error!(worker, %error, "cannot open the access log, the old one stays in use");
    }
}

async fn live<A: App>(mut task: Task, app: &A) -> WorkerExit {
    let (words, to_be_said) = mpsc::unbounded_channel();
    let fresh_keys = Arc::new(fresh_keys(&task.config, words.clone()));
    let feeds = Arc::new(Feeds::new(
        Arc::clone(&task.config),
        Arc::clone(&task.guard),
        (task.signer.clone(), task.tls.clone()),
        Arc::clone(&fresh_keys),
        words.clone(),
    ));
    let mut orders = match become_worker(&mut task, Arc::clone(&feeds)) {
        Ok(orders) => orders,
        Err(error) => {
            tracing::error!(worker = task.worker, %error, "cannot become a worker");
            return WorkerExit::BootFailed;
        }
    };
    let witness = app.witness();
    orders.set_witness(witness.clone());
    if let Some(file) = witness.as_ref().and_then(|witness| witness.last_words()) {
        orders.say_with(&ToMaster::LastWords, file).await;
    }
    log_writer::start();
    if task.tls.is_some() {
        Tls::warm_up();
    }
    let recorder = spans::start(&task);
    let listeners = std::mem::take(&mut task.listeners);
    let (service, tokens) = match boot(&task, app, &feeds, &mut orders).await {
        Booted::Ready(booted) => booted,
        Booted::Failed(reason) => {
            return orders.say_failed(reason, app.traceback()).await;
        }
        Booted::NotWanted => return WorkerExit::Done,
    };
    let serving = Arc::new(assembly::serving(
        &task,
        fresh_keys,
        (service, tokens),
        (witness, recorder.clone()),
        (words, app.loan()),
    ));
    if let Some(reason) = app.stands_in() {
        orders.say(&ToMaster::StandsIn { reason }).await;
    }
    match probing::before_serving(&task, &serving, &mut orders).await {
        Booted::Ready(()) => {}
        Booted::Failed(reason) => {
            return orders.say_failed(reason, None).await;
        }
        Booted::NotWanted => return WorkerExit::Done,
    }
    orders.say(&ToMaster::Ready).await;
    let end = serve(&task, listeners, &serving, to_be_said, &mut orders).await;
    // An orphan has no time.
    if let Some(recorder) = recorder.filter(|_| end == End::AsTold) {
        recorder.finish().await;
    }
    WorkerExit::Done
}

/// Gives up privileges for good, and asks to die with the master.
fn become_worker(task: &mut Task, feeds: Arc<Feeds>) -> io::Result<Orders> {
    task.identity.assume()?;
    // Only now: a change of user clears it.
    process::die_with(task.master)?;
    Orders::listen_on(task.channel.try_clone()?, task.seat.clone(), feeds)
}

/// Asks the master for what is fetched.
fn fresh_keys(config: &Arc<Config>, words: mpsc::UnboundedSender<ToMaster>) -> FreshKeys {
    let feeds = config.feeds();
    let purposes: Vec<_> = feeds.iter().map(|feed| feed.purpose).collect();
    FreshKeys::new(purposes.clone(), move |wanted| {
        let place = purposes.iter().position(|purpose| *purpose == wanted);
        if let Some(feed) = place.and_then(|place| u32::try_from(place).ok()) {
            // Nobody listens to it any more when the worker is about to exit.
            let _leaving = words.send(ToMaster::FeedWanted { feed });
        }
    })
}

/// What came of the boot.
enum Booted<T> {
    Ready(T),
    Failed(String),
    NotWanted,
}

async fn boot<A: App>(
    task: &Task,
    app: &A,
    feeds: &Feeds,
    orders: &mut Orders,
) -> Booted<(A::Service, Option<Box<tokens::Service>>)> {
    let context = Boot {
        config: Arc::clone(&task.config),
        worker: task.worker,
        generation: task.generation,
    };
    let booting = async {
        let guard = Arc::clone(&task.guard);
        let (signer, password) = (task.signer.clone(), task.database_password.as_ref());
        let tokens =
            tokens::Service::start(&task.config.auth, signer, password, guard, task.workers);
        let tokens = tokens
            .await
            .map_err(|error| format!("auth.tokens: {error}"))?;
        let service = app.boot(context).await;
        let service = service.map_err(|error| with_causes(&error))?;
        let patience = task.config.workers.boot_timeout / 2;
        if timeout(patience, feeds.heard_of_all()).await.is_err() {
            let worker = task.worker;
            tracing::warn!(worker, "serves before the keys that are fetched have come");
        }
        Ok((service, tokens.map(Box::new)))
    };
    tokio::select! {
        booted = booting => match booted {
            Ok(booted) => Booted::Ready(booted),
            Err(reason) => Booted::Failed(reason),
        },
        order = orders.next_to_leave() => {
            tracing::debug!(worker = task.worker, ?order, "no longer wanted while booting");
            Booted::NotWanted
        }
    }
}

/// How a worker has come to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    AsTold,
    /// Its master is gone.
    AsOrphan,
}

/// From the boot to the last connection.
async fn serve<S: AppService>(
    task: &Task,
    sockets: Vec<ListeningSocket>,
    serving: &Arc<Serving<S>>,
    mut to_be_said: mpsc::UnboundedReceiver<ToMaster>,
    orders: &mut Orders,
) -> End {
    let mut sockets = sockets;
    let mut accepting = Vec::new();
    let mut told_that_stuck = false;
    let close = loop {
        let order = tokio::select! {
            order = orders.next() => order,
            Some(words) = to_be_said.recv() => {
                orders.say(&words).await;
                continue;
            }
            () = serving.pipeline.served_out() => {
                orders.say(&ToMaster::ServedOut).await;
                continue;
            }
            () = serving.pipeline.stuck(), if !told_that_stuck => {
                orders.say(&ToMaster::Stuck).await;
                told_that_stuck = true;
                continue;
            }
        };
        match order {
            Some(ToWorker::Accept) => {
                // What was revoked since the generation was read must be refused.
                orders.lists_taken().await;
                task.seat.set_accepting(true);
                accepting.extend(accept_from(std::mem::take(&mut sockets), task, serving));
                probing::while_serving(task, serving);
            }
            Some(ToWorker::TakeOver { listener, slot }) => {
                take_over((listener, slot), orders.take_descriptor(), serving);
            }
            Some(ToWorker::Adopt) => {
                if let Some(channel) = orders.take_descriptor() {
                    heir::adopt(channel, Arc::clone(serving));
                }
            }
            Some(ToWorker::Drain { close, pass }) => {
                if !pass.is_empty() {
                    heir::note(orders.take_descriptor(), pass, serving);
                }
                break close;
            }
            Some(ToWorker::Feed(news)) => orders.take_in(&news),
            Some(ToWorker::ReopenLogs) => reopen_logs(),
            Some(ToWorker::ShowLife) => {}
            Some(ToWorker::TellMemory) => memory::tell(&serving.words),
            Some(ToWorker::TellStacks { question }) => {
                stacks::tell(&serving.words, orders.witness(), question);
            }
            Some(ToWorker::Quit) => return End::AsTold,
            None => {
                leave_as_orphan(task.worker, accepting, serving).await;
                return End::AsOrphan;
            }
        }
    };
    let ending = |listener: &Accepting| {
        if close.iter().any(|name| **name == *listener.name) {
            Ending::Close
        } else {
            Ending::Leave
        }
    };
    let mut drained = pin!(drain::drain(accepting, ending, serving));
    loop {
        tokio::select! {
            () = &mut drained => return End::AsTold,
            Some(words) = to_be_said.recv() => orders.say(&words).await,
            order = orders.next() => match order {
                Some(
                    ToWorker::Accept
                    | ToWorker::Drain { .. }
                    | ToWorker::ShowLife
                    | ToWorker::TellMemory,
                ) => {}
                // At the end of the server there is nobody else.
                Some(ToWorker::TakeOver { listener, slot }) => {
                    take_over((listener, slot), orders.take_descriptor(), serving);
                }
                // Whoever is at the other end sees that nobody is here.
                Some(ToWorker::Adopt) => drop(orders.take_descriptor()),
                Some(ToWorker::Feed(news)) => orders.take_in(&news),
                Some(ToWorker::ReopenLogs) => reopen_logs(),
                Some(ToWorker::TellStacks { question }) => {
                    stacks::tell(&serving.words, orders.witness(), question);
                }
                Some(ToWorker::Quit) => return End::AsTold,
                None => {
                    let _out_of_time = timeout(ORPHAN_GRACE, drained).await;
                    return End::AsOrphan;
                }
            }
        }
    }
}

fn accept_from<S: AppService>(
    sockets: Vec<ListeningSocket>,
    task: &Task,
    serving: &Arc<Serving<S>>,
) -> Vec<Accepting> {
    let start = |socket: ListeningSocket| match Listener::new(socket, serving.dead_peer_timeout) {
        Ok(listener) => Some(Accepting::start(listener, Arc::clone(serving))),
        Err(error) => {
            tracing::error!(worker = task.worker, %error, "cannot wait for connections");
            None
        }
    };
    sockets.into_iter().filter_map(start).collect()
}

/// Serves what waits for a worker that has died. Without a socket there is nothing to serve.
fn take_over<S: AppService>(
    (name, slot): (String, u16),
    socket: Option<OwnedFd>,
    serving: &Arc<Serving<S>>,
) {
    let Some(socket) = socket else {
        return;
    };
    let socket = ListeningSocket {
        name,
        socket,
        shared: false,
        inherited: false,
    };
    match Listener::new(socket, serving.dead_peer_timeout) {
        Ok(listener) => accept::take_over(listener, slot, Arc::clone(serving)),
        Err(error) => tracing::warn!(%error, "cannot serve what waits for a worker that has died"),
    }
}

/// The next master wants the ports at once; requests in flight get what little time there is.
async fn leave_as_orphan<S: AppService>(
    worker: u64,
    accepting: Vec<Accepting>,
    serving: &Serving<S>,
) {
    tracing::error!(worker, "the master is gone, leaving");
    // What somebody outside listens on too is not this server's to stop.
    let ending = |listener: &Accepting| {
        if listener.is_inherited {
            Ending::Leave
        } else {
            Ending::CloseNow
        }
    };
    let drained = drain::drain(accepting, ending, serving);
    let _out_of_time = timeout(ORPHAN_GRACE, drained).await;
}

fn reopen_logs() {
    if let Err(error) = logging::reopen() {
        tracing::error!(%error, "cannot open the log file anew, the old one stays in use");
    }
}

/// An error with what caused it, on one line.
fn with_causes(error: &BoxError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
