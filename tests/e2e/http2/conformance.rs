//! What clients may not do (RFC 9113), as bytes, and what comes of it.

use std::fmt::Write as _;

use super::wire::*;
use crate::support::kit::Kit;
use crate::support::server::Setup;

const PROTOCOL_ERROR: u32 = 1;
const FLOW_CONTROL_ERROR: u32 = 3;
const STREAM_CLOSED: u32 = 5;
const FRAME_SIZE_ERROR: u32 = 6;
const REFUSED_STREAM: u32 = 7;
const COMPRESSION_ERROR: u32 = 9;
const ENHANCE_YOUR_CALM: u32 = 11;

const OF_SIZE: &[u32] = &[FRAME_SIZE_ERROR];
/// The codec says the first.
const OF_COMPRESSION: &[u32] = &[PROTOCOL_ERROR, COMPRESSION_ERROR];

/// What comes of what a client sends.
#[derive(Debug, Clone, Copy)]
enum Comes {
    /// The connection ends, with one of these codes.
    Ends(&'static [u32]),
    /// Stream 1 is reset with one of these codes, and the connection goes on.
    Resets(&'static [u32]),
    /// Stream 1 is answered with 200, and the connection goes on.
    Answers,
    /// Stream 1 is answered with a status that is written like this, and the connection goes on.
    Says(&'static [u8]),
    /// This stream is refused, for there are too many, and the connection goes on.
    RefusesStream(u32),
    /// Nothing; the connection goes on.
    Nothing,
}

use Comes::{Answers, Ends, Nothing, RefusesStream, Resets, Says};

/// `:status` as the codec writes it (RFC 7541 section 6 and appendices A and B).
const OK: &[u8] = &[0x88];
const NO_CONTENT: &[u8] = &[0x89];
const URI_TOO_LONG: &[u8] = &[0x48, 0x83, 0x68, 0x2d, 0x7f];
const HEADERS_TOO_LARGE: &[u8] = &[0x48, 0x83, 0x69, 0x90, 0xff];
const BAD_REQUEST: &[u8] = &[0x8c];
const NOT_IMPLEMENTED: &[u8] = &[0x48, 0x82, 0x6c, 0x01];

const GET: &[(&str, &str)] = &[
    (":method", "GET"),
    (":scheme", "http"),
    (":path", "/hello"),
    (":authority", "a.example"),
];

const POST: &[(&str, &str)] = &[
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/echo"),
    (":authority", "a.example"),
];

fn headers(flags: u8, stream: u32, fields: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, flags, stream, &block(fields))
}

/// A whole request without a body.
fn request(fields: &[(&str, &str)]) -> Vec<u8> {
    headers(END_HEADERS | END_STREAM, 1, fields)
}

fn get_with(more: &[(&str, &str)]) -> Vec<u8> {
    request(&[GET, more].concat())
}

fn get() -> Vec<u8> {
    request(GET)
}

/// A request whose body follows.
fn post() -> Vec<u8> {
    headers(END_HEADERS, 1, POST)
}

fn post_of_length(length: &str) -> Vec<u8> {
    headers(
        END_HEADERS,
        1,
        &[POST, &[("content-length", length)]].concat(),
    )
}

/// A request with a body and these trailers.
fn trailers(fields: &[(&str, &str)]) -> Vec<Vec<u8>> {
    let last = headers(END_HEADERS | END_STREAM, 1, fields);
    vec![post(), frame(DATA, 0, 1, b"a"), last]
}

fn raw_field(name: &[u8], value: &[u8]) -> Vec<u8> {
    let fields = [block(GET), field(name, value)].concat();
    frame(HEADERS, END_HEADERS | END_STREAM, 1, &fields)
}

fn without(name: &str) -> Vec<u8> {
    let fields: Vec<_> = GET
        .iter()
        .copied()
        .filter(|(other, _)| *other != name)
        .collect();
    request(&fields)
}

fn instead(name: &str, value: &str) -> Vec<u8> {
    let value = |(other, old)| (other, if other == name { value } else { old });
    let fields: Vec<_> = GET.iter().copied().map(value).collect();
    request(&fields)
}

/// A request with so many bytes of fields, in as many frames as that takes.
fn fields_of(length: usize) -> Vec<Vec<u8>> {
    let fields = [block(GET), field(b"x", &vec![b'y'; length])].concat();
    let pieces: Vec<_> = fields.chunks(16_384).collect();
    let piece = |(place, piece): (usize, &&[u8])| {
        let (kind, begins) = if place == 0 {
            (HEADERS, END_STREAM)
        } else {
            (CONTINUATION, 0)
        };
        let ends = if place + 1 == pieces.len() {
            END_HEADERS
        } else {
            0
        };
        frame(kind, begins | ends, 1, piece)
    };
    pieces.iter().enumerate().map(piece).collect()
}

fn settings(id: u16, value: u32) -> Vec<u8> {
    frame(
        SETTINGS,
        0,
        0,
        &[&id.to_be_bytes()[..], &value.to_be_bytes()].concat(),
    )
}

type Case = (&'static str, Vec<Vec<u8>>, Comes);

/// Section of RFC 9113 and what is done, the frames, what comes of it.
fn cases() -> Vec<Case> {
    let mut cases = frames();
    cases.extend(states());
    cases.extend(control());
    cases.extend(messages());
    cases
}

fn frames() -> Vec<Case> {
    let big = vec![b'a'; 16_385];
    let open = || headers(0, 1, GET);
    vec![
        (
            "4.1 a frame of an unknown type",
            vec![frame(0xf0, 0xff, 0, b"abc"), get()],
            Answers,
        ),
        (
            "4.1 unknown flags",
            vec![frame(PING, 0xfe, 0, b"12345678"), get()],
            Answers,
        ),
        (
            "4.1 the reserved bit",
            vec![frame(WINDOW_UPDATE, 0, 1 << 31, &[0, 0, 0, 1]), get()],
            Answers,
        ),
        (
            "4.2 DATA larger than SETTINGS_MAX_FRAME_SIZE",
            vec![post(), frame(DATA, END_STREAM, 1, &big)],
            Ends(&[FRAME_SIZE_ERROR]),
        ),
        (
            "4.2 HEADERS larger than SETTINGS_MAX_FRAME_SIZE",
            vec![frame(HEADERS, END_HEADERS | END_STREAM, 1, &big)],
            Ends(&[FRAME_SIZE_ERROR]),
        ),
        (
            "4.3 no field block",
            vec![frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0xff; 20])],
            Ends(OF_COMPRESSION),
        ),
        (
            "4.3 an index of no table",
            vec![frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0xc0])],
            Ends(OF_COMPRESSION),
        ),
        (
            "4.3 a table larger than allowed",
            vec![frame(
                HEADERS,
                END_HEADERS | END_STREAM,
                1,
                &[&[0x3f, 0xe2, 0x1f], &*block(GET)].concat(),
            )],
            Ends(OF_COMPRESSION),
        ),
        (
            "4.3 PRIORITY within a field block",
            vec![open(), frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 1])],
            Ends(&[PROTOCOL_ERROR]),
        ),
        (
            "4.3 another stream within a field block",
            vec![open(), headers(END_HEADERS | END_STREAM, 3, GET)],
            Ends(&[PROTOCOL_ERROR]),
        ),
        (
            "4.3 an unknown frame within a field block",
            vec![open(), frame(0xf0, 0, 1, b"")],
            Ends(&[PROTOCOL_ERROR]),
        ),
        (
            "6.1 DATA on stream 0",
            vec![frame(DATA, END_STREAM, 0, b"a")],
            Ends(&[PROTOCOL_ERROR]),
        ),
        (
            "6.1 more padding than frame",
            vec![post(), frame(DATA, END_STREAM | PADDED, 1, &[9, b'a'])],
            Ends(&[PROTOCOL_ERROR]),
        ),
        (
            "6.1 padding without a length",
            vec![post(), frame(DATA, END_STREAM | PADDED, 1, &[])],
            Ends(OF_SIZE),
        ),
        (
            "6.1 padded DATA",
            vec![
                post(),
                frame(DATA, END_STREAM | PADDED, 1, &[2, b'a', 0, 0]),
            ],
            Answers,
        ),
        (
            "6.2 HEADERS on stream 0",
            vec![headers(END_HEADERS | END_STREAM, 0, GET)],
            Ends(&[PROTOCOL_ERROR]),
        ),
        (
            "6.2 more padding than frame",
            vec![frame(
                HEADERS,
                END_HEADERS | END_STREAM | PADDED,
                1,
                &[200, 0x82],
            )],
            Ends(&[PROTOCOL_ERROR]),
        ),
        (
            "6.2 padded HEADERS",
            vec![frame(
                HEADERS,
                END_HEADERS | END_STREAM | PADDED,
                1,
                &[&[2], &*block(GET), &[0, 0]].concat(),
            )],
            Answers,
        ),
        (
            "6.2 HEADERS with a priority",
            vec![frame(
                HEADERS,
                END_HEADERS | END_STREAM | PRIORITISED,
                1,
                &[&[0, 0, 0, 3, 9], &*block(GET)].concat(),
            )],
            Answers,
        ),
        (
            "6.2 HEADERS that end before their priority does",
            vec![frame(HEADERS, END_HEADERS | PRIORITISED, 1, &[0, 0, 0, 3])],
            Ends(OF_SIZE),
        ),
        (
            "6.3 PRIORITY",
            vec![frame(PRIORITY, 0, 1, &[0, 0, 0, 3, 9]), get()],
            Answers,
        ),
        (
            "6.3 PRIORITY on stream 0",
            vec![frame(PRIORITY, 0, 0, &[0, 0, 0, 3, 9])],
            Ends(&[PROTOCOL_ERROR]),
        ),
        (
            "6.3 PRIORITY of another length",
            vec![post(), frame(PRIORITY, 0, 1, &[0, 0, 0, 3])],
            Ends(OF_SIZE),
        ),
        (
            "6.4 RST_STREAM on stream 0",
            vec![frame(RST_STREAM, 0, 0, &[0, 0, 0, 8])],
            Ends(&[PROTOCOL_ERROR]),
        ),
        (
            "6.4 RST_STREAM of another length",
            vec![post(), frame(RST_STREAM, 0, 1, &[0, 0, 8])],
            Ends(OF_SIZE),
        ),
        (
            "6.4 RST_STREAM of a stream that is idle",
            vec![frame(RST_STREAM, 0, 1, &[0, 0, 0, 8])],
            Ends(&[PROTOCOL_ERROR]),
        ),
        (
            "6.10 CONTINUATION",
            vec![
                open(),
                frame(CONTINUATION, 0, 1, &[]),
                frame(CONTINUATION, END_HEADERS, 1, &block(&[("x", "y")])),
            ],
            Nothing,
        ),
        (
            "6.10 the field block of a request in pieces",
            vec![
                headers(END_STREAM, 1, &GET[..2]),
                frame(CONTINUATION, 0, 1, &block(&GET[2..3])),
                frame(CONTINUATION, END_HEADERS, 1, &block(&GET[3..])),
            ],
            Answers,
        ),
        (
            "6.10 CONTINUATION of nothing",
            vec![frame(CONTINUATION, END_HEADERS, 1, &block(GET))],
            Ends(&[PROTOCOL_ERROR]),
        ),
        (
            "6.10 CONTINUATION after the end",
            vec![get(), frame(CONTINUATION, END_HEADERS, 1, &block(GET))],
            Ends(&[PROTOCOL_ERROR]),
        ),
        (
            "6.10 CONTINUATION on stream 0",
            vec![open(), frame(CONTINUATION, END_HEADERS, 0, &[])],
            Ends(&[PROTOCOL_ERROR]),
        ),
        (
            "6.10 CONTINUATION without end",
            [
                vec![open()],
                vec![frame(CONTINUATION, 0, 1, &block(&[("x", &"y".repeat(10_000))])); 40],
            ]
            .concat(),
            Ends(&[PROTOCOL_ERROR, ENHANCE_YOUR_CALM, COMPRESSION_ERROR]),
        ),
        (
            "10.5 empty CONTINUATION without end",
            [vec![open()], vec![frame(CONTINUATION, 0, 1, &[]); 2_000]].concat(),
            Ends(&[PROTOCOL_ERROR, ENHANCE_YOUR_CALM]),
        ),
    ]
}

