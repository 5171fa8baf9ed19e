//! Workers that run Python: a forked child becomes the application's own interpreter (execve(2)), which loads destrier's
//! extension and goes on as the worker, or as the template from which the workers are forked.

mod environment;
mod parcel;
mod template;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Write as _;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::{Path, PathBuf};

use crate::channel::{self, FromTemplate, ToMaster};
use crate::config::{Config, Python, Sources, Text};
use crate::key_files::{Files, Secrets};
use crate::logging;
use crate::sys::handover::{self, Luggage};
use crate::sys::identity::Identity;
use crate::sys::process::ProcessId;
use crate::sys::{process, signals, socket, systemd};
use crate::worker::{self, Task, WorkerExit};

pub use parcel::{Received, ReceivedWorker, receive};
pub use template::{Forked, Forking, Order, Template, TemplateTask};

/// What runs in the interpreter first.
const LOADER: &str = include_str!("loader.py");

/// What reads it, from a descriptor: `ps` shall show what a process is, not a program.
const START: &str = "import os,sys;exec(os.read(int(sys.argv[1]),65536))";

/// The extension, beside the program that it belongs to.
const EXTENSION: &str = "libdestrier_python.so";

/// Names another place of it.
const EXTENSION_VARIABLE: &str = "DESTRIER_PYTHON_EXTENSION";

/// What is executed to become a worker.
#[derive(Debug)]
pub(crate) struct Program {
    path: PathBuf,
    extension: PathBuf,
    environment: Vec<(OsString, OsString)>,
}

impl Program {
    /// That of the application `python`.
    ///
    /// # Errors
    /// What is missing, each with what helps.
    pub(crate) fn find(python: &Python) -> Result<Self, Vec<String>> {
        let mut errors = problems(python);
        let (environment, extension) = (environment::of(python), extension());
        match (environment, extension) {
            (Ok(environment), Ok(extension)) if errors.is_empty() => Ok(Self {
                path: python.interpreter.clone(),
                extension,
                environment,
            }),
            (environment, extension) => {
                errors.extend(environment.err());
                errors.extend(extension.err());
                Err(errors)
            }
        }
    }
}

/// What the workers of a generation become, and what they are made of there: pinned, whatever happens on disk later.
#[derive(Debug)]
pub(crate) struct Interpreter {
    pub(crate) program: Program,
    /// The configuration file, and where else the configuration came from.
    pub(crate) text: Text,
    pub(crate) sources: Sources,
    /// The key files of the generation.
    pub(crate) files: Files,
}

impl Interpreter {
    /// Becomes the worker. Returns only when it cannot, which the master was told.
    pub(crate) fn run(&self, task: &Task, secrets: &Secrets) -> WorkerExit {
        let reason = self.exec(&Part::Worker(task), secrets);
        let line = channel::encode(&ToMaster::Failed { reason });
        // A channel that nobody has read yet has room for it; a master that is gone needs nothing.
        let _gone = (&task.channel).write_all(&line);
        WorkerExit::BootFailed
    }

    /// The same with the template of the generation.
    pub(crate) fn run_template(&self, task: &TemplateTask, secrets: &Secrets) -> WorkerExit {
        let reason = self.exec(&Part::Template(task), secrets);
        let packet = channel::packet(&FromTemplate::Failed { reason });
        let _gone = socket::send_packet(&task.channel, &packet, &[]);
        WorkerExit::BootFailed
    }

    /// Why it cannot, for an operator.
    fn exec(&self, part: &Part<'_>, secrets: &Secrets) -> String {
        let error = self.try_exec(part, secrets);
        format!("cannot run `{}`: {error}", self.program.path.display())
    }

