//! WSGI (PEP 3333) as clients see it: every shape of an answer, uploads, streams, what an application is told.

mod answers;
mod environ;
mod frameworks;
mod streams;
mod uploads;

use std::io::{Read, Write};
use std::net::Shutdown;
use std::path::Path;

use crate::support::python;
use crate::support::server::{Server, Setup};

/// The application of `tests/fixtures/wsgi/shapes.py`, in one worker with one thread.
fn shapes() -> Setup {
    serving("shapes:application")
}

/// What a module of that folder serves.
fn serving(wsgi: &str) -> Setup {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/wsgi");
    python::bare()
        .set("app.wsgi", wsgi)
        .set("app.chdir", folder.to_str().unwrap())
        .set("app.threads", 1)
        .set("workers.count", 1)
}

/// What comes back on a connection of its own, to the end; and whether the end was a clean one.
fn talk(server: &Server, request: &[u8]) -> (String, bool) {
    let mut stream = server.connect();
    stream.write_all(request).unwrap();
    let mut answer = Vec::new();
    let is_clean = stream.read_to_end(&mut answer).is_ok();
    (String::from_utf8_lossy(&answer).into_owned(), is_clean)
}

fn get(server: &Server, target: &str) -> String {
    request(server, "GET", target)
}

fn request(server: &Server, method: &str, target: &str) -> String {
    let head =
        format!("{method} {target} HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n");
    talk(server, head.as_bytes()).0
}

/// The content of an answer that is not sent in chunks.
fn content(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").unwrap().1
}

/// Sends without reading, then reads the whole answer.
fn upload(server: &Server, head: &str, pieces: impl Iterator<Item = Vec<u8>>) -> String {
    let mut stream = server.connect();
    stream.write_all(head.as_bytes()).unwrap();
    for piece in pieces {
        stream.write_all(&piece).unwrap();
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    drop(stream.shutdown(Shutdown::Both));
    answer
}
