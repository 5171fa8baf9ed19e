//! Fields: their names and values, Host, and what they ask for (RFC 9112 section 5; RFC 9110 sections 5, 7.2 and 10.1.1).

use super::case::{Case, get, last, post, refused, served};
use crate::support::kit::Kit;

/// Python applications do not get fields with `_` in their names.
const WITHOUT_UNDERSCORES: [Kit; 2] = [Kit::Wsgi, Kit::Asgi];

/// A content that is small is read before the application is called.
const READS_FIRST: [Kit; 1] = [Kit::Wsgi];

pub(super) fn cases() -> Vec<Case> {
    [
        names(),
        values(),
        limits(),
        hosts(),
        doubles_of_ours(),
        expectations(),
    ]
    .concat()
}

fn names() -> Vec<Case> {
    let rule = "9112 5.1";
    let mut cases: Vec<Case> = [
        ("a blank before the colon", "x : 1"),
        ("a tab before the colon", "x\t: 1"),
        ("blanks before the colon of a length", "content-length : 3"),
        (
            "a blank before the colon of a coding",
            "transfer-encoding : chunked",
        ),
        ("a blank in the name", "x y: 1"),
        ("no name", ": 1"),
        ("no name and a blank", " : 1"),
        ("no colon", "x"),
        ("no colon but a value", "x 1"),
        ("a blank before the name", " x: 1"),
        ("a tab before the name", "\tx: 1"),
        ("a value that goes on in a second line", "x: 1\r\n 2"),
        ("a value that goes on after a tab", "x: 1\r\n\t2"),
        ("a value that begins in the second line", "x:\r\n 2"),
        ("a second line of blanks only", "x: 1\r\n "),
        ("a length that goes on", "content-length: 1\r\n 2"),
        (
            "a coding that begins in the second line",
            "transfer-encoding:\r\n chunked",
        ),
        ("NUL in the name", "x\0y: 1"),
        ("DEL in the name", "x\u{7f}: 1"),
        ("a control character in the name", "x\u{1}: 1"),
        ("UTF-8 in the name", "é: 1"),
        ("UTF-8 after the name of a length", "content-lengthß: 3"),
        ("a vertical tab before the colon", "x\u{b}: 1"),
        ("a second request line", "GET /pid HTTP/1.1"),
    ]
    .into_iter()
    .map(|(name, line)| refused(rule, 400, name, get(&format!("{line}\r\n"))))
    .collect();
    cases.extend(
        [
            "(x", "x)", "x,y", "x/y", "x;y", "x<y", "x=y", "x>y", "x?y", "x@y", "x[y", "x]y",
            "x\\y", "x{y", "x}y", "\"x\"",
        ]
        .map(|name| {
            refused(
                "9110 5.1",
                400,
                format!("no name: {name}"),
                get(&format!("{name}: 1\r\n")),
            )
        }),
    );
    cases.push(
        served(
            "9110 5.6.2",
            "every character of a name",
            get("!#$%&'*+-.^_`|~09azAZ: 1\r\n"),
        )
        .says("!#$%&'*+-.^_`|~09azaz")
        .not_with(&WITHOUT_UNDERSCORES),
    );
    cases.push(
        served("9110 5.1", "a name in capitals", get("X-ABC: 1\r\n")).says("\"x-abc\":\"1\""),
    );
    cases
}

fn values() -> Vec<Case> {
    let rule = "9110 5.5";
    let mut cases: Vec<Case> = (0..0x20_u8)
        .chain([0x7f])
        .filter(|byte| !b"\t\r\n".contains(byte))
        .map(|byte| {
            let sent = [
                b"GET /headers HTTP/1.1\r\nhost: a\r\nx: a".as_slice(),
                &[byte],
                b"b\r\n\r\n",
            ]
            .concat();
            refused(
                rule,
                400,
                format!("a value with the byte {byte:#04x}"),
                sent,
            )
        })
        .collect();
    cases.extend([
        served(rule, "blanks around a value", get("x: \t a b \t \r\n")).says("\"x\":\"a b\""),
        served(rule, "no blank before a value", get("x:ab\r\n")).says("\"x\":\"ab\""),
        served(rule, "an empty value", get("x:\r\n")).says("\"x\":\"\""),
        served(rule, "a value of blanks", get("x: \t \r\n")).says("\"x\":\"\""),
        served(rule, "a tab in a value", get("x: a\tb\r\n")).says("a\\tb"),
        served(rule, "UTF-8 in a value", get("x: café\r\n")).says("café"),
        served(
            rule,
            "bytes that are no UTF-8 in a value",
            b"GET /headers HTTP/1.1\r\nhost: a\r\nx: \xff\x80\r\n\r\n".as_slice(),
        ),
        served(rule, "a value of colons", get("x: :a:\r\n")).says("\"x\":\":a:\""),
        served(
            "9110 5.3",
            "a field twice, in order",
            get("x: 1\r\nx: 2\r\n"),
        )
        .says("\"x\":[\"1\",\"2\"]")
        // An environ has one value.
        .not_with(&[Kit::Wsgi]),
        refused(
            "9110 8.3",
            400,
            "two types of one body",
            post(
                "content-length: 1\r\ncontent-type: a/b\r\ncontent-type: a/c\r\n",
                "x",
            ),
        ),
    ]);
    cases
}

