//! The request line and the ends of lines (RFC 9112 sections 2.2, 2.3 and 3).

use super::case::{Case, answered, get, last, refused, served};

pub(super) fn cases() -> Vec<Case> {
    [
        ends_of_lines(),
        request_lines(),
        versions(),
        methods(),
        targets(),
    ]
    .concat()
}

fn line(line: &str) -> Vec<u8> {
    format!("{line}\r\nhost: a\r\n\r\n").into_bytes()
}

fn ends_of_lines() -> Vec<Case> {
    let rule = "9112 2.2";
    vec![
        served(
            rule,
            "one empty line before the request",
            "\r\nGET /hello HTTP/1.1\r\nhost: a\r\n\r\n",
        ),
        refused(
            rule,
            400,
            "two empty lines before the request",
            "\r\n\r\nGET /hello HTTP/1.1\r\nhost: a\r\n\r\n",
        ),
        refused(
            rule,
            400,
            "an LF before the request",
            "\nGET /hello HTTP/1.1\r\nhost: a\r\n\r\n",
        ),
        refused(
            rule,
            400,
            "a CR before the request",
            "\rGET /hello HTTP/1.1\r\nhost: a\r\n\r\n",
        ),
        refused(
            rule,
            400,
            "CR LF LF before the request",
            "\r\n\nGET /hello HTTP/1.1\r\nhost: a\r\n\r\n",
        ),
        refused(
            rule,
            400,
            "a blank before the request",
            " GET /hello HTTP/1.1\r\nhost: a\r\n\r\n",
        ),
        refused(
            rule,
            400,
            "a tab before the request",
            "\tGET /hello HTTP/1.1\r\nhost: a\r\n\r\n",
        ),
        refused(
            rule,
            400,
            "LF after the request line",
            "GET /hello HTTP/1.1\nhost: a\r\n\r\n",
        ),
        refused(
            rule,
            400,
            "LF after a field",
            "GET /hello HTTP/1.1\r\nhost: a\nx: 1\r\n\r\n",
        ),
        refused(
            rule,
            400,
            "LF after the last field",
            "GET /hello HTTP/1.1\r\nhost: a\n\r\n",
        ),
        refused(
            rule,
            400,
            "LF for the empty line",
            "GET /hello HTTP/1.1\r\nhost: a\r\n\n",
        ),
        refused(
            rule,
            400,
            "LF everywhere",
            "GET /hello HTTP/1.1\nhost: a\n\n",
        ),
        refused(
            rule,
            400,
            "LF that hides a request",
            "GET /hello HTTP/1.1\r\nhost: a\r\nx: y\n\nGET /pid HTTP/1.1\r\nhost: a\r\n\r\n",
        ),
        refused(
            rule,
            400,
            "LF in a value that hides a length",
            "GET / HTTP/1.1\r\nhost: x\r\nnewline: a\ncontent-length: 26\r\nGET / HTTP/1.1\nhost: x\r\n\r\n",
        ),
        refused(
            rule,
            400,
            "CR alone after the request line",
            "GET /hello HTTP/1.1\rhost: a\r\n\r\n",
        ),
        refused(rule, 400, "CR alone in a value", get("x: a\rb\r\n")),
        refused(rule, 400, "CR at the end of a value", get("x: a\r\r\n")),
        refused(rule, 400, "CR alone between fields", get("x: a\ry: b\r\n")),
        refused(
            rule,
            400,
            "CR CR LF for the empty line",
            "GET /hello HTTP/1.1\r\nhost: a\r\n\r\r\n",
        ),
        refused(rule, 400, "LF CR between fields", get("x: a\n\ry: b\r\n")),
        refused(
            "9112 2.2",
            400,
            "a blank between request line and first field",
            "GET /hello HTTP/1.1\r\n host: a\r\n\r\n",
        ),
        refused(
            "9112 2.2",
            400,
            "a blank line of spaces after the request line",
            "GET /hello HTTP/1.1\r\n \r\nhost: a\r\n\r\n",
        ),
        refused(
            "9112 2.2",
            400,
            "TLS",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n".as_slice(),
        ),
        refused(
            "9112 2.2",
            400,
            "bytes that mean nothing",
            b"\x80\x81\x00\xff\r\n\r\n".as_slice(),
        ),
        refused(
            "9112 2.2",
            400,
            "the PROXY protocol of a proxy that is not trusted",
            "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\nGET /hello HTTP/1.1\r\nhost: a\r\n\r\n",
        ),
    ]
}

