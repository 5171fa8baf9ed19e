//! The chunked coding and its trailer section (RFC 9112 section 7.1; RFC 9110 section 6.5).

use super::case::{Case, chunked, chunked_bytes, refused, served};

pub(super) fn cases() -> Vec<Case> {
    [sizes(), extensions(), ends(), trailers()].concat()
}

fn sizes() -> Vec<Case> {
    let rule = "9112 7.1";
    let mut cases: Vec<Case> = [
        "0x5",
        "0X5",
        "x5",
        "+5",
        "-5",
        "-0",
        "+0",
        " 5",
        "\t5",
        "5 ",
        "5\t",
        "5  ",
        "5 5",
        "5_0",
        "5.0",
        "5,",
        "5h",
        "g",
        "h",
        "",
        " ",
        "5\u{b}",
        "5\u{c}",
        "\"5\"",
        "5\0",
        "\u{0}5",
        "５",
        "10000000000000000",
        "fffffffffffffffff",
        "10000000000000005",
        "ffffffffffffffffffffffffffffffff5",
        "5\u{a0}",
        "5\r",
        "\r5",
        "5\u{1}",
        "5=",
        "5:",
        "5/",
        "5#",
    ]
    .into_iter()
    .map(|size| {
        refused(
            rule,
            400,
            format!("a chunk of size {size:?}"),
            chunked(&format!("{size}\r\nhello\r\n0\r\n\r\n")),
        )
    })
    .collect();
    cases.extend(["5", "05", "0005", "000000000000000000005"].map(|size| {
        served(
            rule,
            format!("a chunk of size {size}"),
            chunked(&format!("{size}\r\nhello\r\n0\r\n\r\n")),
        )
        .says("hello")
    }));
    cases.extend([
        served(
            rule,
            "two chunks",
            chunked("5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"),
        )
        .says("hello world"),
        served(
            rule,
            "a size in capitals",
            chunked("A\r\n0123456789\r\n0\r\n\r\n"),
        )
        .says("0123456789"),
        served(
            rule,
            "a size in small letters",
            chunked("a\r\n0123456789\r\n0\r\n\r\n"),
        )
        .says("0123456789"),
        served(
            rule,
            "an end of many zeros",
            chunked("5\r\nhello\r\n000\r\n\r\n"),
        )
        .says("hello"),
        served(rule, "an empty body", chunked("0\r\n\r\n")),
        served(
            rule,
            "a chunk that looks like an end",
            chunked("7\r\n0\r\n\r\nGE\r\n0\r\n\r\n"),
        )
        .says("GE"),
        refused(
            rule,
            413,
            "the largest size",
            chunked("ffffffffffffffff\r\nhello\r\n0\r\n\r\n"),
        ),
        refused(
            rule,
            413,
            "the largest size with a sign",
            chunked("7fffffffffffffff\r\nhello\r\n0\r\n\r\n"),
        ),
        refused(
            rule,
            400,
            "a size without end",
            chunked(&"0".repeat(10_000)),
        ),
        refused(
            rule,
            400,
            "a later chunk with a bad size",
            chunked("5\r\nhello\r\n6_0\r\n world\r\n0\r\n\r\n"),
        ),
        refused(
            rule,
            400,
            "a bad last size",
            chunked("5\r\nhello\r\n0 \r\n\r\n"),
        ),
        refused(
            rule,
            400,
            "a blank before the last size",
            chunked("5\r\nhello\r\n 0\r\n\r\n"),
        ),
        refused(rule, 400, "a body that is not in chunks", chunked("hello")),
        refused(
            rule,
            400,
            "an empty line for a size",
            chunked("\r\nhello\r\n0\r\n\r\n"),
        ),
        refused(
            rule,
            400,
            "bytes that are no text for a size",
            chunked_bytes(b"\xff\r\nhello\r\n0\r\n\r\n"),
        ),
    ]);
    cases
}