fn limits() -> Vec<Case> {
    let rule = "9110 15.5.9, 6585 5";
    let fields = |count: usize| {
        let each: Vec<_> = (0..count)
            .map(|number| format!("x{number}: y\r\n"))
            .collect();
        each.concat()
    };
    vec![
        served(rule, "as many fields as may be", get(&fields(99))),
        refused(rule, 431, "one field more", get(&fields(100))),
        refused(rule, 431, "thousands of fields", get(&fields(3000))),
        served(
            rule,
            "a long field",
            get(&format!("x: {}\r\n", "a".repeat(32_000))),
        ),
        refused(
            rule,
            431,
            "a field that is too long",
            get(&format!("x: {}\r\n", "a".repeat(33_000))),
        ),
        refused(
            rule,
            431,
            "a name that is too long",
            get(&format!("{}: a\r\n", "x".repeat(33_000))),
        ),
        refused(
            rule,
            431,
            "a field of a megabyte",
            get(&format!("x: {}\r\n", "a".repeat(1 << 20))),
        ),
        refused(
            rule,
            431,
            "many fields that are too long together",
            get(&format!("x: {}\r\n", "a".repeat(1000)).repeat(40)),
        ),
    ]
}

fn hosts() -> Vec<Case> {
    let rule = "9112 3.2";
    let with = |host: &str| format!("GET /headers HTTP/1.1\r\nhost: {host}\r\n\r\n");
    let mut cases: Vec<Case> = [
        "", " ", "a b", "a, b", "a,b", "a/b", "a?b", "a#b", "user@a", "user:x@a", "@a", ":80", ":",
        "a:b", "a:80:81", "a:99999", "a:+1", "a:-1", "a:8 0", "::1", "[::1", "::1]", "[::1]x",
        "[]", "http://a", "a\\b", "a\"", "\"a\"", "a<b", "a>b", "a{b", "a}b", "a|b", "a^b", "a`b",
        "é",
    ]
    .into_iter()
    .map(|host| refused(rule, 400, format!("Host {host:?}"), with(host)))
    .collect();
    cases.extend(
        [
            "a",
            "A.Example",
            "a.example:8000",
            "a:",
            "127.0.0.1",
            "127.0.0.1:80",
            "[::1]",
            "[::1]:8000",
            "a_b",
            "xn--a-b",
            "0.0.0.0=5000",
            "a.",
        ]
        .map(|host| served(rule, format!("Host {host}"), with(host))),
    );
    cases.extend([
        refused(rule, 400, "no Host", "GET /hello HTTP/1.1\r\n\r\n"),
        refused(
            rule,
            400,
            "no Host but other fields",
            "GET /hello HTTP/1.1\r\naccept: */*\r\n\r\n",
        ),
        refused(
            rule,
            400,
            "two Hosts",
            "GET /hello HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
        ),
        refused(
            rule,
            400,
            "the same Host twice",
            "GET /hello HTTP/1.1\r\nhost: a\r\nhost: a\r\n\r\n",
        ),
        refused(
            rule,
            400,
            "two Hosts apart",
            "GET /hello HTTP/1.1\r\nHost: a\r\nx: y\r\nHOST: b\r\n\r\n",
        ),
        refused(
            rule,
            400,
            "two Hosts of HTTP/1.0",
            "GET /hello HTTP/1.0\r\nhost: a\r\nhost: b\r\n\r\n",
        ),
        refused(
            rule,
            400,
            "a bad Host of HTTP/1.0",
            "GET /hello HTTP/1.0\r\nhost: a b\r\n\r\n",
        ),
        last(
            rule,
            200,
            "no Host of HTTP/1.0",
            "GET /hello HTTP/1.0\r\n\r\n",
        ),
        refused(
            "9112 3.2.2",
            400,
            "another Host than the target's",
            "GET http://a/hello HTTP/1.1\r\nhost: b\r\n\r\n",
        ),
        refused(
            "9112 3.2.2",
            400,
            "another port than the target's",
            "GET http://a:81/hello HTTP/1.1\r\nhost: a:82\r\n\r\n",
        ),
        refused(
            "9112 3.2.2",
            400,
            "no Host beside an absolute target",
            "GET http://a/hello HTTP/1.1\r\n\r\n",
        ),
        refused(
            "9112 3.2.2",
            400,
            "no Host beside an absolute target of HTTP/1.0",
            "GET http://a/hello HTTP/1.0\r\n\r\n",
        ),
        refused(
            "9112 3.2.2",
            400,
            "an empty Host beside an absolute target",
            "GET http://a/hello HTTP/1.1\r\nhost:\r\n\r\n",
        ),
        refused(
            "9112 3.2",
            400,
            "no Host with OPTIONS *",
            "OPTIONS * HTTP/1.1\r\n\r\n",
        ),
        refused(
            "9112 5.1",
            400,
            "a Host that a blank hides",
            "GET /hello HTTP/1.1\r\nhost: a\r\n host: b\r\n\r\n",
        ),
        refused(
            "9112 5.1",
            400,
            "a Host with a blank before its colon",
            "GET /hello HTTP/1.1\r\nhost : a\r\n\r\n",
        ),
    ]);
    cases
}

