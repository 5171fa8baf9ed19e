//! The frames of a WebSocket: however they arrive the same comes of them, and another implementation understands what passes.
#![no_main]

use std::io::{self, ErrorKind, Read, Write};

use destrier::http::websocket::{AppFrames, ClientFrames, Offence};
use libfuzzer_sys::fuzz_target;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocket, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

const MAX_MESSAGE: u64 = 300;

/// How many of `bytes` pass in pieces of at most `step`, what is wrong after them, and how it ends.
fn passed(bytes: &[u8], step: usize) -> (usize, Option<Offence>, bool, bool) {
    let mut frames = ClientFrames::new(MAX_MESSAGE, false);
    let mut count = 0;
    for piece in bytes.chunks(step) {
        let passed = frames.pass(piece);
        count += passed.bytes;
        if passed.offence.is_some() || passed.bytes < piece.len() {
            assert!(passed.offence.is_some() || frames.has_closed());
            return (
                count,
                passed.offence,
                frames.has_closed(),
                frames.is_between(),
            );
        }
    }
    (count, None, frames.has_closed(), frames.is_between())
}

fuzz_target!(|input: (u8, &[u8])| {
    let (step, bytes) = (usize::from(input.0) + 1, input.1);
    let whole = passed(bytes, bytes.len().max(1));
    let in_pieces = passed(bytes, step);
    // An offence in a payload is noticed where the piece ends that it is in.
    assert_eq!(whole.1, in_pieces.1);
    if whole.1.is_none() {
        assert_eq!(whole, in_pieces);
    }
    understood(&bytes[..whole.0], whole.1);
    boundaries(bytes, step);
});

/// What passes is no offence for whoever reads it next.
fn understood(bytes: &[u8], offence: Option<Offence>) {
    let config = WebSocketConfig::default()
        .max_message_size(usize::try_from(MAX_MESSAGE).ok())
        .max_frame_size(None);
    let mut reader = WebSocket::from_raw_socket(Bytes(bytes), Role::Server, Some(config));
    loop {
        match reader.read() {
            Ok(Message::Text(text)) => assert!(text.len() as u64 <= MAX_MESSAGE),
            Ok(Message::Binary(bytes)) => assert!(bytes.len() as u64 <= MAX_MESSAGE),
            Ok(Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_)) => {}
            Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => break,
            Err(Error::ConnectionClosed | Error::AlreadyClosed) => break,
            // The header of what is wrong may have gone on with the rest of the piece.
            Err(error) => {
                assert!(offence.is_some(), "{error}");
                break;
            }
        }
    }
}

/// Another's frame is put in only where one of the application ends.
fn boundaries(bytes: &[u8], step: usize) {
    let mut whole = AppFrames::default();
    whole.pass(bytes);
    let mut frames = AppFrames::default();
    for piece in bytes.chunks(step) {
        let room = frames.room(piece);
        if room < piece.len() {
            let mut ahead = AppFrames::default();
            std::mem::swap(&mut ahead, &mut frames);
            ahead.pass(&piece[..room]);
            assert!(ahead.is_between());
            ahead.pass(&piece[room..]);
            frames = ahead;
        } else {
            frames.pass(piece);
        }
    }
    assert_eq!(whole.is_between(), frames.is_between());
    assert_eq!(whole.has_closed(), frames.has_closed());
}

/// What a client has sent so far, and nobody who listens.
struct Bytes<'a>(&'a [u8]);

impl Read for Bytes<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.0.is_empty() {
            return Err(ErrorKind::WouldBlock.into());
        }
        self.0.read(buffer)
    }
}

impl Write for Bytes<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
