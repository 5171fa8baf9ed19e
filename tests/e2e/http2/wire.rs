//! A client of HTTP/2 that sends whatever it is told to, and sees what comes back.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};
use std::net::TcpStream;

use crate::support::server::Server;

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PUSH_PROMISE: u8 = 5;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const ACK: u8 = 1;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
pub(crate) const PADDED: u8 = 8;
pub(crate) const PRIORITISED: u8 = 32;

/// The data of the last PING of every client here.
const MARK: [u8; 8] = *b"the end!";

/// A frame (RFC 9113 section 4.1).
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Fields as literals without indexing (RFC 7541 section 6.2.2).
pub(crate) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    fields
        .iter()
        .flat_map(|(name, value)| field(name.as_bytes(), value.as_bytes()))
        .collect()
}

pub(crate) fn field(name: &[u8], value: &[u8]) -> Vec<u8> {
    [&[0], &*text(name), &*text(value)].concat()
}

/// A length with a prefix of seven bits, and the bytes (RFC 7541 sections 5.1 and 5.2).
fn text(bytes: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    match u8::try_from(bytes.len()) {
        Ok(length) if length < 127 => text.push(length),
        _ => {
            let mut rest = bytes.len() - 127;
            text.push(127);
            while rest >= 128 {
                text.push(128 | u8::try_from(rest % 128).unwrap());
                rest /= 128;
            }
            text.push(u8::try_from(rest).unwrap());
        }
    }
    text.extend(bytes);
    text
}

/// What came of a connection.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// The error code of the last GOAWAY.
    pub(crate) goaway: Option<u32>,
    pub(crate) goaways: usize,
    /// Streams that were reset, with their error codes.
    pub(crate) resets: BTreeMap<u32, u32>,
    /// Every head with its stream, those that go ahead of an answer among them.
    pub(crate) heads: Vec<(u32, Vec<u8>)>,
    /// Streams that were answered, with the fields of the answer, or of what went ahead of it.
    pub(crate) answers: BTreeMap<u32, Vec<u8>>,
    /// Streams whose answer is complete.
    pub(crate) complete: BTreeSet<u32>,
    pub(crate) settings_acks: usize,
    /// Data of PINGs that were answered.
    pub(crate) pongs: Vec<Vec<u8>>,
    /// Bytes of bodies.
    pub(crate) data: usize,
    /// The server ended the connection, or says nothing more.
    pub(crate) ended: bool,
    pub(crate) is_silent: bool,
}

impl Seen {
    /// Whether the answer on a stream begins with this field.
    pub(crate) fn says(&self, stream: u32, status: &[u8]) -> bool {
        let answer = self.answers.get(&stream);
        answer.is_some_and(|fields| fields.starts_with(status))
    }

    /// Whether the server has worked through everything that was sent.
    pub(crate) fn is_alive(&self) -> bool {
        self.pongs.iter().any(|data| data == &MARK)
    }
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: TcpStream,
    /// Whether it answers PINGs of the server, as every client must.
    pub(crate) answers_pings: bool,
    pub(crate) seen: Seen,
}

impl Wire {
    /// Without a word.
    pub(crate) fn connect(server: &Server) -> Self {
        let stream = server.connect();
        Self {
            stream,
            answers_pings: true,
            seen: Seen::default(),
        }
    }

    /// With the preface and SETTINGS.
    pub(crate) fn open(server: &Server) -> Self {
        let mut wire = Self::connect(server);
        wire.send(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat());
        wire
    }

    /// The server may have ended the connection.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        let _ended = self.stream.write_all(bytes);
    }

    /// Asks for a sign of life that comes after everything else.
    pub(crate) fn mark(&mut self) {
        self.send(&frame(PING, 0, 0, &MARK));
    }

    /// Reads until `is_enough`, or the end.
    #[track_caller]
    pub(crate) fn until(&mut self, is_enough: impl Fn(&Seen) -> bool) -> &Seen {
        while !self.seen.ended && !is_enough(&self.seen) {
            if let Err(error) = self.next() {
                self.seen.ended = true;
                self.seen.is_silent = error.kind() == io::ErrorKind::WouldBlock;
            }
        }
        &self.seen
    }

    fn next(&mut self) -> io::Result<()> {
        let mut header = [0; 9];
        self.stream.read_exact(&mut header)?;
        let [high, middle, low, kind, flags, stream @ ..] = header;
        let mut payload = vec![0; u32::from_be_bytes([0, high, middle, low]) as usize];
        self.stream.read_exact(&mut payload)?;
        let stream = u32::from_be_bytes(stream);
        let code = |at: usize| u32::from_be_bytes(payload[at..at + 4].try_into().unwrap());
        let seen = &mut self.seen;
        match kind {
            DATA => seen.data += payload.len(),
            HEADERS => {
                seen.heads.push((stream, payload.clone()));
                seen.answers.entry(stream).or_insert(payload);
            }
            RST_STREAM => drop(seen.resets.insert(stream, code(0))),
            SETTINGS if flags & ACK != 0 => seen.settings_acks += 1,
            PING if flags & ACK != 0 => seen.pongs.push(payload),
            PING if self.answers_pings => {
                self.stream.write_all(&frame(PING, ACK, 0, &payload))?;
            }
            GOAWAY => {
                seen.goaway = Some(code(4));
                seen.goaways += 1;
            }
            _ => {}
        }
        if matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0 {
            seen.complete.insert(stream);
        }
        Ok(())
    }
}