fn request_lines() -> Vec<Case> {
    let rule = "9112 3";
    let mut cases: Vec<Case> = [
        ("nothing but a method", "GET"),
        ("no target", "GET HTTP/1.1"),
        ("no target and two blanks", "GET  HTTP/1.1"),
        ("no version", "GET /hello"),
        ("no version but a blank", "GET /hello "),
        ("two blanks after the method", "GET  /hello HTTP/1.1"),
        ("two blanks after the target", "GET /hello  HTTP/1.1"),
        ("a blank at the end", "GET /hello HTTP/1.1 "),
        ("a tab at the end", "GET /hello HTTP/1.1\t"),
        ("a tab after the method", "GET\t/hello HTTP/1.1"),
        ("a tab after the target", "GET /hello\tHTTP/1.1"),
        ("a blank in the target", "GET /he llo HTTP/1.1"),
        ("a fourth word", "GET /hello HTTP/1.1 x"),
        ("a vertical tab for a blank", "GET\u{b}/hello HTTP/1.1"),
        ("a form feed for a blank", "GET /hello\u{c}HTTP/1.1"),
        ("a field instead of a request line", "host: a"),
        ("an answer instead of a request", "HTTP/1.1 200 OK"),
        ("a colon after the method", "GET: /hello HTTP/1.1"),
    ]
    .into_iter()
    .map(|(name, text)| refused(rule, 400, name, line(text)))
    .collect();
    cases.push(refused(
        rule,
        400,
        "the request line in three lines",
        "GET\n/\nHTTP/1.1\r\n\r\n",
    ));
    cases.push(refused(
        rule,
        400,
        "NUL after the method",
        line("GET\0 /hello HTTP/1.1"),
    ));
    cases.push(refused(
        rule,
        400,
        "NUL for the blank",
        line("GET\0/hello HTTP/1.1"),
    ));
    cases
}

fn versions() -> Vec<Case> {
    let rule = "9112 2.3";
    let malformed = [
        "HTTP/1",
        "HTTP/1.",
        "HTTP/.1",
        "HTTP/11",
        "HTTP/111",
        "HTTP/1.10",
        "HTTP/1.01",
        "HTTP/01.1",
        "HTTP/0.99",
        "HTTP/1,1",
        "HTTP /1.1",
        "HTTP/ 1.1",
        "HTTP/1. 1",
        "http/1.1",
        "Http/1.1",
        "hTTP/1.1",
        "HTTP1.1",
        "HTTP-1.1",
        "HTTPS/1.1",
        "HTP/1.1",
        "FTP/1.1",
        "HTTP/x.y",
        "HTTP/1.x",
        "HTTP/1.1x",
        "HTTP/-1.1",
        "HTTP/+1.1",
        "ICY",
        "1.1",
        "HTTP/1.1;q=1",
        "HTTP/1111111111111111111111111111.1",
    ];
    let unknown = [
        "HTTP/0.9", "HTTP/1.2", "HTTP/1.9", "HTTP/2.0", "HTTP/2.1", "HTTP/3.0", "HTTP/9.9",
        "HTTP/0.0",
    ];
    let request = |version: &str| line(&format!("GET /hello {version}"));
    let malformed = malformed
        .iter()
        .map(|version| refused(rule, 400, *version, request(version)));
    let unknown = unknown
        .iter()
        .map(|version| refused("9110 15.6.6", 505, *version, request(version)));
    let mut cases: Vec<Case> = malformed.chain(unknown).collect();
    cases.push(served(rule, "HTTP/1.1", request("HTTP/1.1")));
    cases.push(last(rule, 200, "HTTP/1.0", request("HTTP/1.0")));
    cases.push(refused(
        rule,
        505,
        "almost the preface of HTTP/2",
        "PRI * HTTP/2.0\r\n\r\nSM\r\r\n\r\n",
    ));
    cases
}

