//! A client of WebSockets that sends whatever it is told to, and sees what comes back.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::support::server::Server;

pub(crate) const TEXT: u8 = 0x81;
pub(crate) const BINARY: u8 = 0x82;
pub(crate) const CLOSE: u8 = 0x88;
pub(crate) const PING: u8 = 0x89;
pub(crate) const PONG: u8 = 0x8a;
/// The first fragment of a text, and of something else; one in the middle, and the last.
pub(crate) const TEXT_BEGINS: u8 = 0x01;
pub(crate) const BINARY_BEGINS: u8 = 0x02;
pub(crate) const GOES_ON: u8 = 0x00;
pub(crate) const ENDS: u8 = 0x80;

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// A frame as a client sends it (RFC 6455 section 5.2).
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        length @ ..126 => frame.push(0x80 | u8::try_from(length).unwrap()),
        length @ ..65536 => {
            frame.push(0x80 | 0x7e);
            frame.extend(u16::try_from(length).unwrap().to_be_bytes());
        }
        length => {
            frame.push(0x80 | 0x7f);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    frame.extend(MASK);
    let mask = MASK.iter().cycle();
    frame.extend(payload.iter().zip(mask).map(|(byte, mask)| byte ^ mask));
    frame
}

/// A Close frame as a client sends it.
pub(crate) fn close(code: u16) -> Vec<u8> {
    frame(CLOSE, &code.to_be_bytes())
}

/// A good handshake, with these fields in the place of its own. `-` takes one out.
pub(crate) fn handshake(target: &str, changes: &[(&str, &str)]) -> Vec<u8> {
    let good = [
        ("Host", "a.example"),
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Key", KEY),
        ("Sec-WebSocket-Version", "13"),
    ];
    let is_kept = |(name, _): &&(&str, &str)| !changes.iter().any(|(other, _)| other == name);
    let added = changes.iter().filter(|(_, value)| *value != "-");
    let fields = good.iter().filter(is_kept).chain(added);
    let lines: Vec<_> = fields
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    format!("GET {target} HTTP/1.1\r\n{}\r\n", lines.concat()).into_bytes()
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) first: u8,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    pub(crate) fn new(first: u8, payload: &[u8]) -> Self {
        Self {
            first,
            payload: payload.to_vec(),
        }
    }

    /// Of a Close frame; 1005 where it has none (RFC 6455 section 7.1.5).
    pub(crate) fn code(&self) -> Option<u16> {
        if self.first != CLOSE {
            return None;
        }
        Some(match self.payload[..] {
            [high, low, ..] => u16::from_be_bytes([high, low]),
            _ => 1005,
        })
    }
}

#[derive(Debug)]
pub(crate) struct Wire(BufReader<TcpStream>);

impl Wire {
    pub(crate) fn connect(server: &Server) -> Self {
        let stream = server.connect();
        Self(BufReader::new(stream))
    }

    /// With an open WebSocket.
    #[track_caller]
    pub(crate) fn open(server: &Server, target: &str) -> Self {
        Self::open_with(server, target, &[]).0
    }

    /// As [`Self::open`], and what the server answered.
    #[track_caller]
    pub(crate) fn open_with(
        server: &Server,
        target: &str,
        changes: &[(&str, &str)],
    ) -> (Self, String) {
        let mut wire = Self::connect(server);
        wire.send(&handshake(target, changes));
        let head = wire.head();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        (wire, head)
    }

    /// The server may have ended the connection.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        let _ended = self.0.get_mut().write_all(bytes);
    }

    /// For another thread.
    pub(crate) fn clone_writer(&self) -> TcpStream {
        self.0.get_ref().try_clone().unwrap()
    }

    pub(crate) fn wait_at_most(&mut self, time: Duration) {
        self.0.get_mut().set_read_timeout(Some(time)).unwrap();
    }

    /// The head of an answer.
    pub(crate) fn head(&mut self) -> String {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(self.0.read_line(&mut head).unwrap() > 0, "{head}");
        }
        head
    }

    /// The next frame; none at the end.
    pub(crate) fn next(&mut self) -> io::Result<Option<Frame>> {
        let mut header = [0; 2];
        if self.0.fill_buf()?.is_empty() {
            return Ok(None);
        }
        self.0.read_exact(&mut header)?;
        let [first, length] = header;
        let length = match length {
            126 => {
                let mut length = [0; 2];
                self.0.read_exact(&mut length)?;
                u16::from_be_bytes(length).into()
            }
            127 => {
                let mut length = [0; 8];
                self.0.read_exact(&mut length)?;
                usize::try_from(u64::from_be_bytes(length)).unwrap()
            }
            length => length.into(),
        };
        let mut payload = vec![0; length];
        self.0.read_exact(&mut payload)?;
        Ok(Some(Frame { first, payload }))
    }

    /// Everything that comes until the end, or until a reset.
    pub(crate) fn rest(&mut self) -> (Vec<Frame>, io::Result<()>) {
        let mut frames = Vec::new();
        loop {
            match self.next() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => return (frames, Ok(())),
                Err(error) => return (frames, Err(error)),
            }
        }
    }

    /// Reads until the Close frame; its code.
    #[track_caller]
    pub(crate) fn until_close(&mut self) -> u16 {
        loop {
            let frame = self.next().unwrap().unwrap();
            if let Some(code) = frame.code() {
                return code;
            }
        }
    }

    /// The server ends the connection, and says nothing before.
    #[track_caller]
    pub(crate) fn assert_ends(&mut self) {
        assert_eq!(self.next().unwrap(), None);
    }
}
