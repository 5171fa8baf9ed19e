//! The environment variables of a Python application.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::fs::File;
use std::path::Path;

use super::is_for_the_master;
use crate::config::Python;

/// Those of this process, but for what only it is told; then those of the file, then those of the configuration.
///
/// # Errors
/// The file cannot be read; the message names it.
pub(super) fn of(python: &Python) -> Result<Vec<(OsString, OsString)>, String> {
    let own = env::vars_os().filter(|(name, _)| !is_for_the_master(name));
    let mut variables: BTreeMap<OsString, OsString> = own.collect();
    if let Some(path) = &python.env_file {
        variables.extend(in_file(path)?);
    }
    let configured = python.env.iter();
    variables.extend(configured.map(|(name, value)| (name.into(), value.into())));
    Ok(variables.into_iter().collect())
}

fn in_file(path: &Path) -> Result<Vec<(OsString, OsString)>, String> {
    let shown = path.display();
    let file = File::open(path)
        .map_err(|error| format!("`app.env_file`: cannot read `{shown}`: {error}"))?;
    let lines = dotenvy::from_read_iter(file).map(|line| {
        // What a line says may be a secret, so the library's words, which repeat it, are not.
        let (name, value) = line.map_err(|error| {
            if let dotenvy::Error::LineParse(_, at) = error {
                format!("`app.env_file`: `{shown}`: a line is not `NAME=VALUE`: it is wrong from its byte {at} on")
            } else {
                format!("`app.env_file`: `{shown}`: {error}")
            }
        })?;
        Ok((name.into(), value.into()))
    });
    lines.collect()
}
