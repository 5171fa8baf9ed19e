//! How long a connection goes on, and what answers may be (RFC 9112 sections 6.3 and 9; RFC 9110 sections 9.3.2 and 15).

use super::case::{Case, answered, get, last, refused, served};

pub(super) fn cases() -> Vec<Case> {
    [persistence(), pipelines(), contents(), upgrades()].concat()
}

fn persistence() -> Vec<Case> {
    let rule = "9112 9.3";
    let old = |fields: &str| format!("GET /hello HTTP/1.0\r\n{fields}\r\n");
    vec![
        served(rule, "HTTP/1.1", get("")),
        served(
            rule,
            "HTTP/1.1 with keep-alive",
            get("connection: keep-alive\r\n"),
        ),
        last(
            rule,
            200,
            "HTTP/1.1 with close",
            get("connection: close\r\n"),
        )
        .says("connection: close"),
        last(
            rule,
            200,
            "HTTP/1.1 with Close",
            get("Connection: Close\r\n"),
        ),
        last(
            rule,
            200,
            "close in a list",
            get("connection: x, close\r\n"),
        ),
        last(
            rule,
            200,
            "close beside keep-alive",
            get("connection: keep-alive, close\r\n"),
        ),
        last(
            rule,
            200,
            "close in a second field",
            get("connection: keep-alive\r\nconnection: close\r\n"),
        ),
        last(
            rule,
            200,
            "close in a first field",
            get("connection: close\r\nconnection: keep-alive\r\n"),
        ),
        served(rule, "something like close", get("connection: closed\r\n")),
        refused(
            rule,
            400,
            "close beside bytes beyond ASCII",
            get("connection: \u{e9}, close\r\n"),
        ),
        last(rule, 200, "HTTP/1.0", old("")),
        served(
            rule,
            "HTTP/1.0 with keep-alive",
            old("connection: keep-alive\r\n"),
        )
        .says("connection: keep-alive"),
        served(
            rule,
            "HTTP/1.0 with Keep-Alive",
            old("Connection: Keep-Alive\r\n"),
        ),
        last(
            rule,
            200,
            "HTTP/1.0 with close",
            old("connection: close\r\n"),
        ),
        last(
            rule,
            200,
            "HTTP/1.0 with both",
            old("connection: keep-alive, close\r\n"),
        ),
        last(
            rule,
            200,
            "HTTP/1.0 with something else",
            old("connection: x\r\n"),
        ),
        last(
            rule,
            200,
            "HTTP/1.0 gets no chunks",
            "GET /stream HTTP/1.0\r\nconnection: keep-alive\r\n\r\n",
        )
        .says("chunk 9")
        .never_says("transfer-encoding"),
        served(
            rule,
            "HTTP/1.1 gets chunks",
            "GET /stream HTTP/1.1\r\nhost: a\r\n\r\n",
        )
        .says("chunk 9"),
    ]
}