fn methods() -> Vec<Case> {
    let rule = "9110 9.1";
    let echo = |method: &str| line(&format!("{method} /echo HTTP/1.1"));
    let mut cases: Vec<Case> = [
        "GET",
        "POST",
        "PUT",
        "PATCH",
        "DELETE",
        "OPTIONS",
        "get",
        "PROPFIND",
        "BASELINE-CONTROL",
        "M-SEARCH",
        "X",
        "!#$%&'*+-.^_`|~",
    ]
    .into_iter()
    .map(|method| served(rule, format!("the method {method}"), echo(method)))
    .collect();
    cases.extend(
        [
            "G(ET",
            "GE)T",
            "G,ET",
            "G/ET",
            "G:ET",
            "G;ET",
            "G<ET",
            "G=ET",
            "G?ET",
            "G@ET",
            "G[ET",
            "G\\ET",
            "G{ET",
            "\"GET\"",
            "G\u{7f}ET",
            "GÉT",
        ]
        .map(|method| refused(rule, 400, format!("no method: {method:?}"), echo(method))),
    );
    cases.push(refused(
        "9112 3",
        501,
        "a method that is too long",
        echo(&"A".repeat(33)),
    ));
    cases.push(refused(
        "9112 3",
        501,
        "a method that is much too long",
        echo(&"A".repeat(20_000)),
    ));
    cases.push(served("9112 3", "a long method", echo(&"A".repeat(32))));
    cases.push(refused(
        "9110 9.3.6",
        501,
        "CONNECT",
        "CONNECT a:443 HTTP/1.1\r\nhost: a:443\r\n\r\n",
    ));
    cases.push(refused(
        "9110 9.3.6",
        501,
        "CONNECT to an address",
        "CONNECT [::1]:443 HTTP/1.1\r\nhost: [::1]:443\r\n\r\n",
    ));
    cases.push(refused(
        "9110 9.3.6",
        501,
        "CONNECT with a path",
        "CONNECT /hello HTTP/1.1\r\nhost: a\r\n\r\n",
    ));
    cases.push(
        refused("9110 9.3.8", 501, "TRACE", line("TRACE /headers HTTP/1.1")).never_says("TRACE"),
    );
    cases.push(answered(
        rule,
        405,
        "a method that the route does not take",
        line("DELETE /hello HTTP/1.1"),
    ));
    cases
}

