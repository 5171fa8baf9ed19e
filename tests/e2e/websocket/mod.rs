//! WebSockets: which handshakes and frames are refused, and how one ends when its worker goes.

mod applications;
mod drain;
mod frames;
mod handshakes;
pub(crate) mod wire;
