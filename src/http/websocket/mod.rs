//! WebSocket (RFC 6455): the handshake, what is known of their frames, and how a connection becomes one.

mod frames;
pub(super) mod handshake;
mod requests;
mod upgrade;
mod utf8;

pub use frames::{AppFrames, ClientFrames, Offence, Passed, client_close_frame, close_frame};
pub use handshake::{BadHandshake, Subprotocols};
pub use upgrade::{Rest, Terms, Upgrade};
