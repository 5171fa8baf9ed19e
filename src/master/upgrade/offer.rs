//! The other side of the pre-flight: what a program looks at before it says that it can take over.

use super::state::{Readiness, State, StateError};
use crate::config::{self, Config, Sources};
use crate::master::boot::assert_reloadable;

/// The state of a master that asks whether this program can go on with it. Nothing is taken over.
#[derive(Debug)]
pub struct Offer(State);

/// What stands against it.
#[derive(Debug, thiserror::Error)]
pub enum OfferError {
    /// The state.
    #[error(transparent)]
    State(#[from] StateError),
    /// What the reload after the upgrade would refuse.
    #[error("{0}")]
    NotReloadable(String),
}

impl Offer {
    /// Understands all of the state.
    ///
    /// # Errors
    /// It is of another version, or says something that this program does not know.
    pub fn read(bytes: &[u8]) -> Result<Self, OfferError> {
        Ok(Self(State::decode(bytes)?))
    }

    /// Holds what is on disk against what is in force. Returns what to say when this program can take over.
    ///
    /// # Errors
    /// What a reload cannot change.
    pub fn accept(&self, on_disk: &Config, sources: &Sources) -> Result<String, OfferError> {
        let serving = self.0.supervisor.serving();
        let text = serving.and_then(|serving| self.0.generations.get(&serving));
        // One that this program cannot read is replaced by what is on disk.
        if let Some(before) = text.and_then(|text| config::read_again(text.clone(), sources).ok()) {
            assert_reloadable(&before.config, on_disk).map_err(OfferError::NotReloadable)?;
        }
        Ok(serde_json::to_string(&Readiness::own()).map_err(StateError::Garbled)?)
    }
}
