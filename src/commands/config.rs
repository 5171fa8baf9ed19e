//! `destrier config`: what is in force, and what may be written.

use super::{CommandError, print, read_config};
use crate::cli::ConfigCommand;
use crate::config;

/// Shows the configuration in force, or its schema.
///
/// # Errors
///
/// `show`: everything that is wrong with the configuration, with exit code 2.
pub(super) fn run(command: &ConfigCommand) -> Result<(), CommandError> {
    match command {
        ConfigCommand::Show(args) => print(&config::shown(&read_config(args)?.settings)),
        ConfigCommand::Schema => print(&format!("{:#}\n", config::schema())),
    }
}
