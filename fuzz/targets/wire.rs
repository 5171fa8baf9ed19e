//! The bytes of HTTP/1.1: however they arrive the same comes of them, and others find the same requests in what passes.
#![no_main]

use destrier::http::wire::{Bounds, Malformed, Screen};
use httparse::Status;
use libfuzzer_sys::fuzz_target;

const BOUNDS: Bounds = Bounds {
    target: 256,
    headers: 16,
    head: 1024,
    body: 1 << 20,
};

/// What passes of `bytes` in pieces of at most `step`: the messages, and what is wrong with the next one.
fn passed(bytes: &[u8], step: usize) -> (Vec<Vec<u8>>, Option<Malformed>) {
    let mut screen = Screen::new(BOUNDS);
    let (mut held, mut messages) = (Vec::new(), vec![Vec::new()]);
    for piece in bytes.chunks(step) {
        held.extend_from_slice(piece);
        while !held.is_empty() {
            match screen.look(&held) {
                Ok(0) => break,
                Ok(count) => {
                    let passed = held.drain(..count);
                    messages.last_mut().expect("one").extend(passed);
                    if screen.is_between() {
                        messages.push(Vec::new());
                    }
                }
                Err(malformed) => return (messages, Some(malformed)),
            }
        }
    }
    (messages, None)
}

fuzz_target!(|input: (u8, &[u8])| {
    let (step, bytes) = (usize::from(input.0) + 1, input.1);
    let (messages, malformed) = passed(bytes, bytes.len().max(1));
    let (in_pieces, malformed_in_pieces) = passed(bytes, step);
    assert_eq!(malformed, malformed_in_pieces);
    let (whole, last) = messages.split_at(messages.len() - 1);
    assert_eq!(whole, &in_pieces[..in_pieces.len() - 1]);
    if malformed.is_none() {
        assert_eq!(last, &in_pieces[in_pieces.len() - 1..]);
    }
    whole.iter().for_each(|message| judge(message));
});

/// A whole message, as a parser reads it that forgives: it has one length, and it is this one.
fn judge(message: &[u8]) {
    let mut fields = [httparse::EMPTY_HEADER; 16];
    let mut request = httparse::Request::new(&mut fields);
    let Ok(Status::Complete(head)) = request.parse(message) else {
        panic!("no head");
    };
    assert!(head <= BOUNDS.head + 2);
    let values = |name: &str| -> Vec<String> {
        let lower = |field: &httparse::Header<'_>| {
            String::from_utf8_lossy(field.value).to_ascii_lowercase()
        };
        request
            .headers
            .iter()
            .filter(|field| field.name.eq_ignore_ascii_case(name))
            .map(lower)
            .collect()
    };
    let (lengths, codings) = (values("content-length"), values("transfer-encoding"));
    let body = &message[head..];
    match (lengths.as_slice(), codings.as_slice()) {
        ([], []) => assert!(body.is_empty()),
        ([length], []) => assert_eq!(length.parse(), Ok(body.len())),
        ([], [coding]) => {
            assert_eq!(coding, "chunked");
            assert_eq!(length_of_chunks(body), Some(body.len()));
        }
        _ => panic!("two framings"),
    }
}

fn length_of_chunks(body: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let rest = body.get(at..)?;
        let Ok(Status::Complete((line, size))) = httparse::parse_chunk_size(rest) else {
            return None;
        };
        at += line;
        if size == 0 {
            let mut fields = [httparse::EMPTY_HEADER; 16];
            return match httparse::parse_headers(&body[at..], &mut fields) {
                Ok(Status::Complete((length, _))) => Some(at + length),
                _ => None,
            };
        }
        at += usize::try_from(size).ok()?;
        if body.get(at..at + 2)? != b"\r\n" {
            return None;
        }
        at += 2;
    }
}