    fn try_exec(&self, part: &Part<'_>, secrets: &Secrets) -> std::io::Error {
        let program = &self.program;
        // With the privileges that they were opened with before.
        worker::change_logs(part.config(), part.worker());
        // Start-up files of an interpreter may belong to the application's user: none of it runs as root. To die with the master
        // outlives execve(2), a change of user it does not.
        let prepared = signals::block_all()
            .and_then(|()| part.identity().assume())
            .and_then(|()| process::die_with(part.master()));
        if let Err(error) = prepared {
            return error.into();
        }
        let Some(python) = &part.config().app.python else {
            return std::io::Error::other("the configuration names no Python application");
        };
        if let Err(error) = std::env::set_current_dir(&python.chdir) {
            let folder = python.chdir.display();
            let reason = format!("cannot enter `app.chdir` `{folder}`: {error}");
            return std::io::Error::new(error.kind(), reason);
        }
        let outputs = match logging::outputs() {
            Ok(outputs) => outputs,
            Err(error) => return error,
        };
        let mut luggage = Luggage::default();
        let packed = parcel::pack(
            (&self.text, &self.sources, &self.files),
            (part, secrets, &outputs),
            &mut luggage,
        );
        let sealed = packed.and_then(|bytes| handover::sealed_file("destrier-parcel", &bytes));
        let parcel = match sealed {
            Ok(parcel) => parcel,
            Err(error) => return error,
        };
        let loader = match handover::sealed_file("destrier-loader", LOADER.as_bytes()) {
            Ok(loader) => loader,
            Err(error) => return error,
        };
        let mut pack = |descriptor| OsString::from(luggage.pack(descriptor).to_string());
        let arguments = [
            program.path.clone().into(),
            "-c".into(),
            START.into(),
            pack(loader.as_fd()),
            program.extension.clone().into(),
            pack(parcel.as_fd()),
            pack(part.channel()),
            // For people.
            part.title(python).into(),
        ];
        luggage.exec_in(program.path.as_os_str(), &arguments, &program.environment)
    }
}

/// What a forked child becomes.
#[derive(Debug)]
enum Part<'a> {
    Worker(&'a Task),
    Template(&'a TemplateTask),
}

impl<'a> Part<'a> {
    fn config(&self) -> &'a Config {
        match self {
            Self::Worker(task) => &task.config,
            Self::Template(task) => &task.config,
        }
    }

    fn worker(&self) -> Option<u64> {
        match self {
            Self::Worker(task) => Some(task.worker),
            Self::Template(_) => None,
        }
    }

    fn identity(&self) -> &'a Identity {
        match self {
            Self::Worker(task) => &task.identity,
            Self::Template(task) => &task.identity,
        }
    }

    fn master(&self) -> ProcessId {
        match self {
            Self::Worker(task) => task.master,
            Self::Template(task) => task.master,
        }
    }

    fn channel(&self) -> BorrowedFd<'a> {
        match self {
            Self::Worker(task) => task.channel.as_fd(),
            Self::Template(task) => task.channel.as_fd(),
        }
    }

    fn title(&self, python: &Python) -> String {
        match self {
            Self::Worker(task) => worker_title(task.worker, python),
            Self::Template(task) => template::title(task.generation, python),
        }
    }
}

/// What `ps` shows of a worker.
fn worker_title(worker: u64, python: &Python) -> String {
    format!("destrier worker {worker}: {}", python.application)
}

/// What an operator would find out at the first start.
fn problems(python: &Python) -> Vec<String> {
    let mut problems = Vec::new();
    let shown = python.interpreter.display();
    match fs::metadata(&python.interpreter) {
        Ok(found) if found.is_dir() => problems.push(format!(
            "`app.python`: `{shown}` is a folder; the interpreter of a virtual environment is `{}`",
            python.interpreter.join("bin/python").display()
        )),
        Ok(_) if !process::is_executable(&python.interpreter) => {
            problems.push(format!("`app.python`: `{shown}` is not executable"));
        }
        Ok(_) => {}
        Err(error) => problems.push(format!(
            "`app.python`: there is no interpreter `{shown}`: {error}; make a virtual environment with `python3 -m venv`, or correct the path"
        )),
    }
    if !python.chdir.is_dir() {
        let folder = python.chdir.display();
        problems.push(format!("`app.chdir`: there is no folder `{folder}`"));
    }
    problems
}

/// The extension that belongs to this program.
fn extension() -> Result<PathBuf, String> {
    if let Some(named) = std::env::var_os(EXTENSION_VARIABLE) {
        let path = PathBuf::from(named);
        return if path.is_file() {
            Ok(path)
        } else {
            let shown = path.display();
            Err(format!(
                "there is no Python extension `{shown}`, which ${EXTENSION_VARIABLE} names"
            ))
        };
    }
    let program = std::env::current_exe().unwrap_or_default();
    let folder = program.parent().unwrap_or_else(|| Path::new("/"));
    let places = [
        folder.join(EXTENSION),
        folder.join("../lib/destrier").join(EXTENSION),
    ];
    places.iter().find(|path| path.is_file()).cloned().ok_or_else(|| {
        format!(
            "the Python extension is missing: neither `{}` nor `{}` exists; build it with `cargo build --package destrier-python`, or name it with ${EXTENSION_VARIABLE}",
            places[0].display(),
            places[1].display()
        )
    })
}

/// Variables that tell this very process something.
fn is_for_the_master(name: &OsStr) -> bool {
    let mut ours = systemd::VARIABLES.into_iter().chain([EXTENSION_VARIABLE]);
    ours.any(|ours| name == ours)
}