fn states() -> Vec<Case> {
    let cancel = || frame(RST_STREAM, 0, 1, &[0, 0, 0, 8]);
    vec![
        (
            "5.1 DATA on an idle stream",
            vec![frame(DATA, END_STREAM, 1, b"a")],
            Ends(&[PROTOCOL_ERROR]),
        ),
        (
            "5.1 WINDOW_UPDATE on an idle stream",
            vec![frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1])],
            Ends(&[PROTOCOL_ERROR]),
        ),
        (
            "5.1 DATA after END_STREAM",
            vec![
                post(),
                frame(DATA, END_STREAM, 1, b"a"),
                frame(DATA, END_STREAM, 1, b"a"),
            ],
            Ends(&[PROTOCOL_ERROR, STREAM_CLOSED]),
        ),
        (
            "5.1 DATA after a reset",
            vec![post(), cancel(), frame(DATA, END_STREAM, 1, b"a")],
            Resets(&[STREAM_CLOSED]),
        ),
        (
            "5.1 HEADERS after a reset",
            vec![post(), cancel(), get()],
            Ends(&[STREAM_CLOSED, PROTOCOL_ERROR]),
        ),
        (
            "5.1 WINDOW_UPDATE after a reset",
            vec![post(), cancel(), frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1])],
            Nothing,
        ),
        (
            "5.1.1 an even stream",
            vec![headers(END_HEADERS | END_STREAM, 2, GET)],
            Ends(&[PROTOCOL_ERROR]),
        ),
        (
            "5.1.1 a lower stream than before",
            vec![
                headers(END_HEADERS | END_STREAM, 5, GET),
                headers(END_HEADERS | END_STREAM, 3, GET),
            ],
            Ends(&[PROTOCOL_ERROR, STREAM_CLOSED]),
        ),
        (
            "5.1.2 more streams than allowed",
            (0..101)
                .rev()
                .map(|number| headers(END_HEADERS, 201 - 2 * number, POST))
                .collect(),
            RefusesStream(201),
        ),
        (
            "8.1 HEADERS that do not end a request",
            vec![post(), headers(END_HEADERS, 1, &[("x", "y")])],
            Resets(&[PROTOCOL_ERROR]),
        ),
        (
            "8.1 a pseudo-field in trailers",
            trailers(&[(":method", "GET")]),
            Ends(OF_COMPRESSION),
        ),
        (
            "8.1 a pseudo-field in trailers, by its number",
            vec![
                post(),
                frame(DATA, 0, 1, b"a"),
                frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0x82]),
            ],
            Ends(OF_COMPRESSION),
        ),
        (
            "8.1 a pseudo-field in trailers behind padding and in a second frame",
            vec![
                post(),
                frame(HEADERS, END_STREAM | PADDED, 1, &[3, 0, 0, 0]),
                frame(CONTINUATION, END_HEADERS, 1, &block(&[(":path", "/")])),
            ],
            Ends(OF_COMPRESSION),
        ),
        (
            "8.1 a pseudo-field behind another field in trailers",
            trailers(&[("x", "y"), (":path", "/")]),
            Resets(&[PROTOCOL_ERROR]),
        ),
        (
            "RFC 9110 6.5.1 a trailer that frames",
            trailers(&[("content-length", "1")]),
            Says(BAD_REQUEST),
        ),
        (
            "RFC 9110 6.5.1 a trailer that authorises",
            trailers(&[("x", "y"), ("authorization", "Bearer x")]),
            Says(BAD_REQUEST),
        ),
        (
            "8.2.2 a trailer of a connection",
            trailers(&[("connection", "close")]),
            Resets(&[PROTOCOL_ERROR]),
        ),
        (
            "8.2.1 a trailer whose value begins with a blank",
            trailers(&[("x", " y")]),
            Says(BAD_REQUEST),
        ),
        (
            "8.2.1 a trailer whose value ends with a blank",
            trailers(&[("x", "y\t")]),
            Says(BAD_REQUEST),
        ),
        (
            "8.1 trailers",
            vec![
                post(),
                frame(DATA, 0, 1, b"a"),
                headers(END_HEADERS | END_STREAM, 1, &[("x", "y")]),
            ],
            Answers,
        ),
    ]
}

