//! What HTTP/2 (RFC 9113) has besides HTTP/1.1: how a connection begins, frames, heads, and streams on which a request is answered.

mod first_field;
mod frames;
mod head;
mod preface;
mod requests;
mod sending;
mod setting;

pub use frames::{Frames, Offence};
pub(super) use head::size as head_size;
pub use preface::{Opening, PREFACE};
pub use sending::Unsent;