/// Names that gateways of the CGI kind take for others.
fn doubles_of_ours() -> Vec<Case> {
    let rule = "3875 4.1.18";
    let mut cases: Vec<Case> = [
        "x_auth_subject",
        "X-Auth_Subject",
        "remote_user",
        "Content_Length",
        "Transfer_Encoding",
        "Content_Type",
        "X_Forwarded_For",
        "x-forwarded_proto",
        "X_Request_Id",
        "HTTP_HOST_",
    ]
    .into_iter()
    .filter(|name| !name.starts_with("HTTP"))
    .map(|name| {
        let lower = name.to_ascii_lowercase();
        served(rule, name, get(&format!("{name}: forged\r\n"))).never_says(&lower)
    })
    .collect();
    cases.push(
        served(
            rule,
            "a length that is none",
            post(
                "transfer_encoding: tricked\r\ncontent-length: 7\r\ncontent_length: -1E23\r\n",
                "tricked",
            ),
        )
        .says("tricked"),
    );
    cases.push(
        served(
            rule,
            "a name with `_` that is like no other",
            get("x_y: 1\r\n"),
        )
        .says("x_y")
        .not_with(&WITHOUT_UNDERSCORES),
    );
    cases
}

fn expectations() -> Vec<Case> {
    let rule = "9110 10.1.1";
    let expecting = |value: &str, body: &str| {
        post(
            &format!("content-length: {}\r\nexpect: {value}\r\n", body.len()),
            body,
        )
    };
    vec![
        served(rule, "100-continue", expecting("100-continue", "hello"))
            .after(&[100])
            .says("hello"),
        served(
            rule,
            "100-Continue in capitals",
            expecting("100-CONTINUE", "hello"),
        )
        .after(&[100])
        .says("hello"),
        served(
            rule,
            "100-continue of a chunked body",
            post(
                "transfer-encoding: chunked\r\nexpect: 100-continue\r\n",
                "5\r\nhello\r\n0\r\n\r\n",
            ),
        )
        .after(&[100])
        .says("hello"),
        served(
            rule,
            "100-continue without a body",
            expecting("100-continue", ""),
        ),
        served(
            rule,
            "100-continue of a GET",
            get("expect: 100-continue\r\n"),
        ),
        last(
            rule,
            200,
            "100-continue of HTTP/1.0",
            "POST /echo HTTP/1.0\r\ncontent-length: 5\r\nexpect: 100-continue\r\n\r\nhello",
        )
        .says("hello"),
        last(
            rule,
            404,
            "a final answer without a 100",
            "POST /nowhere HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\nexpect: 100-continue\r\n\r\n",
        )
        .not_with(&READS_FIRST),
        last(
            rule,
            200,
            "an answer of a route that reads no body",
            "POST /hello HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\nexpect: 100-continue\r\n\r\n",
        )
        .not_with(&READS_FIRST),
        refused(
            rule,
            417,
            "another expectation",
            expecting("200-ok", "hello"),
        ),
        refused(
            rule,
            417,
            "two expectations",
            expecting("100-continue, x", "hello"),
        ),
        refused(
            rule,
            417,
            "two fields",
            expecting("100-continue\r\nexpect: x", "hello"),
        ),
        refused(rule, 417, "an empty expectation", expecting("", "hello")),
        refused(
            rule,
            417,
            "an expectation with a parameter",
            expecting("100-continue;x=y", "hello"),
        ),
        refused(
            rule,
            417,
            "another expectation without a body",
            get("expect: x\r\n"),
        ),
        refused(
            rule,
            413,
            "too large a body is not asked for",
            post("content-length: 3000000\r\nexpect: 100-continue\r\n", ""),
        ),
    ]
}
