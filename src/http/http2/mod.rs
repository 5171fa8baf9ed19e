//! What HTTP/2 (RFC 9113) has besides HTTP/1.1: how a connection begins, frames, heads, and streams that wait for their client.

mod first_field;
mod flow;
mod frames;
mod head;
mod preface;
mod requests;

pub use flow::{Flow, Paced, Stalling};
pub use frames::{Frames, Offence, POISON};
pub(super) use head::size as head_size;
pub use preface::{Opening, PREFACE};