fn extensions() -> Vec<Case> {
    let rule = "9112 7.1.1";
    let with = |line: &str| chunked(&format!("5{line}\r\nhello\r\n0\r\n\r\n"));
    let mut cases: Vec<Case> = [
        ";a",
        ";a=b",
        ";a=\"b c\"",
        ";a;b;c",
        "; a",
        " ;a",
        " ; a = b",
        "\t;a",
        "; some; parameters=stuff",
        ";a=\"b;c\"",
        ";a=\tb",
        ";a=\"é\"",
        ";a=\"b\\\"c\"",
        ";a=\"\"",
        ";a=b ;c",
        ";a=b; c=\"d\" ; e",
    ]
    .into_iter()
    .map(|extension| {
        served(rule, format!("an extension {extension:?}"), with(extension)).says("hello")
    })
    .collect();
    cases.extend(
        [
            ";a\nb",
            ";a\rb",
            ";\n",
            "\n;",
            ";a=\0",
            ";a=\u{1}",
            ";a=\u{7f}",
            ";a=\"\n\"",
            ";a=\"\r\"",
            ";a\r",
            "\n",
            " a",
            " a;",
            ";a=\u{1b}[1m",
            ";",
            ";;",
            " ;",
            ";a;",
            ";=",
            ";=b",
            ";a=",
            ";a b",
            ";a ",
            ";a=b c",
            ";a=b=c",
            ";a=b\"c\"",
            ";a=\"b",
            ";a=\"b\\",
            ";a=\"b\"c",
            ";\"a\"",
            ";a=é",
            ";é",
        ]
        .map(|extension| {
            refused(
                rule,
                400,
                format!("an extension {extension:?}"),
                with(extension),
            )
        }),
    );
    cases.extend([
        served(
            rule,
            "an extension of the last chunk",
            chunked("5\r\nhello\r\n0;a=b\r\n\r\n"),
        )
        .says("hello"),
        served(
            rule,
            "a signature for each chunk",
            chunked(&format!(
                "{}0\r\n\r\n",
                format!("1;chunk-signature={}\r\nx\r\n", "f".repeat(64)).repeat(20)
            )),
        )
        .says("xxxx"),
        refused(
            rule,
            400,
            "an LF in an extension of the last chunk",
            chunked("5\r\nhello\r\n0;a\n\r\n\r\n"),
        ),
        refused(
            rule,
            400,
            "an extension without a size",
            chunked(" ;a=b\r\nhello\r\n0\r\n\r\n"),
        ),
        refused(
            rule,
            400,
            "an extension and no size",
            chunked(";a=b\r\nhello\r\n0\r\n\r\n"),
        ),
        refused(
            rule,
            400,
            "an extension that is too long",
            with(&format!(";{}", "a".repeat(20_000))),
        ),
        refused(
            rule,
            400,
            "extensions that are too long together",
            chunked(&format!(
                "{}0\r\n\r\n",
                format!("1;{}\r\nx\r\n", "a".repeat(1000)).repeat(20)
            )),
        ),
        refused(
            rule,
            400,
            "an extension without end",
            chunked(&format!("5;{}", "a".repeat(1 << 20))),
        ),
        refused(
            rule,
            400,
            "a request in an extension",
            with(";\nGET /pid HTTP/1.1\nhost: a\n\n"),
        ),
    ]);
    cases
}

