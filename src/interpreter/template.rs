//! A template: the process that has imported the application of its generation, and forks the workers, which begin where it
//! stands. It waits for orders and does nothing else; it makes no thread and no runtime, for no child could have them.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use crate::channel::{self, ForkOrder, FromTemplate, TEMPLATE_PACKET_MAX, ToTemplate};
use crate::config::{Config, Python};
use crate::key_files::Secrets;
use crate::logging::{self, Outputs};
use crate::rate_limit::RateTable;
use crate::replay::ReplayCache;
use crate::scoreboard::Scoreboard;
use crate::sys::adoption::{self, Side};
use crate::sys::identity::Identity;
use crate::sys::listener::ListeningSocket;
use crate::sys::poll::{self, Interest};
use crate::sys::process::ProcessId;
use crate::sys::{socket, title};
use crate::worker::Task;

/// What a template is made of.
#[derive(Debug)]
pub struct TemplateTask {
    /// The process that forked it, and that its workers are children of.
    pub master: ProcessId,
    /// Whose workers it forks.
    pub generation: u64,
    /// The configuration of that generation.
    pub config: Arc<Config>,
    /// Its end of the channel: packets.
    pub channel: OwnedFd,
    /// Where its workers say what they do.
    pub scoreboard: Arc<Scoreboard>,
    /// As in [`Task`].
    pub replay: Option<Arc<ReplayCache>>,
    /// As in [`Task`].
    pub rates: Option<Arc<RateTable>>,
    /// What it becomes before it runs anything of the application.
    pub identity: Identity,
}

/// A template in the interpreter.
#[derive(Debug)]
pub struct Template {
    task: TemplateTask,
    secrets: Secrets,
    outputs: Outputs,
}

/// What a template does next.
#[derive(Debug)]
pub enum Order {
    /// Fork a worker.
    Fork(Forking),
    /// End: the master says no more.
    End,
}

/// A worker that is to be forked.
#[derive(Debug)]
pub struct Forking {
    order: ForkOrder,
    channel: UnixStream,
    listeners: Vec<ListeningSocket>,
}

impl Template {
    pub(super) fn new(task: TemplateTask, secrets: Secrets, outputs: Outputs) -> Self {
        Self {
            task,
            secrets,
            outputs,
        }
    }

    /// The configuration of its generation.
    pub fn config(&self) -> &Config {
        &self.task.config
    }

    /// Whose workers it forks.
    pub fn generation(&self) -> u64 {
        self.task.generation
    }

    /// Starts the logs of this process and of those that are forked from it.
    ///
    /// # Errors
    /// Logging was started before.
    pub fn start_log(&mut self) -> io::Result<()> {
        let config = &self.task.config;
        let outputs = std::mem::take(&mut self.outputs);
        logging::go_on(&config.log, config.access_log.as_ref(), outputs)
    }

