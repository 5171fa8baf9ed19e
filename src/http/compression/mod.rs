//! Answers that are compressed on their way out: what a client accepts, which answers are fit, and their bodies.

mod body;
mod decision;
mod negotiation;

pub(super) use body::Compressor;
pub use decision::Policy;
pub(super) use decision::{Decision, Subject, dress};
pub(super) use negotiation::accepted;
