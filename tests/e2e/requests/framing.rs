//! Where a body ends (RFC 9112 section 6; RFC 9110 section 8.6).

use super::case::{Case, chunked, get, last, post, refused, served};

pub(super) fn cases() -> Vec<Case> {
    [lengths(), codings(), both(), sizes()].concat()
}

fn lengths() -> Vec<Case> {
    let rule = "9110 8.6";
    let mut cases: Vec<Case> = [
        "+5",
        "-5",
        "-0",
        "5,5",
        "5, 5",
        "5,6",
        "5 5",
        "0 1",
        "3 1",
        "5;",
        "5.0",
        "5e0",
        "0x5",
        "5h",
        "five",
        "",
        " ",
        "\t",
        "0_5",
        "5_0",
        "'5'",
        "\"5\"",
        "5\u{a0}",
        "٥",
        "NaN",
        "Infinity",
        "true",
        "18446744073709551616",
        "18446744073709551615",
        "9223372036854775808",
        "99999999999999999999999999999999",
        "5\r\ncontent-length: 5",
        "5\r\ncontent-length: 6",
        "6\r\ncontent-length: 5",
        "5\r\ncontent-length:",
        "\r\ncontent-length: 5",
        "5\r\nx: y\r\nCONTENT-LENGTH: 5",
    ]
    .into_iter()
    .map(|length| {
        refused(
            rule,
            400,
            format!("Content-Length {length:?}"),
            post(&format!("content-length: {length}\r\n"), "hello"),
        )
    })
    .collect();
    cases.extend([
        served(rule, "a length", post("content-length: 5\r\n", "hello")).says("hello"),
        served(rule, "a length with zeros before it", post("content-length: 0005\r\n", "hello")).says("hello"),
        served(rule, "a length between blanks", post("content-length: \t 5 \t\r\n", "hello")).says("hello"),
        served(rule, "a name in mixed case", post("conTENT-Length: 5\r\n", "hello")).says("hello"),
        served("9112 6.3", "no body", post("", "")),
        served("9112 6.3", "a body of nothing", post("content-length: 0\r\n", "")),
        served("9112 6.3", "a body that looks like a request", post("content-length: 35\r\n", "GET /pid HTTP/1.1\r\nhost: evil.org\r\n\r\n")).says("evil.org").after(&[]),
        served("9110 9.3.1", "a GET with a body", "GET /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello").says("hello"),
        served("9112 9.3", "a body that the route does not read", "POST /hello HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello"),
        served("9112 9.3", "chunks that the route does not read", "POST /hello HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
        last("9112 6.3", 200, "a body of HTTP/1.0", "POST /echo HTTP/1.0\r\ncontent-length: 5\r\n\r\nhello").says("hello"),
        last("9112 6.3", 200, "a request of HTTP/1.0 without a length has no body", "POST /echo HTTP/1.0\r\n\r\n"),
    ]);
    cases
}

fn codings() -> Vec<Case> {
    let rule = "9112 6.1";
    let body = "5\r\nhello\r\n0\r\n\r\n";
    let with = |value: &str| post(&format!("transfer-encoding: {value}\r\n"), body);
    let mut cases: Vec<Case> = [
        "",
        ",",
        "chunked,",
        ",chunked",
        "chunked,,",
        "chunked, chunked",
        "chunked,chunked",
        "chunked\r\ntransfer-encoding: chunked",
        "chunked\r\nx: y\r\nTransfer-Encoding: CHUNKED",
        "identity",
        "gzip",
        "xchunked",
        "chunkedx",
        "chunked x",
        "x chunked",
        "chunk",
        "cchunked",
        "\"chunked\"",
        "'chunked'",
        "chunked;",
        "chunked;q=1",
        "chunked; a=b",
        "[chunked]",
        "chunked, identity",
        "chunked\r\ntransfer-encoding: identity",
        "chunked, gzip",
        "chunked\r\ntransfer-encoding: gzip",
        "identity, chunked, identity, chunked",
        "gzip, chunked, chunked",
        "chunked\r\ntransfer-encoding:",
        "\r\ntransfer-encoding: chunked",
        "chunked; , gzip",
        "chunked\u{a0}",
        "chunKed\u{212a}",
        "true",
        "0",
    ]
    .into_iter()
    .map(|value| {
        refused(
            rule,
            400,
            format!("Transfer-Encoding {value:?}"),
            with(value),
        )
    })
    .collect();
    cases.extend(
        [
            "gzip, chunked",
            "gzip,chunked",
            "gzip\r\ntransfer-encoding: chunked",
            "deflate, gzip, chunked",
            "identity, chunked",
            "identity\r\ntransfer-encoding: chunked",
            "x, chunked",
            "x;a=b, chunked",
            "compress, chunked",
        ]
        .map(|value| {
            refused(
                rule,
                501,
                format!("Transfer-Encoding {value:?}"),
                with(value),
            )
        }),
    );
    cases.extend(
        ["chunked", "CHUNKED", "Chunked", "\tchunked", "chunked \t"].map(|value| {
            served(rule, format!("Transfer-Encoding {value:?}"), with(value)).says("hello")
        }),
    );
    cases.extend([
        refused(rule, 400, "a vertical tab before the coding", with("\u{b}chunked")),
        refused(rule, 400, "NUL after the coding", with("chunked\0")),
        refused(rule, 400, "a coding of HTTP/1.0", format!("POST /echo HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n{body}")),
        refused(rule, 400, "a coding and a length of HTTP/1.0", "POST /echo HTTP/1.0\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\nhello"),
        refused(rule, 400, "a coding that keeps HTTP/1.0 alive", format!("POST /echo HTTP/1.0\r\nconnection: keep-alive\r\ntransfer-encoding: chunked\r\n\r\n{body}")),
        refused(rule, 400, "an identity of HTTP/1.0", "POST /echo HTTP/1.0\r\ntransfer-encoding: identity\r\ncontent-length: 5\r\n\r\nhello"),
        served("9112 7.4", "TE is no framing", get("te: trailers, chunked;q=0.5\r\nconnection: te\r\n")),
    ]);
    cases
}

fn both() -> Vec<Case> {
    let rule = "9112 6.1";
    let smuggled = "0\r\n\r\nGET /pid HTTP/1.1\r\nhost: a\r\n\r\n";
    let length = smuggled.len();
    [
        format!("content-length: {length}\r\ntransfer-encoding: chunked"),
        format!("transfer-encoding: chunked\r\ncontent-length: {length}"),
        format!(
            "transfer-encoding: chunked\r\ncontent-length: {length}\r\ntransfer-encoding: chunked"
        ),
        format!("content-length: {length}\r\ntransfer-encoding: identity"),
        format!("content-length: {length}\r\ntransfer-encoding: xchunked"),
        format!("content-length: {length}\r\ntransfer-encoding: gzip, chunked"),
        format!("content-length: {length}\r\ntransfer-encoding:"),
        format!("content-length: {length}\r\ntransfer-encoding: x"),
        format!("content-length: {length}\r\ntransfer-encoding: chunked, identity"),
        format!("content-length: {length}\r\ntransfer-encoding:\tchunked"),
        format!("content-length: {length}\r\nTRANSFER-ENCODING: chunked"),
        format!("content-length: {length}\r\ntransfer-encoding: \"chunked\""),
        "content-length: 0\r\ntransfer-encoding: chunked".to_owned(),
        "content-length: 3\r\ntransfer-encoding: chunked\r\nconnection: content-length".to_owned(),
        format!("content-length: {length}\r\ntransfer-encoding : chunked"),
        format!("content-length: {length}\r\n transfer-encoding: chunked"),
        format!("content-length: {length}\r\nx: y\r\n\ttransfer-encoding: chunked"),
        format!("content-length: {length}\r\nx: y\ntransfer-encoding: chunked"),
        format!("content-length: {length}\r\ntransfer\0-encoding: chunked"),
        format!("content-length: {length}\r\ntransfer-encoding\u{b}: chunked"),
    ]
    .into_iter()
    .map(|fields| {
        refused(
            rule,
            400,
            format!("{fields:?}"),
            post(&format!("{fields}\r\n"), smuggled),
        )
    })
    .collect()
}

/// With `http.max_body = "1MiB"`.
fn sizes() -> Vec<Case> {
    let rule = "9110 15.5.14";
    let (most, more) = ("x".repeat(1 << 20), "x".repeat((1 << 20) + 1));
    let in_chunks = |body: &str| {
        let chunks = body.as_bytes().chunks(1 << 18).map(|chunk| {
            format!(
                "{:x}\r\n{}\r\n",
                chunk.len(),
                String::from_utf8_lossy(chunk)
            )
        });
        chunked(&format!("{}0\r\n\r\n", chunks.collect::<Vec<_>>().concat()))
    };
    vec![
        served(
            rule,
            "as large a body as may be",
            post(&format!("content-length: {}\r\n", most.len()), &most),
        ),
        refused(
            rule,
            413,
            "a body that is too large",
            post(&format!("content-length: {}\r\n", more.len()), &more),
        ),
        refused(
            rule,
            413,
            "a length that is too large, and nothing of the body",
            post("content-length: 1048577\r\n", ""),
        ),
        refused(
            rule,
            413,
            "the largest length",
            post("content-length: 9223372036854775807\r\n", "hello"),
        ),
        served(
            rule,
            "chunks that are as large together as may be",
            in_chunks(&most),
        ),
        refused(
            rule,
            413,
            "chunks that are too large together",
            in_chunks(&more),
        ),
        refused(
            rule,
            413,
            "a chunk that is too large",
            chunked("200001\r\nhello"),
        ),
        served(
            rule,
            "a rule may have another limit",
            format!(
                "POST /count HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n{more}",
                more.len()
            ),
        )
        .says("1048577"),
        refused(
            rule,
            413,
            "which is one too",
            "POST /count HTTP/1.1\r\nhost: a\r\ncontent-length: 2097153\r\n\r\n",
        ),
    ]
}
