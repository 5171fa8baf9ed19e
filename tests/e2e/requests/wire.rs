//! Bytes to a server and answers from it, read as strictly as a test needs.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;

use crate::support::PATIENCE;

/// An answer, its head in lower case.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: String,
}

/// Sends `pieces`, each in a write of its own, and takes all answers until the server ends the connection. The answer with the
/// number `to_head` is to a HEAD.
pub(super) fn exchange(
    address: SocketAddr,
    pieces: &[&[u8]],
    to_head: Option<usize>,
) -> Result<Vec<Answer>, String> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut writing = stream.try_clone().unwrap();
    let mut bytes = Vec::new();
    let ended = thread::scope(|scope| {
        scope.spawn(move || {
            for piece in pieces {
                // The server may have enough before that.
                if writing.write_all(piece).is_err() {
                    return;
                }
            }
        });
        stream.read_to_end(&mut bytes)
    });
    let so_far = || format!("after {:?}", String::from_utf8_lossy(&bytes));
    ended.map_err(|error| format!("{error} {}", so_far()))?;
    answers(&bytes, to_head)
}

fn answers(mut bytes: &[u8], to_head: Option<usize>) -> Result<Vec<Answer>, String> {
    let mut answers = Vec::new();
    while !bytes.is_empty() {
        let no_answer = || format!("no answer: {:?}", String::from_utf8_lossy(bytes));
        let mut fields = [httparse::EMPTY_HEADER; 32];
        let mut response = httparse::Response::new(&mut fields);
        let Ok(httparse::Status::Complete(length)) = response.parse(bytes) else {
            return Err(no_answer());
        };
        let status = response.code.unwrap();
        let field = |name: &str| {
            let field = response
                .headers
                .iter()
                .find(|field| field.name.eq_ignore_ascii_case(name));
            field.map(|field| String::from_utf8_lossy(field.value).into_owned())
        };
        let (head, rest) = bytes.split_at(length);
        let is_empty =
            status < 200 || [204, 304].contains(&status) || to_head == Some(answers.len());
        let (body, rest) = if is_empty {
            (Vec::new(), rest)
        } else if field("transfer-encoding").is_some() {
            chunks(rest).ok_or_else(no_answer)?
        } else if let Some(length) = field("content-length") {
            let length: usize = length.parse().map_err(|_| no_answer())?;
            let (body, rest) = rest.split_at_checked(length).ok_or_else(no_answer)?;
            (body.to_vec(), rest)
        } else {
            (rest.to_vec(), [].as_slice())
        };
        answers.push(Answer {
            status,
            head: String::from_utf8_lossy(head).to_ascii_lowercase(),
            body: String::from_utf8_lossy(&body).into_owned(),
        });
        bytes = rest;
    }
    Ok(answers)
}

fn chunks(mut bytes: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut body = Vec::new();
    loop {
        let httparse::Status::Complete((line, size)) = httparse::parse_chunk_size(bytes).ok()?
        else {
            return None;
        };
        let size = usize::try_from(size).ok()?;
        let chunk = bytes.get(line..line + size)?;
        body.extend_from_slice(chunk);
        bytes = bytes.get(line + size..)?.strip_prefix(b"\r\n")?;
        if size == 0 {
            return Some((body, bytes));
        }
    }
}
