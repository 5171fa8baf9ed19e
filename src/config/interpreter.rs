//! Which Python interpreter an application runs in, where `app.python` does not say, or only its name.

use std::env;
use std::path::{Path, PathBuf};

use super::document::Document;
use super::errors::Problems;
use super::file::File;
use super::key::KeyPath;
use super::notation::Text;
use super::sources::{Search, Sources};

/// Where a virtual environment has its interpreter.
const IN_ENVIRONMENT: &str = "bin/python";

/// Puts the path of the interpreter in place, where a Python application is served.
pub(super) fn find(
    file: &mut File,
    document: &Document,
    sources: &Sources,
    problems: &mut Problems,
) {
    if !file.app.is_python() {
        return;
    }
    let key = KeyPath::from("app.python");
    let search = &sources.search;
    let found = match &file.app.python {
        // A path was made absolute before; a name alone is looked for as a shell would.
        Some(Text(name)) if !name.contains('/') => on_path(name, search)
            .ok_or_else(|| (format!("`{key}`: there is no `{name}` on PATH"), None)),
        Some(Text(path)) => Ok(PathBuf::from(path)),
        None => beside(document)
            .or_else(|| active(search))
            .or_else(|| on_path("python3", search))
            .ok_or_else(|| {
                let hint = "make one with `python3 -m venv .venv` beside the configuration, or name the interpreter with `app.python`";
                ("there is no Python interpreter: neither a virtual environment `.venv` or `venv` beside the configuration, nor $VIRTUAL_ENV, nor `python3` on PATH".to_owned(), Some(hint.to_owned()))
            }),
    };
    match found {
        Ok(path) => file.app.python = Some(Text(path.to_string_lossy().into_owned())),
        Err((message, hint)) => problems.note_at(&key, document.origin(&key), message, hint),
    }
}

/// That of a virtual environment beside the configuration.
fn beside(document: &Document) -> Option<PathBuf> {
    let folder = document.file.parent()?;
    let candidates = [".venv", "venv"].map(|name| folder.join(name).join(IN_ENVIRONMENT));
    candidates.into_iter().find(|path| path.exists())
}

/// That of the virtual environment that is active.
fn active(search: &Search) -> Option<PathBuf> {
    let environment = Path::new(search.virtual_env.as_ref()?);
    Some(environment.join(IN_ENVIRONMENT)).filter(|path| path.is_absolute() && path.exists())
}

fn on_path(name: &str, search: &Search) -> Option<PathBuf> {
    let folders = env::split_paths(search.path.as_ref()?).collect::<Vec<_>>();
    let candidates = folders.into_iter().map(|folder| folder.join(name));
    candidates
        .into_iter()
        .find(|path| path.is_absolute() && path.is_file())
}