fn control() -> Vec<Case> {
    let ack = || frame(SETTINGS, ACK, 0, &[]);
    vec![
        (
            "6.5 SETTINGS on a stream",
            vec![frame(SETTINGS, 0, 1, &[])],
            Ends(&[PROTOCOL_ERROR]),
        ),
        (
            "6.5 an acknowledgement that says something",
            vec![frame(SETTINGS, ACK, 0, &[0; 6])],
            Ends(OF_SIZE),
        ),
        (
            "6.5 SETTINGS of another length",
            vec![frame(SETTINGS, 0, 0, &[0; 5])],
            Ends(OF_SIZE),
        ),
        (
            "6.5.2 an unknown setting",
            vec![settings(0xff, 1), get()],
            Answers,
        ),
        (
            "6.5.2 push is neither on nor off",
            vec![settings(2, 2)],
            Ends(&[PROTOCOL_ERROR]),
        ),
        (
            "6.5.2 too large a window",
            vec![settings(4, 1 << 31)],
            Ends(&[FLOW_CONTROL_ERROR]),
        ),
        (
            "6.5.2 too small a frame size",
            vec![settings(5, 16_383)],
            Ends(&[PROTOCOL_ERROR]),
        ),
        (
            "6.5.2 too large a frame size",
            vec![settings(5, 1 << 24)],
            Ends(&[PROTOCOL_ERROR]),
        ),
        ("6.5.3 an acknowledgement", vec![ack(), get()], Answers),
        (
            "6.6 PUSH_PROMISE",
            vec![
                get(),
                frame(
                    PUSH_PROMISE,
                    END_HEADERS,
                    1,
                    &[&[0, 0, 0, 2], &*block(GET)].concat(),
                ),
            ],
            Ends(&[PROTOCOL_ERROR]),
        ),
        (
            "6.7 PING on a stream",
            vec![frame(PING, 0, 1, &[0; 8])],
            Ends(&[PROTOCOL_ERROR]),
        ),
        (
            "6.7 PING of another length",
            vec![frame(PING, 0, 0, &[0; 6])],
            Ends(OF_SIZE),
        ),
        (
            "6.7 an acknowledgement of nothing",
            vec![frame(PING, ACK, 0, &[0; 8])],
            Nothing,
        ),
        (
            "6.8 GOAWAY without a reason",
            vec![frame(GOAWAY, 0, 0, &[0; 4])],
            Ends(OF_SIZE),
        ),
        (
            "6.8 GOAWAY on a stream",
            vec![frame(GOAWAY, 0, 1, &[0; 8])],
            Ends(&[PROTOCOL_ERROR]),
        ),
        (
            "6.9 WINDOW_UPDATE by nothing",
            vec![frame(WINDOW_UPDATE, 0, 0, &[0; 4])],
            Ends(&[PROTOCOL_ERROR]),
        ),
        (
            "6.9 WINDOW_UPDATE of a stream by nothing",
            vec![post(), frame(WINDOW_UPDATE, 0, 1, &[0; 4])],
            Ends(&[PROTOCOL_ERROR]),
        ),
        (
            "6.9 WINDOW_UPDATE of another length",
            vec![frame(WINDOW_UPDATE, 0, 0, &[0, 0, 1])],
            Ends(OF_SIZE),
        ),
        (
            "6.9.1 too large a window",
            vec![frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff])],
            Ends(&[FLOW_CONTROL_ERROR]),
        ),
        (
            "6.9.1 too large a window of a stream",
            vec![
                post(),
                frame(WINDOW_UPDATE, 0, 1, &[0x7f, 0xff, 0xff, 0xff]),
            ],
            Resets(&[FLOW_CONTROL_ERROR]),
        ),
        (
            "10.5 very many PING",
            vec![frame(PING, 0, 0, &[0; 8]); 2_000],
            Ends(&[ENHANCE_YOUR_CALM]),
        ),
        (
            "10.5 very many SETTINGS",
            vec![frame(SETTINGS, 0, 0, &[]); 2_000],
            Ends(&[ENHANCE_YOUR_CALM]),
        ),
        (
            "10.5 very many PRIORITY",
            vec![frame(PRIORITY, 0, 1, &[0, 0, 0, 3, 9]); 2_000],
            Ends(&[ENHANCE_YOUR_CALM]),
        ),
        (
            "10.5 very much empty DATA",
            [vec![post()], vec![frame(DATA, 0, 1, &[]); 2_000]].concat(),
            Ends(&[ENHANCE_YOUR_CALM]),
        ),
        (
            "10.5 requests that are taken back",
            (0..1_000)
                .flat_map(|number| {
                    [
                        headers(END_HEADERS, 2 * number + 1, POST),
                        frame(RST_STREAM, 0, 2 * number + 1, &[0, 0, 0, 8]),
                    ]
                })
                .collect(),
            Ends(&[ENHANCE_YOUR_CALM, PROTOCOL_ERROR]),
        ),
        (
            "10.5 malformed requests without end",
            malformed_requests(1_100).collect(),
            Ends(&[ENHANCE_YOUR_CALM]),
        ),
        (
            "10.5 many malformed requests",
            malformed_requests(1_000).collect(),
            Resets(&[PROTOCOL_ERROR]),
        ),
    ]
}

