//! What a worker or a template takes along when it becomes an interpreter: the generation as the master read it, and descriptors by their
//! numbers. In memory that nobody can change, never in arguments or the environment: keys and passwords are in it.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::config::{self, Sources, Text};
use crate::key_files::{Files, MissingSecret, Secrets};
use crate::logging::{self, Outputs};
use crate::rate_limit::RateTable;
use crate::replay::{self, ReplayCache};
use crate::scoreboard::{self, Scoreboard};
use crate::sys::handover::{self, Legacy, Luggage};
use crate::sys::identity::Identity;
use crate::sys::listener::ListeningSocket;
use crate::sys::process::ProcessId;
use crate::tls::{TicketSecret, Tls};
use crate::worker::Task;

use super::Part;
use super::template::{Template, TemplateTask};

/// The extension of another build would take some of it for something else.
const BUILD: &str = env!("CARGO_PKG_VERSION");

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parcel<'a> {
    build: Cow<'a, str>,
    text: Cow<'a, Text>,
    sources: Cow<'a, Sources>,
    files: Files,
    tickets: Option<TicketSecret>,
    master: u32,
    generation: u64,
    channel: i32,
    scoreboard: i32,
    scoreboard_version: u64,
    replay: Option<i32>,
    rates: Option<i32>,
    log: Option<i32>,
    access_log: Option<i32>,
    role: Role,
}

/// What only one of the two is made of.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
enum Role {
    Worker {
        worker: u64,
        workers: u16,
        listeners: Vec<Listener>,
        seat: usize,
        failure: Option<String>,
    },
    Template {},
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Listener {
    name: String,
    socket: i32,
    shared: bool,
    inherited: bool,
}

/// Writes down what the process is made of, and puts its descriptors with the luggage. What has one more needs it in
/// `Assignment::descriptors` of the master too, or it is closed by now.
///
/// # Errors
/// It cannot be written, which does not happen to what it is made of.
pub(super) fn pack<'a>(
    (text, sources, files): (&Text, &Sources, &Files),
    (part, secrets, outputs): (&Part<'a>, &Secrets, &'a Outputs),
    luggage: &mut Luggage<'a>,
) -> io::Result<Vec<u8>> {
    let (scoreboard, replay, rates, generation) = match *part {
        Part::Worker(task) => {
            let scoreboard = task.seat.place().0;
            (scoreboard, &task.replay, &task.rates, task.generation)
        }
        Part::Template(task) => {
            let scoreboard = task.scoreboard.as_ref();
            (scoreboard, &task.replay, &task.rates, task.generation)
        }
    };
    let role = match *part {
        Part::Worker(task) => {
            let listeners = task.listeners.iter().map(|listener| Listener {
                name: listener.name.clone(),
                socket: luggage.pack(listener.socket.as_fd()),
                shared: listener.shared,
                inherited: listener.inherited,
            });
            Role::Worker {
                worker: task.worker,
                workers: task.workers,
                listeners: listeners.collect(),
                seat: task.seat.place().1,
                failure: task.failure.clone(),
            }
        }
        Part::Template(_) => Role::Template {},
    };
    let parcel = Parcel {
        build: BUILD.into(),
        text: Cow::Borrowed(text),
        sources: Cow::Borrowed(sources),
        files: files.pinned(),
        tickets: secrets.tls.as_deref().map(Tls::ticket_secret),
        master: part.master().number(),
        generation,
        channel: luggage.pack(part.channel()),
        scoreboard: luggage.pack(scoreboard.file()),
        scoreboard_version: scoreboard::VERSION,
        replay: replay.as_ref().map(|it| luggage.pack(it.file())),
        rates: rates.as_ref().map(|it| luggage.pack(it.file())),
        log: outputs.log.as_ref().map(|it| luggage.pack(it.as_fd())),
        access_log: outputs
            .access_log
            .as_ref()
            .map(|it| luggage.pack(it.as_fd())),
        role,
    };
    serde_json::to_vec(&parcel).map_err(io::Error::other)
}

/// What arrived.
#[derive(Debug)]
pub enum Received {
    /// This process is a worker.
    Worker(Box<ReceivedWorker>),
    /// It is the template of its generation.
    Template(Box<Template>),
}

/// What a worker is made of.
#[derive(Debug)]
pub struct ReceivedWorker {
    /// What [`crate::worker::run`] is given.
    pub task: Task,
    outputs: Outputs,
}

impl ReceivedWorker {
    /// Starts the logs of this process, which go on where those of the worker before went.
    ///
    /// # Errors
    /// Logging was started before.
    pub fn start_log(&mut self) -> io::Result<()> {
        let config = &self.task.config;
        let outputs = std::mem::take(&mut self.outputs);
        logging::go_on(&config.log, config.access_log.as_ref(), outputs)
    }
}

