//! `destrier key`: makes keys, and lets one follow another.

mod generate;
mod rotate;

use self::generate::PublicForm;
use super::{CommandError, ExitCode};
use crate::cli::KeyCommand;

pub(super) fn run(command: &KeyCommand) -> Result<ExitCode, CommandError> {
    match command {
        KeyCommand::Generate {
            algorithm,
            out,
            public_out,
            jwks_out,
        } => match jwks_out {
            Some(set) => generate::run(*algorithm, out, Some(set), PublicForm::KeySet)?,
            None => generate::run(*algorithm, out, public_out.as_deref(), PublicForm::Pem)?,
        },
        KeyCommand::Rotate { command } => rotate::run(command)?,
    }
    Ok(ExitCode::Success)
}