    /// Tells the master; waits for room.
    ///
    /// # Errors
    /// The master is gone.
    pub fn say(&self, message: &FromTemplate) -> io::Result<()> {
        let packet = channel::packet(message);
        loop {
            match socket::send_packet(&self.task.channel, &packet, &[]) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    poll::wait(&[(self.task.channel.as_fd(), Interest::Write)], None)?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    /// Waits until there is something to do.
    ///
    /// # Errors
    /// The master is gone, or says what no master says.
    pub fn next_order(&mut self) -> io::Result<Order> {
        let mut bytes = vec![0; TEMPLATE_PACKET_MAX];
        loop {
            // A line that nobody has read is tried again when there is something to do.
            logging::flush();
            let received = socket::receive_packet(&self.task.channel, &mut bytes);
            let (count, along) = match received {
                Ok(Some(received)) => received,
                Ok(None) => return Ok(Order::End),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    poll::wait(&[(self.task.channel.as_fd(), Interest::Read)], None)?;
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let message = serde_json::from_slice(bytes.get(..count).unwrap_or_default())?;
            match message {
                ToTemplate::Fork(order) => return Forking::new(order, along).map(Order::Fork),
                ToTemplate::ReopenLogs { log, access_log } => {
                    let mut along = along.into_iter();
                    let mut next = |is_there: bool| is_there.then(|| along.next()).flatten();
                    self.reopen_logs(Outputs {
                        log: next(log),
                        access_log: next(access_log),
                    });
                }
            }
        }
    }

    /// Forks a worker as `fork` does, which returns as fork(2). In the worker it returns what [`crate::worker::run`] is given, in
    /// the template nothing; the master is told.
    ///
    /// # Errors
    /// The master is gone; in the worker: it cannot begin.
    pub fn fork(
        self: Box<Self>,
        forking: Forking,
        fork: impl FnOnce() -> io::Result<i32>,
    ) -> io::Result<Forked> {
        let worker = forking.order.worker;
        // Lines that wait here are not for the worker to write.
        logging::flush();
        match adoption::fork_for_adopter(fork) {
            Ok(Side::Orphan) => {
                logging::after_fork();
                Ok(Forked::Worker(Box::new(self.into_task(forking))))
            }
            Ok(Side::Caller(orphan)) => {
                let pid = i32::try_from(orphan.pid().number()).map_err(io::Error::other)?;
                self.say(&FromTemplate::Forked { worker, pid })?;
                // The master knows whom it adopts.
                orphan.let_go();
                Ok(Forked::Template(self))
            }
            Err(error) => {
                let reason = error.to_string();
                self.say(&FromTemplate::NotForked { worker, reason })?;
                Ok(Forked::Template(self))
            }
        }
    }

    /// In the worker.
    fn into_task(self, forking: Forking) -> Task {
        let Self { task, secrets, .. } = self;
        let Forking {
            order,
            channel,
            listeners,
        } = forking;
        let (worker, seat) = (order.worker, order.seat);
        if let Some(python) = &task.config.app.python {
            // For people only.
            let _as_it_was = title::set(&super::worker_title(worker, python));
        }
        let own = ProcessId::own().number();
        task.scoreboard
            .open_seat(seat, own, order.slot, task.generation);
        Task {
            master: task.master,
            worker,
            generation: task.generation,
            workers: order.workers,
            config: task.config,
            guard: secrets.guard,
            signer: secrets.signer,
            tls: secrets.tls,
            database_password: secrets.database_password,
            collector: secrets.collector,
            channel,
            listeners,
            seat: task.scoreboard.writer(seat),
            replay: task.replay,
            rates: task.rates,
            identity: task.identity,
            // Where something stands in there is no template.
            failure: None,
        }
    }

    fn reopen_logs(&self, outputs: Outputs) {
        let config = &self.task.config;
        if let Err(error) = logging::replace_outputs(config.access_log.as_ref(), outputs) {
            let generation = self.task.generation;
            tracing::error!(generation, %error, "template: cannot open the log file anew, the old one stays in use");
        }
    }
}

/// Which process a fork has returned in.
#[derive(Debug)]
pub enum Forked {
    /// The template, which goes on.
    Template(Box<Template>),
    /// The worker.
    Worker(Box<Task>),
}

impl Forking {
    fn new(order: ForkOrder, along: Vec<OwnedFd>) -> io::Result<Self> {
        let lost = || io::Error::other("a descriptor of a worker did not arrive");
        let mut along = along.into_iter();
        let channel = along.next().ok_or_else(lost)?;
        let listeners = order.listeners.iter().map(|listener| {
            Ok(ListeningSocket {
                name: listener.name.clone(),
                socket: along.next().ok_or_else(lost)?,
                shared: listener.shared,
                inherited: listener.inherited,
            })
        });
        Ok(Self {
            listeners: listeners.collect::<io::Result<_>>()?,
            channel: UnixStream::from(channel),
            order,
        })
    }
}

/// What `ps` shows of a template. The title of a worker goes into its place, so there is room for any.
pub(super) fn title(generation: u64, python: &Python) -> String {
    let room = format!("destrier worker {}: {}", u64::MAX, python.application).len();
    format!(
        "{:room$}",
        format!("destrier template {generation}: {}", python.application)
    )
}
