//! One request as it stands, and its answer as it came, whatever its status.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::kit::Kit;
use super::server::Server;

/// An answer: its status, its fields, and what came after them.
#[derive(Debug)]
pub(crate) struct Plain {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Plain {
    /// The value of a field.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (own, value) = line.split_once(':')?;
            own.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Sends `line`, such as `GET /hello`, with these fields, on a connection that ends after the answer.
#[track_caller]
pub(crate) fn ask(server: &Server, line: &str, fields: &[&str]) -> Plain {
    let mut stream = server.connect();
    let mut request = format!("{line} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n");
    for field in fields {
        request += field;
        request += "\r\n";
    }
    request += "\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    read(&bytes)
}

/// Everything until and with the blank line.
#[track_caller]
pub(crate) fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

#[track_caller]
fn read(bytes: &[u8]) -> Plain {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
    let end = end.unwrap_or_else(|| panic!("no head in {:?}", String::from_utf8_lossy(bytes)));
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Plain {
        status,
        head,
        body: bytes[end + 4..].to_vec(),
    }
}

/// Sends `request` to a server of `kit` with an `http.write_timeout` of a second, and takes some of what comes every tenth of a second, for
/// three seconds. Returns how much that is, and where the rest comes.
#[track_caller]
pub(crate) fn take_slowly(kit: Kit, request: &[u8]) -> (usize, TcpStream, Server) {
    const TIMES: usize = 30;
    let setup = kit.setup().set("http.write_timeout", "1s");
    // One that says nothing in time tells the time.
    let server = setup.set("http.header_timeout", "100ms").start();
    let mut stream = server.connect();
    stream.write_all(request).unwrap();
    let mut piece = vec![0; 50_000];
    for _ in 0..TIMES {
        stream.read_exact(&mut piece).unwrap();
        assert_eq!(server.connect().read(&mut [0]).unwrap(), 0);
    }
    (TIMES * piece.len(), stream, server)
}
