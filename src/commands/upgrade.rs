//! `destrier upgrade`: has the master go on as another program.

use std::path::{self, Path};

use super::{CommandError, ExitCode, ask};
use crate::cli::MasterArgs;
use crate::master::control::Request;

/// Asks for it and says what came of it. The master has another current folder, so `binary` is told from the root.
pub(super) fn run(master: &MasterArgs, binary: Option<&Path>) -> Result<ExitCode, CommandError> {
    let program = binary.map(path::absolute).transpose().map_err(|error| {
        CommandError::usage(format!("`--binary`: no path to a program: {error}"))
    })?;
    if let Some(program) = program.as_deref().filter(|path| path.to_str().is_none()) {
        let message = format!("`--binary`: `{}` is not UTF-8", program.display());
        return Err(CommandError::usage(message));
    }
    ask::run(master, &Request::Upgrade { program })
}