fn pipelines() -> Vec<Case> {
    let rule = "9112 9.3.2";
    let one = "GET /hello HTTP/1.1\r\nhost: a\r\n\r\n";
    let echo = |body: &str| {
        format!(
            "POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    vec![
        served(rule, "three requests", one.repeat(3)).after(&[200, 200]),
        served(rule, "fifty requests", one.repeat(50)).after(&[200; 49]),
        served(
            rule,
            "in order although the first takes longer",
            format!(
                "GET /slow?ms=30 HTTP/1.1\r\nhost: a\r\n\r\n{}",
                echo("second")
            ),
        )
        .after(&[200])
        .says("second"),
        served(
            rule,
            "bodies between them",
            format!("{}{}{}", echo("one"), one, echo("three")),
        )
        .after(&[200, 200])
        .says("three"),
        served(
            rule,
            "an empty line between them",
            format!("{one}\r\n{one}"),
        )
        .after(&[200]),
        refused(
            rule,
            400,
            "a bad one after a good one",
            format!("{one}GET /hello HTTP/1.1\r\n\r\n"),
        )
        .after(&[200]),
        refused(
            rule,
            505,
            "a version after a good one",
            format!("{one}{one}GET /hello HTTP/2.0\r\nhost: a\r\n\r\n"),
        )
        .after(&[200, 200]),
        refused(
            rule,
            400,
            "a bad one after one that takes longer",
            format!("GET /slow?ms=30 HTTP/1.1\r\nhost: a\r\n\r\n{}", "x\r\n\r\n"),
        )
        .after(&[200]),
        refused(
            rule,
            400,
            "a bad chunk after a good request",
            format!(
                "{one}POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nx\r\n"
            ),
        )
        .after(&[200]),
        refused(
            rule,
            413,
            "too large a body after a good request",
            format!("{one}POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 3000000\r\n\r\n"),
        )
        .after(&[200]),
        last(
            rule,
            200,
            "nothing after close",
            format!("GET /hello HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n{one}"),
        ),
        last(
            rule,
            200,
            "nothing after HTTP/1.0",
            format!("GET /hello HTTP/1.0\r\n\r\n{one}"),
        ),
        served(
            rule,
            "HTTP/1.1 after HTTP/1.0 that goes on",
            format!("GET /hello HTTP/1.0\r\nconnection: keep-alive\r\n\r\n{one}"),
        )
        .after(&[200]),
        refused(
            rule,
            400,
            "bytes after a body that said it was shorter",
            format!("{}xyz\r\n\r\n", echo("hello")),
        )
        .after(&[200]),
    ]
}

fn contents() -> Vec<Case> {
    let rule = "9112 6.3";
    let head = |path: &str| format!("HEAD {path} HTTP/1.1\r\nhost: a\r\n\r\n");
    let status = |code: u16| format!("GET /status/{code} HTTP/1.1\r\nhost: a\r\n\r\n");
    vec![
        served("9110 9.3.2", "HEAD", head("/hello"))
            .says("content-length: 19")
            .never_says("message"),
        served(
            "9110 9.3.2",
            "HEAD of something without a length",
            head("/stream"),
        )
        .never_says("chunk"),
        answered("9110 9.3.2", 404, "HEAD of nothing", head("/nothing")).never_says("Not found"),
        refused(
            "9110 9.3.2",
            505,
            "HEAD that is refused",
            "HEAD /hello HTTP/2.0\r\nhost: a\r\n\r\n",
        )
        .never_says("detail"),
        refused(
            "9110 9.3.2",
            417,
            "HEAD with an expectation",
            "HEAD /hello HTTP/1.1\r\nhost: a\r\nexpect: x\r\n\r\n",
        )
        .never_says("detail"),
        answered(rule, 204, "204", status(204))
            .never_says("content-length")
            .never_says("transfer-encoding"),
        answered(rule, 304, "304", status(304))
            .never_says("transfer-encoding")
            .never_says("status"),
        answered("9110 15.3.6", 205, "205", status(205))
            .says("content-length: 0")
            .never_says("\"status\""),
        answered(rule, 404, "404", status(404)).says("\"status\":404"),
        answered(rule, 204, "204 to HEAD", head("/status/204")).never_says("content-length"),
        served("9110 6.6.1", "every answer has a date", get("")).says("date: "),
    ]
}

fn upgrades() -> Vec<Case> {
    let rule = "9110 7.8";
    vec![
        served(rule, "an upgrade to HTTP/2 is not taken", get("connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAARAAAAAAAIAAAAA\r\n")),
        served(rule, "an upgrade to something", get("connection: upgrade\r\nupgrade: x/1\r\n")),
        served(rule, "an upgrade that is not in Connection", get("upgrade: websocket\r\n")),
        last(rule, 200, "an upgrade of HTTP/1.0", "GET /hello HTTP/1.0\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n"),
        served(rule, "an upgrade with a body", "POST /echo HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: x\r\ncontent-length: 5\r\n\r\nhello").says("hello"),
        served("9110 7.6.1", "a field that is named in Connection", get("x: y\r\nconnection: x\r\n")),
        served("9110 7.6.1", "Proxy-Connection", get("proxy-connection: close\r\n")),
        served("9110 7.6.1", "Keep-Alive", get("keep-alive: timeout=5\r\nconnection: keep-alive\r\n")),
    ]
}