fn targets() -> Vec<Case> {
    let rule = "9112 3.2";
    let to = |target: &str| line(&format!("GET {target} HTTP/1.1"));
    let mut cases: Vec<Case> = vec![
        served(rule, "a query", to("/headers?a=b&c=d")).says("\"query\":\"a=b&c=d\""),
        served(rule, "an empty query", to("/headers?")),
        served(rule, "a question mark in the query", to("/headers?a?b")).says("a?b"),
        served(
            rule,
            "what browsers leave in a query",
            to("/headers?a=`{}|^[]\\\'!$*()~"),
        ),
        served(rule, "an encoded path", to("/%68eaders")).says("\"path\":\"/headers\""),
        served(rule, "a half-encoded query", to("/headers?a=100%")).says("100%"),
        served(
            "9112 3.2.2",
            "an absolute target",
            to("http://a/headers?x=y"),
        )
        .says("\"query\":\"x=y\""),
        served(
            "9112 3.2.2",
            "an absolute target without a path",
            to("http://a"),
        ),
        served(
            "9112 3.2.2",
            "an absolute target with the port of its scheme",
            to("http://a:80/headers"),
        ),
        served(
            "9112 3.2.2",
            "an absolute target in capitals",
            to("HTTP://A/headers"),
        ),
        refused(
            "9110 7.4",
            421,
            "an absolute https target on a connection that is not encrypted",
            to("https://a/headers"),
        ),
        served(
            "9112 3.2.2",
            "an absolute target that is an address",
            "GET http://[::1]:8080/headers HTTP/1.1\r\nhost: [::1]:8080\r\n\r\n",
        ),
        answered(
            "9112 3.2.4",
            204,
            "OPTIONS *",
            "OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n",
        ),
        refused(
            "9112 3",
            414,
            "a target that is too long",
            to(&format!("/{}", "a".repeat(8192))),
        ),
        refused(
            "9112 3",
            414,
            "a query that is too long",
            to(&format!("/?{}", "a".repeat(8192))),
        ),
        refused(
            "9112 3",
            414,
            "a target that is much too long",
            to(&format!("/{}", "a".repeat(200_000))),
        ),
        answered(
            "9112 3",
            404,
            "a long target",
            to(&format!("/{}", "a".repeat(8191))),
        ),
    ];
    cases.extend(
        [
            ("a relative path", "hello"),
            ("a relative path with slashes", "hello/x"),
            ("a query only", "?a"),
            ("a fragment", "/hello#a"),
            ("a fragment only", "#"),
            ("a fragment after a query", "/hello?a#b"),
            ("a fragment of an absolute target", "http://a/hello#b"),
            ("`<` in the path", "/he<llo"),
            ("`>` in the query", "/hello?>"),
            ("a backquote in the path", "/he`llo"),
            ("a quote in the query", "/hello?\""),
            ("DEL in the path", "/he\u{7f}llo"),
            ("a control character in the path", "/he\u{1}llo"),
            ("NUL in the path", "/he\0llo"),
            ("an escape in the query", "/hello?\u{1b}[1m"),
            ("UTF-8 in the path", "/é"),
            ("UTF-8 in the query", "/hello?é"),
            ("`*` with GET", "*"),
            ("`*` in an absolute target", "http://*"),
            ("`**`", "**"),
            ("an authority with GET", "a:80"),
            ("an authority that is an address", "[::1]:80"),
            ("a host without a port", "a.example"),
            ("a scheme that is none of ours", "ftp://a/hello"),
            ("a scheme of one letter", "s://]ufd/:"),
            ("a file", "file:///etc/passwd"),
            ("a scheme without an authority", "http:/hello"),
            ("a scheme with an empty authority", "http:///hello"),
            ("a scheme only", "http://"),
            ("a name before the host", "http://user@a/hello"),
            (
                "a name and a password before the host",
                "http://user:secret@a/hello",
            ),
            ("an empty name before the host", "http://@a/hello"),
            ("a port that is no number", "http://a:b/hello"),
            ("a script", "javascript:alert(1)"),
        ]
        .map(|(name, target)| refused(rule, 400, name, to(target))),
    );
    cases.push(refused(
        rule,
        400,
        "a byte that is no UTF-8 in the path",
        b"GET /\xe9 HTTP/1.1\r\nhost: a\r\n\r\n".as_slice(),
    ));
    // These are targets, but their paths have more than one reading: the guard refuses them.
    cases.extend(
        [
            ("a percent sign", "/%"),
            ("half an encoding", "/%4"),
            ("an encoding that is none", "/%zz"),
            ("an encoded slash", "/a%2fb"),
            ("an encoded NUL", "/a%00b"),
            ("an encoded CR LF", "/a%0d%0ab"),
            ("a backslash", "/a\\b"),
            ("dot segments", "/a/../hello"),
            ("encoded dot segments", "/a/%2e%2e/hello"),
            ("an empty segment", "//hello"),
            ("an overlong encoding", "/%c0%ae"),
        ]
        .map(|(name, target)| answered("9110 4.2.3", 400, name, to(target))),
    );
    cases
}
