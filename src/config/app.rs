//! `[app]`: what is served.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[app]`: what is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct App {
    /// Which application, where there is no Python application.
    pub kind: AppKind,
    /// Whether the demo's fault routes (crash, hang, leak, exit, stuck) exist.
    pub faults: bool,
    /// A Python application.
    pub python: Option<Python>,
}

impl App {
    /// Whether it is called on threads of its own, of which there are so many and for which requests wait.
    pub fn waits_for_threads(&self) -> bool {
        let python = self.python.as_ref();
        python.is_some_and(|python| python.interface == Interface::Wsgi)
    }
}

/// `app.kind`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AppKind {
    /// The application that the program carries: for destrier itself a small JSON service.
    Demo,
}

/// How a Python application is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Interface {
    /// PEP 3333: on threads, one request at a time on each.
    Wsgi,
    /// ASGI 3: on the event loop of `asyncio`, many requests at once.
    Asgi,
}

impl Interface {
    /// The key that names an application of this kind.
    pub fn key(self) -> &'static str {
        match self {
            Self::Wsgi => "app.wsgi",
            Self::Asgi => "app.asgi",
        }
    }
}

/// A Python application as the command line names it: `wsgi:MODULE:ATTRIBUTE`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamedApplication {
    /// What comes before the first colon.
    pub interface: Interface,
    /// What comes after it.
    pub entry: String,
}

/// An application that runs in a Python interpreter of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Python {
    /// How it is called.
    pub interface: Interface,
    /// Where in its modules it is.
    pub application: PythonEntry,
    /// The interpreter; absolute.
    pub interpreter: PathBuf,
    /// How many requests are executed at once, where the interface is WSGI.
    pub threads: u16,
    /// For development: whether a change of its source files is a reload, and clients are shown why it cannot be loaded.
    pub reload_on_change: bool,
    /// Whether its workers are forked from a process that has imported it.
    pub preload: Preload,
    /// The folder that it runs in; absolute.
    pub chdir: PathBuf,
    /// Environment variables for it.
    pub env: BTreeMap<String, String>,
    /// A file with more of them; absolute.
    pub env_file: Option<PathBuf>,
}

/// The files of a Python application in which a change is a reload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFiles {
    /// Its modules and templates are somewhere below; absolute.
    pub folder: PathBuf,
    /// A file besides; absolute.
    pub env_file: Option<PathBuf>,
}

impl Python {
    /// What is watched, where a change is a reload.
    pub fn watched_files(&self) -> Option<SourceFiles> {
        self.reload_on_change.then(|| SourceFiles {
            folder: self.chdir.clone(),
            env_file: self.env_file.clone(),
        })
    }
}

/// `app.preload`: whether the workers of a generation are forked from one process that has imported the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preload {
    /// Where it can be forked after its import; else each worker imports it.
    Auto,
    /// In any case: an application that cannot be forked does not boot.
    Always,
    /// Each worker imports it.
    Never,
}

/// `MODULE:ATTRIBUTE`. Whether it exists only the interpreter can tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PythonEntry {
    /// A module, with dots.
    pub module: String,
    /// An attribute of it, or a call that gives one.
    pub attribute: String,
}

impl fmt::Display for PythonEntry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.module, self.attribute)
    }
}