fn ends() -> Vec<Case> {
    let rule = "9112 7.1";
    [
        ("LF after a size", "5\nhello\r\n0\r\n\r\n"),
        ("CR alone after a size", "5\rhello\r\n0\r\n\r\n"),
        ("LF after the data", "5\r\nhello\n0\r\n\r\n"),
        ("CR alone after the data", "5\r\nhello\r0\r\n\r\n"),
        ("nothing after the data", "5\r\nhello0\r\n\r\n"),
        ("a byte after the data", "5\r\nhellox\r\n0\r\n\r\n"),
        ("two bytes after the data", "5\r\nhelloxx0\r\n\r\n"),
        ("data that is too short", "6\r\nhello\r\n0\r\n\r\n"),
        ("data that is too long", "4\r\nhello\r\n0\r\n\r\n"),
        (
            "an empty line after the data",
            "5\r\nhello\r\n\r\n0\r\n\r\n",
        ),
        ("a blank after the data", "5\r\nhello \r\n0\r\n\r\n"),
        ("LF after the last size", "5\r\nhello\r\n0\n\r\n"),
        ("LF for the last line", "5\r\nhello\r\n0\r\n\n"),
        (
            "CR LF for the data of the last chunk, twice with LF",
            "5\r\nhello\r\n0\r\n\r\r\n",
        ),
        ("LF everywhere", "5\nhello\n0\n\n"),
        ("CR everywhere", "5\rhello\r0\r\r"),
        ("LF CR", "5\n\rhello\n\r0\n\r\n\r"),
    ]
    .into_iter()
    .map(|(name, body)| refused(rule, 400, name, chunked(body)))
    .collect()
}

fn trailers() -> Vec<Case> {
    let rule = "9110 6.5.1";
    let with = |fields: &str| chunked(&format!("5\r\nhello\r\n0\r\n{fields}\r\n"));
    let mut cases: Vec<Case> = [
        "content-length: 5",
        "Content-Length: 99",
        "transfer-encoding: chunked",
        "host: b",
        "connection: close",
        "upgrade: h2c",
        "te: trailers",
        "trailer: x",
        "expect: 100-continue",
        "authorization: Bearer x",
        "proxy-authorization: x",
        "cookie: a=b",
        "forwarded: for=a",
        "content_length: 5",
        "Transfer_Encoding: chunked",
    ]
    .into_iter()
    .map(|field| {
        refused(
            rule,
            400,
            format!("a trailer {field:?}"),
            with(&format!("{field}\r\n")),
        )
    })
    .collect();
    cases.extend(
        [
            ("no colon", "x\r\n"),
            ("a blank before the colon", "x : 1\r\n"),
            ("a second line", "x: 1\r\n 2\r\n"),
            ("a second line at once", " x: 1\r\n"),
            ("no name", ": 1\r\n"),
            ("NUL in the value", "x: \0\r\n"),
            ("CR alone in the value", "x: a\rb\r\n"),
            ("LF after a field", "x: 1\ny: 2\r\n"),
            ("LF after the last field", "x: 1\n"),
            ("a request", "GET /pid HTTP/1.1\r\nhost: a\r\n"),
            ("a name that is no token", "x(y): 1\r\n"),
            ("a second chunk", "5\r\nhello\r\n0\r\n"),
        ]
        .map(|(name, fields)| {
            refused(
                "9112 7.1.2",
                400,
                format!("a trailer section with {name}"),
                with(fields),
            )
        }),
    );
    cases.extend([
        served(rule, "a trailer", with("x-sum: 1\r\n")).says("hello"),
        served(rule, "two trailers", with("x-sum: 1\r\nvary: *\r\n")).says("hello"),
        served(
            rule,
            "a trailer about the content",
            with("vary: *\r\ncontent-type: text/plain\r\n"),
        )
        .says("hello"),
        served(
            rule,
            "a trailer that claims an identity",
            with("x-auth-subject: root\r\n"),
        )
        .says("hello")
        .never_says("root"),
        refused(
            rule,
            431,
            "too many trailers",
            with(&"x: y\r\n".repeat(101)),
        ),
        refused(
            rule,
            431,
            "a trailer that is too long",
            with(&format!("x: {}\r\n", "a".repeat(40_000))),
        ),
        refused(
            rule,
            431,
            "a trailer without end",
            chunked(&format!("0\r\nx: {}", "a".repeat(1 << 20))),
        ),
    ]);
    cases
}
