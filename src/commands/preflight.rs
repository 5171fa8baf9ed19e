//! `destrier run --preflight`: whether this program can take over from the master that asks, which wrote its state to
//! standard input. The master shows the operator what is said on standard error.

use std::io::{self, Read};

use super::{CommandError, check, print, run};
use crate::cli::RunArgs;
use crate::master::{Offer, OfferError};

/// Checks everything that `destrier check` does, and the state.
///
/// # Errors
/// What stands against it. Nothing has changed.
pub(super) fn run(args: &RunArgs) -> Result<(), CommandError> {
    let mut state = Vec::new();
    io::stdin()
        .read_to_end(&mut state)
        .map_err(|error| CommandError::failure(format!("cannot read the state: {error}")))?;
    let refused = |error: OfferError| CommandError::failure(error.to_string());
    let offer = Offer::read(&state).map_err(refused)?;
    let sources = run::sources(args)?;
    let config = check::fitness(&sources)?;
    let readiness = offer.accept(&config, &sources).map_err(refused)?;
    print(&format!("{readiness}\n"))
}
