//! `[app]`: where a Python application is, and what it gets.

use std::path::PathBuf;

use super::{Check, path};
use crate::config::file;
use crate::config::key::KeyPath;
use crate::config::notation::Text;
use crate::config::{App, Interface, Preload, Python, PythonEntry};

/// What an application is called where nothing else is said, as with other servers.
const ATTRIBUTE: &str = "application";

impl Check<'_> {
    pub(super) fn app(&mut self, app: &file::App) -> App {
        App {
            kind: app.kind,
            faults: app.faults,
            python: self.python(app),
        }
    }

    fn python(&mut self, app: &file::App) -> Option<Python> {
        let (interface, named) = match (&app.wsgi, &app.asgi) {
            (Some(Text(named)), None) => (Interface::Wsgi, named),
            (None, Some(Text(named))) => (Interface::Asgi, named),
            (Some(_), Some(_)) => {
                let reason = "names an application, and so does `app.wsgi`: a server has one";
                self.refuse(&Interface::Asgi.key().into(), reason, None);
                return None;
            }
            (None, None) => {
                self.warn_without_python();
                return None;
            }
        };
        let application = match entry(named) {
            Ok(entry) => entry,
            Err(reason) => {
                let hint = "as in `mysite.wsgi:application` or `mysite:create_app()`";
                self.refuse(&interface.key().into(), reason, Some(hint.to_owned()));
                return None;
            }
        };
        let threads = KeyPath::from("app.threads");
        if interface == Interface::Asgi && self.document.value(&threads).is_some() {
            let message = format!(
                "`{threads}` is for `app.wsgi`: an application of `app.asgi` runs on the one event loop of its worker"
            );
            self.warn(&threads, message, None);
        }
        for (name, value) in &app.env {
            if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
                let key = KeyPath::from("app.env").child(name);
                let message = format!(
                    "`{key}` cannot be an environment variable: a name has no `=`, and neither has a NUL"
                );
                self.refuse_with(&key, message, None);
            }
        }
        let preload = self.preload(app);
        let folder = self.document.file.parent().map(PathBuf::from);
        Some(Python {
            interface,
            application,
            interpreter: app.python.as_ref().map(path).unwrap_or_default(),
            threads: super::small(app.threads.0),
            reload_on_change: app.reload_on_change,
            preload,
            chdir: app.chdir.as_ref().map(path).or(folder).unwrap_or_default(),
            env: app.env.clone(),
            env_file: app.env_file.as_ref().map(path),
        })
    }

    /// What `app.preload` comes to. While the application is being written each import is to be a fresh one, whose error can be shown.
    fn preload(&mut self, app: &file::App) -> Preload {
        if !app.reload_on_change {
            return app.preload;
        }
        let key = KeyPath::from("app.reload_on_change");
        let message = format!(
            "`{key}` is for development, not for production: clients are shown the traceback of an application that cannot be loaded"
        );
        self.warn(&key, message, None);
        if app.preload == Preload::Always {
            let preload = KeyPath::from("app.preload");
            let message = format!(
                "`{preload}` is not heeded with `{key}`: each worker imports the application"
            );
            self.warn(&preload, message, None);
        }
        Preload::Never
    }

    /// Keys that say something of a Python application, where there is none.
    fn warn_without_python(&mut self) {
        for key in [
            "python",
            "threads",
            "reload_on_change",
            "preload",
            "chdir",
            "env",
            "env_file",
        ] {
            let key = KeyPath::from("app").child(key);
            if self.document.value(&key).is_some() {
                let message = format!(
                    "`{key}` is for a Python application, which `app.wsgi` or `app.asgi` would name"
                );
                self.warn(&key, message, None);
            }
        }
    }
}

/// `MODULE:ATTRIBUTE`. What an attribute may be, the interpreter knows better.
fn entry(text: &str) -> Result<PythonEntry, &'static str> {
    let (module, attribute) = text.split_once(':').unwrap_or((text, ATTRIBUTE));
    let is_name = |name: &str| {
        let mut letters = name.chars();
        let is_first = |letter: char| letter == '_' || letter.is_alphabetic();
        letters.next().is_some_and(is_first)
            && letters.all(|letter| is_first(letter) || letter.is_numeric())
    };
    if module.contains('/') || module.strip_suffix(".py").is_some() {
        return Err("must name a module with dots, not a file");
    }
    if !module.split('.').all(is_name) {
        return Err("must be `MODULE:ATTRIBUTE`, where MODULE is names with dots between them");
    }
    if attribute.trim().is_empty() || attribute.contains('\0') {
        return Err("must name an attribute after the colon");
    }
    Ok(PythonEntry {
        module: module.to_owned(),
        attribute: attribute.trim().to_owned(),
    })
}