/// Unpacks what the descriptor `number` holds. Once in a process's life, in the one that a worker or a template has become.
///
/// # Errors
/// It is no parcel of a master of this version, or what it names was not left; fit for an operator.
pub fn receive(number: i32) -> io::Result<Received> {
    let bytes = handover::read_file(number)?;
    let build: Build = serde_json::from_slice(&bytes).map_err(of_another_build)?;
    if build.build != BUILD {
        let other = build.build;
        return Err(io::Error::other(format!(
            "the Python extension is of destrier {BUILD}, but the master is destrier {other}; run `destrier upgrade`"
        )));
    }
    let parcel: Parcel<'_> = serde_json::from_slice(&bytes).map_err(of_another_build)?;
    let mut legacy = Legacy::claim(&parcel.numbers())?;
    let channel = BTreeSet::from([parcel.channel]);
    let loaded = config::read_again(parcel.text.into_owned(), &parcel.sources);
    // The master has taken it.
    let config = loaded.map_err(of_another_build)?.config;
    let secrets = Secrets::load(
        &parcel.files,
        &config,
        MissingSecret::Refuse,
        parcel.tickets,
    );
    let (secrets, _) = secrets.map_err(|errors| io::Error::other(errors.join("; ")))?;
    let scoreboard = legacy.take(parcel.scoreboard)?;
    let scoreboard = Scoreboard::of_file(scoreboard, parcel.scoreboard_version)?
        .ok_or_else(|| io::Error::other("the scoreboard is one of another version"))?;
    let replay = match parcel.replay {
        Some(number) => ReplayCache::of_file(legacy.take(number)?, replay::VERSION)?,
        None => None,
    };
    let rates = parcel
        .rates
        .map(|number| RateTable::of_file(legacy.take(number)?));
    let rates = rates.transpose()?;
    // What it shall be to the system it is already.
    let identity = Identity::find(None, None, None, config.process.umask);
    let identity = identity.map_err(io::Error::other)?;
    let mut output = |number: Option<i32>| number.map(|it| legacy.take(it)).transpose();
    let outputs = Outputs {
        log: output(parcel.log)?,
        access_log: output(parcel.access_log)?,
    };
    let master = ProcessId::from_number(i32::try_from(parcel.master).map_err(io::Error::other)?);
    let (generation, config) = (parcel.generation, Arc::new(config));
    // Last: what is wrong before is told on it.
    let claim = || Legacy::claim(&channel)?.take(parcel.channel);
    match parcel.role {
        Role::Worker {
            worker,
            workers,
            listeners,
            seat,
            failure,
        } => {
            let listeners = listeners.into_iter().map(|listener| {
                Ok(ListeningSocket {
                    name: listener.name,
                    socket: legacy.take(listener.socket)?,
                    shared: listener.shared,
                    inherited: listener.inherited,
                })
            });
            let listeners = listeners.collect::<io::Result<_>>()?;
            let task = Task {
                master,
                worker,
                generation,
                workers,
                config,
                guard: secrets.guard,
                signer: secrets.signer,
                tls: secrets.tls,
                database_password: secrets.database_password,
                collector: secrets.collector,
                channel: UnixStream::from(claim()?),
                listeners,
                seat: scoreboard.writer(seat),
                replay,
                rates,
                identity,
                failure,
            };
            let received = ReceivedWorker { task, outputs };
            Ok(Received::Worker(Box::new(received)))
        }
        Role::Template {} => {
            let task = TemplateTask {
                master,
                generation,
                config,
                channel: claim()?,
                scoreboard,
                replay,
                rates,
                identity,
            };
            let template = Template::new(task, secrets, outputs);
            Ok(Received::Template(Box::new(template)))
        }
    }
}

/// What master and extension of one version and different builds say differently.
fn of_another_build(difference: impl std::fmt::Display) -> io::Error {
    io::Error::other(format!(
        "the Python extension is of another build of destrier {BUILD} than the master; build or install both together, and where the master is the older one run `destrier upgrade` ({difference})"
    ))
}

#[derive(Deserialize)]
struct Build {
    build: String,
}

impl Parcel<'_> {
    /// Of all but the channel.
    fn numbers(&self) -> BTreeSet<i32> {
        let listeners = match &self.role {
            Role::Worker { listeners, .. } => listeners.as_slice(),
            Role::Template {} => &[],
        };
        let listeners = listeners.iter().map(|listener| listener.socket);
        listeners
            .chain([self.scoreboard])
            .chain(self.replay)
            .chain(self.rates)
            .chain(self.log)
            .chain(self.access_log)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::IntoRawFd as _;

    use super::*;

    #[track_caller]
    fn refused(parcel: &str) -> String {
        let file = handover::sealed_file("parcel", parcel.as_bytes()).expect("a file");
        receive(file.into_raw_fd())
            .expect_err("refused")
            .to_string()
    }

    #[test]
    fn a_master_of_another_build_is_told_from_one_of_another_version() {
        let other = refused(r#"{"build":"0.0.1","hats":3}"#);
        assert!(
            other.contains("but the master is destrier 0.0.1"),
            "{other}"
        );
        for same in [
            format!(r#"{{"build":"{BUILD}","hats":3}}"#),
            format!(r#"{{"build":"{BUILD}"}}"#),
            "{}".to_owned(),
        ] {
            let reason = refused(&same);
            let words = format!(
                "the Python extension is of another build of destrier {BUILD} than the master; build or install both together"
            );
            assert!(reason.starts_with(&words), "{reason}");
        }
    }
}