/// On streams from 1 on.
fn malformed_requests(count: u32) -> impl Iterator<Item = Vec<u8>> {
    let malformed = [GET, &[("connection", "close")]].concat();
    (0..count).map(move |number| headers(END_HEADERS | END_STREAM, 2 * number + 1, &malformed))
}

fn messages() -> Vec<Case> {
    let malformed = Resets(&[PROTOCOL_ERROR]);
    vec![
        (
            "RFC 6585 5 more fields than may be",
            vec![get_with(&[("x", "y"); 101])],
            Says(HEADERS_TOO_LARGE),
        ),
        (
            "RFC 6585 5 more bytes of fields than may be",
            fields_of(33 * 1024),
            Says(HEADERS_TOO_LARGE),
        ),
        (
            "10.5.1 far more bytes of fields than may be",
            fields_of(140 * 1024),
            Ends(&[ENHANCE_YOUR_CALM]),
        ),
        (
            "RFC 9110 15.5.15 a longer path than may be",
            vec![instead(":path", &format!("/{}", "a".repeat(9 * 1024)))],
            Says(URI_TOO_LONG),
        ),
        ("8.1 a request", vec![get()], Answers),
        (
            "8.1.1 less than content-length",
            vec![post_of_length("2"), frame(DATA, END_STREAM, 1, b"a")],
            malformed,
        ),
        (
            "8.1.1 more than content-length",
            vec![post_of_length("2"), frame(DATA, END_STREAM, 1, b"abc")],
            malformed,
        ),
        (
            "8.1.1 more than content-length, in two",
            vec![
                post_of_length("1"),
                frame(DATA, 0, 1, b"a"),
                frame(DATA, END_STREAM, 1, b"b"),
            ],
            malformed,
        ),
        (
            "8.1.1 content-length and no body",
            vec![get_with(&[("content-length", "1")])],
            malformed,
        ),
        (
            "8.1.1 two content-lengths",
            vec![
                headers(
                    END_HEADERS,
                    1,
                    &[POST, &[("content-length", "1"), ("content-length", "2")]].concat(),
                ),
                frame(DATA, END_STREAM, 1, b"a"),
            ],
            malformed,
        ),
        (
            "RFC 9110 8.6 the same content-length twice",
            vec![
                headers(
                    END_HEADERS,
                    1,
                    &[POST, &[("content-length", "1"), ("content-length", "1")]].concat(),
                ),
                frame(DATA, END_STREAM, 1, b"a"),
            ],
            malformed,
        ),
        (
            "8.1.1 content-length is no number",
            vec![post_of_length("a"), frame(DATA, END_STREAM, 1, b"a")],
            malformed,
        ),
        (
            "8.1.1 content-length with a sign",
            vec![post_of_length("+1"), frame(DATA, END_STREAM, 1, b"a")],
            malformed,
        ),
        (
            "8.2 a name in upper case",
            vec![raw_field(b"X-Upper", b"y")],
            Ends(&[PROTOCOL_ERROR]),
        ),
        (
            "8.2.1 a name with a blank",
            vec![raw_field(b"x y", b"z")],
            Ends(&[PROTOCOL_ERROR]),
        ),
        (
            "8.2.1 a name with a colon",
            vec![raw_field(b"x:y", b"z")],
            Ends(&[PROTOCOL_ERROR]),
        ),
        (
            "8.2.1 a name with NUL",
            vec![raw_field(b"x\0y", b"z")],
            Ends(&[PROTOCOL_ERROR]),
        ),
        (
            "8.2.1 a name with DEL",
            vec![raw_field(b"x\x7f", b"z")],
            Ends(&[PROTOCOL_ERROR]),
        ),
        (
            "8.2.1 a name of other bytes",
            vec![raw_field(b"x\xff", b"z")],
            Ends(&[PROTOCOL_ERROR]),
        ),
        (
            "8.2.1 no name",
            vec![raw_field(b"", b"z")],
            Ends(&[PROTOCOL_ERROR]),
        ),
        (
            "8.2.1 a value with NUL",
            vec![raw_field(b"x", b"y\0z")],
            Ends(&[PROTOCOL_ERROR]),
        ),
        (
            "8.2.1 a value with CR",
            vec![raw_field(b"x", b"y\rz")],
            Ends(&[PROTOCOL_ERROR]),
        ),
        (
            "8.2.1 a value with LF",
            vec![raw_field(b"x", b"y\nz: a")],
            Ends(&[PROTOCOL_ERROR]),
        ),
        (
            "8.2.1 a value that begins with a blank",
            vec![raw_field(b"x", b" y")],
            malformed,
        ),
        (
            "8.2.1 a value that ends with a blank",
            vec![raw_field(b"x", b"y\t")],
            malformed,
        ),
        (
            "8.2.2 connection",
            vec![get_with(&[("connection", "keep-alive")])],
            malformed,
        ),
        (
            "8.2.2 keep-alive",
            vec![get_with(&[("keep-alive", "1")])],
            malformed,
        ),
        (
            "8.2.2 proxy-connection",
            vec![get_with(&[("proxy-connection", "close")])],
            malformed,
        ),
        (
            "8.2.2 transfer-encoding",
            vec![get_with(&[("transfer-encoding", "chunked")])],
            malformed,
        ),
        (
            "8.2.2 upgrade",
            vec![get_with(&[("upgrade", "h2c")])],
            malformed,
        ),
        ("8.2.2 te", vec![get_with(&[("te", "gzip")])], malformed),
        (
            "8.2.2 te: trailers",
            vec![get_with(&[("te", "trailers")])],
            Answers,
        ),
        (
            "8.2.3 cookies in pieces",
            vec![get_with(&[("cookie", "a=1"), ("cookie", "b=2")])],
            Answers,
        ),
        (
            "8.3 an unknown pseudo-field",
            vec![get_with(&[(":x", "y")])],
            Ends(&[PROTOCOL_ERROR]),
        ),
        (
            "8.3 a pseudo-field of answers",
            vec![get_with(&[(":status", "200")])],
            malformed,
        ),
        (
            "8.3 a pseudo-field after a field",
            vec![request(&[&GET[..3], &[("x", "y")], &GET[3..]].concat())],
            malformed,
        ),
        (
            "8.3 two methods",
            vec![get_with(&[(":method", "GET")])],
            malformed,
        ),
        (
            "8.3 two schemes",
            vec![get_with(&[(":scheme", "http")])],
            malformed,
        ),
        (
            "8.3 two paths",
            vec![get_with(&[(":path", "/hello")])],
            malformed,
        ),
        (
            "8.3 two authorities",
            vec![get_with(&[(":authority", "a.example")])],
            malformed,
        ),
        ("8.3.1 no method", vec![without(":method")], malformed),
        ("8.3.1 no scheme", vec![without(":scheme")], malformed),
        ("8.3.1 no path", vec![without(":path")], malformed),
        (
            "8.3.1 no authority and no host",
            vec![without(":authority")],
            malformed,
        ),
        (
            "8.3.1 a host instead of an authority",
            vec![request(&[&GET[..3], &[("host", "a.example")]].concat())],
            Answers,
        ),
        (
            "8.3.1 the same host",
            vec![get_with(&[("host", "a.example")])],
            Answers,
        ),
        (
            "8.3.1 another host",
            vec![get_with(&[("host", "b.example")])],
            malformed,
        ),
        (
            "8.3.1 two hosts",
            vec![get_with(&[("host", "a.example"), ("host", "b.example")])],
            malformed,
        ),
        (
            "9110 7.2 the same host twice",
            vec![get_with(&[("host", "a.example"), ("host", "a.example")])],
            malformed,
        ),
        (
            "8.3.1 an empty authority",
            vec![instead(":authority", "")],
            malformed,
        ),
        (
            "8.3.1 a user",
            vec![instead(":authority", "user@a.example")],
            malformed,
        ),
        (
            "8.3.1 a user with a password",
            vec![instead(":authority", "user:word@a.example")],
            malformed,
        ),
        (
            "8.3.1 a port that is none",
            vec![instead(":authority", "a.example:port")],
            malformed,
        ),
        (
            "8.3.1 an authority with a path",
            vec![instead(":authority", "a.example/x")],
            malformed,
        ),
        ("8.3.1 an empty path", vec![instead(":path", "")], malformed),
        (
            "8.3.1 a query without a path",
            vec![instead(":path", "?x=y")],
            malformed,
        ),
        (
            "8.3.1 a path without a slash",
            vec![instead(":path", "hello")],
            malformed,
        ),
        (
            "8.3.1 a whole address as path",
            vec![instead(":path", "http://a.example/hello")],
            malformed,
        ),
        (
            "8.3.1 a path with a blank",
            vec![instead(":path", "/hello x")],
            malformed,
        ),
        (
            "8.3.1 a path with a control character",
            vec![instead(":path", "/hello\u{1}")],
            malformed,
        ),
        (
            "8.3.1 a path with bytes beyond ASCII",
            vec![instead(":path", "/h\u{e9}llo")],
            malformed,
        ),
        (
            "8.3.1 a query with `<`",
            vec![instead(":path", "/hello?<")],
            malformed,
        ),
        (
            "8.3.1 an empty scheme",
            vec![instead(":scheme", "")],
            malformed,
        ),
        (
            "8.3.1 a scheme that is none",
            vec![instead(":scheme", "ht tp")],
            malformed,
        ),
        (
            "RFC 9110 9.1 a method that is too long",
            vec![instead(":method", &"A".repeat(33))],
            Says(NOT_IMPLEMENTED),
        ),
        (
            "8.3.1 an empty method",
            vec![instead(":method", "")],
            Ends(&[PROTOCOL_ERROR]),
        ),
        (
            "8.3.1 a method with a blank",
            vec![instead(":method", "GET /")],
            Ends(&[PROTOCOL_ERROR]),
        ),
        (
            "8.3.1 an asterisk",
            vec![request(&[
                (":method", "OPTIONS"),
                (":scheme", "http"),
                (":path", "*"),
                (":authority", "a.example"),
            ])],
            Says(NO_CONTENT),
        ),
        (
            "8.3.1 an asterisk of another method",
            vec![instead(":path", "*")],
            malformed,
        ),
        (
            "8.5 CONNECT",
            vec![request(&[
                (":method", "CONNECT"),
                (":authority", "a.example:443"),
            ])],
            Says(NOT_IMPLEMENTED),
        ),
        (
            "8.5 CONNECT with a scheme and a path",
            vec![instead(":method", "CONNECT")],
            malformed,
        ),
        (
            "RFC 8441 CONNECT with a protocol",
            vec![request(
                &[
                    &[(":method", "CONNECT"), (":protocol", "websocket")],
                    &GET[1..],
                ]
                .concat(),
            )],
            malformed,
        ),
    ]
}

