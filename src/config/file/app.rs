//! `[app]` as it is written.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::notation::{Text, Whole};
use crate::config::{AppKind, Preload};

/// What is served.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, expecting = "a table")]
#[schemars(deny_unknown_fields)]
pub(crate) struct App {
    /// Which application, where neither `wsgi` nor `asgi` names one.
    pub kind: AppKind,
    /// Whether the fault routes of the demo (crash, hang, leak, exit, stuck) exist.
    pub faults: bool,
    /// A Python application that speaks WSGI (PEP 3333): `MODULE:ATTRIBUTE`, as in `mysite.wsgi:application`, or a call that makes
    /// it, `mysite:create_app()`. Without `:ATTRIBUTE` it is `application`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Text")]
    pub wsgi: Option<Text>,
    /// A Python application that speaks ASGI 3, in the place of `wsgi` and written like it. Without `:ATTRIBUTE` it is `application`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Text")]
    pub asgi: Option<Text>,
    /// The interpreter that runs it, a path or a name on `PATH`. When absent: that of a virtual environment `.venv` or `venv` beside
    /// this file, of `$VIRTUAL_ENV`, or the `python3` on `PATH`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Text")]
    pub python: Option<Text>,
    /// How many requests a worker executes at once in Python where the application is `wsgi`, each in a thread of its own.
    pub threads: Whole<1, 1_000>,
    /// For development: whether a change of its source files is a reload, and clients are shown the traceback while it cannot be loaded.
    pub reload_on_change: bool,
    /// Whether one process for each generation imports the application, from which the workers are forked: `true`, `false`, or
    /// `"auto"`, where what it has made by then can be forked.
    pub preload: Preload,
    /// The folder that it runs in and that its modules are looked for in first; when absent that of this file.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Text")]
    pub chdir: Option<Text>,
    /// Environment variables that it gets besides those of the master.
    pub env: BTreeMap<String, String>,
    /// A file with more of them, `NAME=VALUE` a line, read anew at each reload; those of `env` win.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Text")]
    pub env_file: Option<Text>,
}

impl App {
    /// Whether a Python application is served.
    pub(crate) fn is_python(&self) -> bool {
        self.wsgi.is_some() || self.asgi.is_some()
    }
}

impl Default for App {
    fn default() -> Self {
        Self {
            kind: AppKind::Demo,
            faults: false,
            wsgi: None,
            asgi: None,
            python: None,
            threads: Whole(4),
            reload_on_change: false,
            preload: Preload::Auto,
            chdir: None,
            env: BTreeMap::new(),
            env_file: None,
        }
    }
}
