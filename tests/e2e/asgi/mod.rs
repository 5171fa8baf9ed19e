//! ASGI 3 as clients see it: lifespans, every shape of an answer, uploads, streams, WebSockets, what an application is told.

mod answers;
mod frameworks;
mod lifespan;
mod operation;
mod scope;
mod streams;
mod uploads;
mod websocket;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

use crate::support::python;
use crate::support::server::{Server, Setup};

/// The application of `tests/fixtures/asgi/shapes.py`, in one worker.
fn shapes() -> Setup {
    serving("shapes:app")
}

/// What a module of that folder serves.
fn serving(asgi: &str) -> Setup {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/asgi");
    python::bare()
        .set("app.asgi", asgi)
        .set("app.chdir", folder.to_str().unwrap())
        .set("workers.count", 1)
}

/// What comes back on a connection of its own, to the end.
fn talk(server: &Server, request: &[u8]) -> String {
    let mut stream = server.connect();
    stream.write_all(request).unwrap();
    let mut answer = Vec::new();
    // Where it is cut, what came before counts.
    let _cut = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn get(server: &Server, target: &str) -> String {
    request(server, "GET", target)
}

fn request(server: &Server, method: &str, target: &str) -> String {
    let head =
        format!("{method} {target} HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n");
    talk(server, head.as_bytes())
}

/// Asks, and leaves the answer to be read.
fn ask(server: &Server, target: &str) -> TcpStream {
    let mut connection = server.connect();
    let head = format!("GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    connection.write_all(head.as_bytes()).unwrap();
    connection
}

/// The content of an answer that is not sent in chunks.
fn content(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").unwrap().1
}

/// What the application has noted.
fn events(server: &Server) -> String {
    content(&get(server, "/events")).to_owned()
}
