//! `destrier reload`, `scale`, `stop`, `reopen`: orders to the master that runs, and their outcome.

use super::{CommandError, ExitCode};
use crate::cli::{ConfigArgs, MasterArgs};
use crate::config;
use crate::master::control::{self, Answer, AskError, Request};
use crate::master::control_socket_path;

/// Sends `request` and says what came of it.
pub(super) fn run(master: &MasterArgs, request: &Request) -> Result<ExitCode, CommandError> {
    match ask(master, request)? {
        Answer::Done(done) => {
            super::print(&format!("{done}\n"))?;
            Ok(ExitCode::Success)
        }
        Answer::Failed(reason) => Err(CommandError::failure(reason)),
        Answer::Status(_) | Answer::Plan(_) | Answer::Stacks(_) => {
            Err(CommandError::failure(SOMETHING_ELSE))
        }
    }
}

/// Asks the master that `master` names. Only where its socket is must be known, so a file that is broken in other places is no
/// obstacle.
pub(super) fn ask(master: &MasterArgs, request: &Request) -> Result<Answer, CommandError> {
    if let Some(path) = &master.control {
        return control::ask(path, request).map_err(|error| {
            CommandError::failure(if let AskError::NotRunning(path) = error {
                format!("no master listens on `{path}`")
            } else {
                error.to_string()
            })
        });
    }
    let args = ConfigArgs {
        file: master.file.clone(),
        ..ConfigArgs::default()
    };
    let sources = super::sources(&args)?;
    let started_here = config::locate_without_file(&sources);
    let mut nobody = None;
    if let Some(located) = started_here {
        let path = control_socket_path(&located.file, located.control_socket.as_deref());
        match control::ask(&path, request) {
            // The one that was started with the file of the system may be meant.
            Err(AskError::NotRunning(path)) if located.control_socket.is_none() => {
                nobody = Some(path);
            }
            Err(error) => return Err(CommandError::failure(error.to_string())),
            Ok(answer) => return Ok(answer),
        }
    }
    let located = config::locate(&sources).map_err(|errors| match nobody {
        Some(path) => CommandError::usage(format!(
            "{errors}\nhint: {WITHOUT_FILE}; here nobody listens on `{path}`"
        )),
        None => errors.into(),
    })?;
    let path = control_socket_path(&located.file, located.control_socket.as_deref());
    control::ask(&path, request).map_err(|error| match located.errors {
        // The socket may be somewhere else: the file would say where.
        Some(errors) => CommandError::usage(format!("{errors}\n{SAY_WHERE}")),
        None if located.control_socket.is_none() && matches!(error, AskError::NotRunning(_)) => {
            CommandError::failure(format!("{error}\n{USERS_PLACE}"))
        }
        None => CommandError::failure(error.to_string()),
    })
}

/// A master of another version, perhaps.
pub(super) const SOMETHING_ELSE: &str = "the master answered something else";
const SAY_WHERE: &str =
    "hint: `DESTRIER_PROCESS__CONTROL_SOCKET=PATH` finds the master whatever the file says";
const WITHOUT_FILE: &str = "a server that was started without a file is found in the folder where that was, by the user who did it, or anywhere with `--control PATH`, which the first line of its log tells";
const USERS_PLACE: &str = "hint: if one does, ask as the user that started it, or set `process.control_socket`: its default place depends on the user";