#[test]
fn what_clients_may_not_do_ends_their_stream_or_their_connection_and_nothing_else() {
    let wrong = Kit::each(&Kit::ALL, send_all).concat();
    assert!(wrong.is_empty(), "\n{wrong}");
}

fn send_all(kit: Kit) -> String {
    let server = kit.setup().set("workers.count", 1).start();
    let mut wrong = String::new();
    for (what, frames, comes) in cases() {
        let mut wire = Wire::open(&server);
        wire.send(&frames.concat());
        wire.mark();
        let seen = match comes {
            Ends(_) => wire.until(|_| false),
            Resets(_) => wire.until(|seen| seen.is_alive() && seen.resets.contains_key(&1)),
            Answers | Says(_) => wire.until(|seen| {
                seen.is_alive() && (seen.complete.contains(&1) || seen.resets.contains_key(&1))
            }),
            RefusesStream(stream) => {
                wire.until(|seen| seen.is_alive() && seen.resets.contains_key(&stream))
            }
            Nothing => wire.until(Seen::is_alive),
        };
        let reset = seen.resets.get(&1);
        let is_right = match comes {
            Ends(codes) => !seen.is_silent && seen.goaway.is_some_and(|code| codes.contains(&code)),
            Resets(codes) => !seen.ended && reset.is_some_and(|code| codes.contains(code)),
            Answers => !seen.ended && seen.says(1, OK),
            Says(status) => !seen.ended && seen.says(1, status),
            RefusesStream(stream) => {
                !seen.ended && seen.resets == [(stream, REFUSED_STREAM)].into()
            }
            // An answer may come before all of its request, of which no more is wanted then (RFC 9113 section 8.1).
            Nothing => !seen.ended && reset.is_none_or(|code| *code == 0),
        };
        if !is_right {
            writeln!(wrong, "{kit:?}: {what}: {comes:?}, but {seen:?}").unwrap();
        }
    }
    // Other connections notice nothing.
    let mut wire = Wire::open(&server);
    wire.send(&get());
    assert!(wire.until(|seen| seen.complete.contains(&1)).says(1, OK));
    wrong
}

#[test]
fn a_connection_begins_with_the_preface_and_settings() {
    let server = Setup::new().start();
    for first in [
        frame(PING, 0, 0, &[0; 8]),
        get(),
        frame(SETTINGS, ACK, 0, &[]),
        frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]),
        frame(SETTINGS, 0, 1, &[]),
    ] {
        let mut wire = Wire::connect(&server);
        wire.send(&[PREFACE, &first, &get()].concat());
        let seen = wire.until(|_| false);
        assert_eq!(seen.goaway, Some(PROTOCOL_ERROR), "{first:?}: {seen:?}");
        assert!(seen.answers.is_empty(), "{first:?}: {seen:?}");
    }
}

#[test]
fn however_its_bytes_arrive_a_request_is_the_same() {
    let server = Setup::new().start();
    let whole = [PREFACE, &frame(SETTINGS, 0, 0, &[]), &get()].concat();
    let mut wire = Wire::connect(&server);
    for byte in &whole {
        wire.send(&[*byte]);
    }
    let seen = wire.until(|seen| seen.complete.contains(&1));
    assert!(seen.says(1, OK), "{seen:?}");
}
