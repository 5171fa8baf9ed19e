//! Files as answers: which are found, what is said of them, parts of them, and what a slow or greedy client costs.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::support::plain::{ask, head};
use crate::support::server::{Server, Setup};
use crate::support::{eventually, os, timed};

/// What `site/` has in it, and what is beside it.
fn site(folder: &Path) -> PathBuf {
    let site = folder.join("site");
    fs::create_dir_all(site.join("docs")).unwrap();
    for (name, text) in [
        ("a.txt", "0123456789"),
        ("index.html", "<p>root"),
        ("docs/index.html", "<p>docs"),
        ("app.js", "let plain"),
        ("app.js.br", "as br"),
        ("app.js.gz", "as gzip"),
        ("app.js.zst", "as zstd"),
        ("only.css", "a{}"),
        ("only.css.gz", "gz"),
        ("ä b.txt", "umlaut"),
        (".env", "secret"),
        ("unknown", "?"),
        ("empty.txt", ""),
        ("docs/.git", "secret"),
    ] {
        fs::write(site.join(name), text).unwrap();
    }
    fs::write(folder.join("outside.txt"), "outside").unwrap();
    symlink(folder.join("outside.txt"), site.join("link.txt")).unwrap();
    symlink("nowhere", site.join("broken")).unwrap();
    mkfifo(&site.join("pipe"), Mode::S_IRWXU).unwrap();
    site
}

fn folder(path: &str, folder: &str, keys: &str) -> toml::Value {
    let text = format!("path = \"{path}\"\nfolder = \"{folder}\"\n{keys}");
    toml::Value::Table(text.parse().unwrap())
}

fn serving(folders: Vec<toml::Value>) -> Setup {
    let setup = Setup::new();
    site(setup.folder());
    setup.set("http.static", folders)
}

fn start() -> Server {
    serving(vec![folder("/assets/", "site", "")]).start()
}

#[test]
fn a_file_is_found_by_its_path_and_nothing_else_is() {
    let server = start();
    for (target, status, text) in [
        ("/assets/a.txt", 200, "0123456789"),
        ("/assets/a.txt?v=3", 200, "0123456789"),
        ("/assets/%61.txt", 200, "0123456789"),
        ("/assets/%C3%A4%20b.txt", 200, "umlaut"),
        ("/assets/", 200, "<p>root"),
        ("/assets/docs/", 200, "<p>docs"),
        ("/assets/link.txt", 200, "outside"),
        ("/assets/empty.txt", 200, ""),
        ("/assets/docs", 307, ""),
        ("/assets/a.txt/", 404, "not_found"),
        ("/assets/a.txt/b", 404, "not_found"),
        ("/assets/missing", 404, "not_found"),
        ("/assets/broken", 404, "not_found"),
        ("/assets/pipe", 404, "not_found"),
        ("/assets/.env", 404, "not_found"),
        ("/assets/%2eenv", 404, "not_found"),
        ("/assets/docs/.git", 404, "not_found"),
        ("/assets/.git/config", 404, "not_found"),
        ("/assets/app.js.br/", 404, "not_found"),
        ("/assets/../outside.txt", 400, ""),
        ("/assets/%2e%2e/outside.txt", 400, ""),
        ("/assets/docs/..%2f..%2foutside.txt", 400, ""),
        ("/assets/..%5coutside.txt", 400, ""),
        ("/assets/a.txt%00", 400, ""),
        ("/assets/%252e%252e/outside.txt", 400, ""),
        ("/assets//etc/passwd", 400, ""),
        // What is not under the prefix is the application's.
        ("/assets", 404, "Not found"),
        ("/hello", 200, "hello"),
    ] {
        let answer = ask(&server, &format!("GET {target}"), &[]);
        assert_eq!(answer.status, status, "{target}: {answer:?}");
        assert!(answer.text().contains(text), "{target}: {answer:?}");
        assert!(!answer.text().contains("secret"), "{target}");
        if target.starts_with("/assets/") && status != 400 {
            assert_eq!(
                answer.field("x-content-type-options"),
                Some("nosniff"),
                "{target}"
            );
        }
    }
    let redirect = ask(&server, "GET /assets/docs?a=1", &[]);
    assert_eq!(redirect.field("location"), Some("/assets/docs/?a=1"));
    let long = format!("GET /assets/{}", "x".repeat(300));
    assert_eq!(ask(&server, &long, &[]).status, 404);
}

#[test]
fn types_come_with_their_charset_and_fields_are_as_they_were_asked_for() {
    let server = serving(vec![
        folder("/assets/", "site", "cache_control = \"public, max-age=60\""),
        folder("/assets/docs/", "site", "index = false\nprecompressed = []"),
    ])
    .start();
    for (name, kind) in [
        ("a.txt", "text/plain; charset=utf-8"),
        ("index.html", "text/html; charset=utf-8"),
        ("app.js", "text/javascript; charset=utf-8"),
        ("only.css", "text/css; charset=utf-8"),
        ("unknown", "application/octet-stream"),
    ] {
        let answer = ask(&server, &format!("GET /assets/{name}"), &[]);
        assert_eq!(answer.field("content-type"), Some(kind), "{name}");
        assert_eq!(answer.field("cache-control"), Some("public, max-age=60"));
        assert_eq!(answer.field("vary"), Some("accept-encoding"));
        assert_eq!(answer.field("accept-ranges"), Some("bytes"));
        assert!(answer.field("etag").is_some() && answer.field("last-modified").is_some());
        assert!(answer.field("x-request-id").is_some());
        assert_eq!(answer.field("server"), None);
    }
    // The longest prefix decides, whatever comes first.
    assert_eq!(ask(&server, "GET /assets/docs/", &[]).status, 404);
    let plain = ask(&server, "GET /assets/docs/app.js", &["accept-encoding: br"]);
    assert_eq!(plain.text(), "let plain");
    assert_eq!(
        (plain.field("vary"), plain.field("cache-control")),
        (None, None)
    );
}

#[test]
fn only_get_and_head_are_for_files() {
    let server = start();
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        let answer = ask(
            &server,
            &format!("{method} /assets/a.txt"),
            &["content-length: 0"],
        );
        assert_eq!(answer.status, 405, "{method}");
        assert_eq!(answer.field("allow"), Some("GET, HEAD"), "{method}");
        assert_eq!(answer.field("x-content-type-options"), Some("nosniff"));
    }
    let (get, alone) = (
        ask(&server, "GET /assets/a.txt", &[]),
        ask(&server, "HEAD /assets/a.txt", &[]),
    );
    assert_eq!((alone.status, alone.text().as_str()), (200, ""));
    for name in [
        "content-length",
        "content-type",
        "etag",
        "last-modified",
        "vary",
    ] {
        assert!(get.field(name).is_some(), "{name}");
        assert_eq!(get.field(name), alone.field(name), "{name}");
    }
    assert_eq!(ask(&server, "HEAD /assets/missing", &[]).text(), "");
    // The body of a GET is nobody's, and what follows it is still understood.
    let mut stream = server.connect();
    let request = "GET /assets/a.txt HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc";
    for _ in 0..2 {
        stream.write_all(request.as_bytes()).unwrap();
        assert!(head(&mut stream).starts_with("HTTP/1.1 200 "));
        stream.read_exact(&mut [0; 10]).unwrap();
    }
}

#[test]
fn a_compressed_file_beside_it_is_sent_to_who_accepts_it() {
    let server = start();
    for (name, accepted, coding, text) in [
        ("app.js", "", None, "let plain"),
        ("app.js", "gzip", Some("gzip"), "as gzip"),
        ("app.js", "br, gzip;q=0.5", Some("br"), "as br"),
        ("app.js", "zstd", Some("zstd"), "as zstd"),
        ("app.js", "gzip;q=0", None, "let plain"),
        ("app.js", "identity, *;q=0", None, "let plain"),
        ("only.css", "br, gzip;q=0.1", Some("gzip"), "gz"),
        ("only.css", "br", None, "a{}"),
    ] {
        let field = format!("accept-encoding: {accepted}");
        let answer = ask(&server, &format!("GET /assets/{name}"), &[&field]);
        assert_eq!(
            answer.field("content-encoding"),
            coding,
            "{name} {accepted}"
        );
        assert_eq!(answer.text(), text, "{name} {accepted}");
        assert_eq!(answer.field("vary"), Some("accept-encoding"));
        let is_css = name.ends_with("css");
        let kind = if is_css {
            "text/css"
        } else {
            "text/javascript"
        };
        let kind = format!("{kind}; charset=utf-8");
        assert_eq!(answer.field("content-type"), Some(kind.as_str()));
    }
}

#[test]
fn conditions_and_ranges_are_judged_by_validators_that_the_file_has() {
    let server = start();
    let whole = ask(&server, "GET /assets/a.txt", &[]);
    let (etag, date) = (
        whole.field("etag").unwrap(),
        whole.field("last-modified").unwrap(),
    );
    let old = "Sun, 06 Nov 1994 08:49:37 GMT";
    let of = |name: &str, value: &str| format!("{name}: {value}");
    let range = |value: &str| of("range", &format!("bytes={value}"));
    // RFC 9110 sections 13.1, 13.2.2 and 14.
    for (fields, status, text) in [
        (vec![of("if-none-match", etag)], 304, ""),
        (vec![of("if-none-match", &format!("W/{etag}"))], 304, ""),
        (
            vec![of("if-none-match", &format!("\"x\", {etag}"))],
            304,
            "",
        ),
        (vec![of("if-none-match", "*")], 304, ""),
        (vec![of("if-none-match", "\"x\"")], 200, "0123456789"),
        (vec![of("if-modified-since", date)], 304, ""),
        (vec![of("if-modified-since", old)], 200, "0123456789"),
        (vec![of("if-modified-since", "no date")], 200, "0123456789"),
        (
            vec![of("if-none-match", "\"x\""), of("if-modified-since", date)],
            200,
            "0123456789",
        ),
        (vec![of("if-match", etag)], 200, "0123456789"),
        (vec![of("if-match", "\"x\"")], 412, ""),
        (vec![of("if-match", &format!("W/{etag}"))], 412, ""),
        (vec![of("if-unmodified-since", date)], 200, "0123456789"),
        (vec![of("if-unmodified-since", old)], 412, ""),
        (vec![range("0-3")], 206, "0123"),
        (vec![range("4-")], 206, "456789"),
        (vec![range("-3")], 206, "789"),
        (vec![range("8-99")], 206, "89"),
        (vec![range("-10")], 206, "0123456789"),
        (vec![range("-11")], 206, "0123456789"),
        (vec![range("-99999999999999999999")], 206, "0123456789"),
        (vec![range("-0")], 416, ""),
        (vec![range("-03")], 206, "789"),
        (vec![range("00-03")], 206, "0123"),
        (vec![range("8-099")], 206, "89"),
        (vec![range("8-99999999999999999999")], 206, "89"),
        (vec![range(",0-1, ,")], 206, "01"),
        (
            vec![range("-11"), of("if-range", "\"x\"")],
            200,
            "0123456789",
        ),
        (
            vec![of("if-none-match", "\"x\""), of("if-none-match", etag)],
            304,
            "",
        ),
        (
            vec![of("if-match", "\"x\""), of("if-match", etag)],
            200,
            "0123456789",
        ),
        (
            vec![of("if-modified-since", date), of("if-modified-since", old)],
            200,
            "0123456789",
        ),
        (
            vec![
                of("if-unmodified-since", old),
                of("if-unmodified-since", old),
            ],
            200,
            "0123456789",
        ),
        (vec![range("10-")], 416, ""),
        (vec![range("5-3")], 416, ""),
        (vec![range("0-1,4-5")], 200, "0123456789"),
        (vec![of("range", "lines=1-2")], 200, "0123456789"),
        (vec![of("range", "BYTES=0-1")], 206, "01"),
        (vec![range("0-3"), of("if-range", etag)], 206, "0123"),
        (vec![range("0-3"), of("if-range", date)], 206, "0123"),
        (
            vec![range("0-3"), of("if-range", "\"x\"")],
            200,
            "0123456789",
        ),
        (
            vec![range("0-3"), of("if-range", &format!("W/{etag}"))],
            200,
            "0123456789",
        ),
        (vec![range("0-3"), of("if-range", old)], 200, "0123456789"),
        (
            vec![range("99-"), of("if-range", "\"x\"")],
            200,
            "0123456789",
        ),
        (vec![range("0-3"), of("if-none-match", etag)], 304, ""),
    ] {
        let borrowed: Vec<&str> = fields.iter().map(String::as_str).collect();
        let answer = ask(&server, "GET /assets/a.txt", &borrowed);
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (status, text),
            "{fields:?}"
        );
        if status == 206 || status == 304 || status == 200 {
            assert_eq!(answer.field("etag"), Some(etag), "{fields:?}");
            assert_eq!(answer.field("last-modified"), Some(date), "{fields:?}");
        }
        match status {
            206 => assert!(answer.field("content-range").unwrap().ends_with("/10")),
            416 => assert_eq!(answer.field("content-range"), Some("bytes */10")),
            _ => assert_eq!(answer.field("content-range"), None, "{fields:?}"),
        }
    }
    // Ranges are for GET only.
    let head = ask(&server, "HEAD /assets/a.txt", &[&range("0-3")]);
    assert_eq!(
        (head.status, head.field("content-length")),
        (200, Some("10"))
    );
    for part in ["0-3", "-1"] {
        let empty = ask(&server, "GET /assets/empty.txt", &[&range(part)]);
        assert_eq!((empty.status, empty.field("content-range")), (200, None));
    }
}

#[test]
fn a_file_that_changes_has_another_tag() {
    let server = start();
    let file = server.folder().join("site/a.txt");
    let before = ask(&server, "GET /assets/a.txt", &[]);
    fs::File::options()
        .write(true)
        .open(&file)
        .unwrap()
        .set_modified(UNIX_EPOCH + Duration::from_secs(1_000_000_000))
        .unwrap();
    let after = ask(&server, "GET /assets/a.txt", &[]);
    assert_ne!(before.field("etag"), after.field("etag"));
    assert_eq!(
        after.field("last-modified"),
        Some("Sun, 09 Sep 2001 01:46:40 GMT")
    );
}

#[test]
fn rules_are_for_files_as_for_everything_else() {
    let mut setup = serving(vec![folder("/assets/", "site", "")]);
    setup.config.set_auth(
        "[[auth.rule]]\npath = \"/assets/docs/**\"\naccess = \"public\"\nmethods = [\"GET\"]\n",
    );
    let server = setup.start();
    assert_eq!(ask(&server, "GET /assets/docs/", &[]).status, 200);
    assert_eq!(ask(&server, "HEAD /assets/docs/", &[]).status, 200);
    for line in [
        "GET /assets/a.txt",
        "GET /assets/",
        "POST /assets/docs/",
        "GET /assets/missing",
    ] {
        let status = ask(&server, line, &[]).status;
        assert!([401, 403].contains(&status), "{line}: {status}");
    }
}

#[test]
fn what_is_no_file_goes_on_to_the_application_where_that_is_asked_for() {
    let server = serving(vec![folder("/", "site", "fallthrough = true")]).start();
    for (line, status, text) in [
        ("GET /a.txt", 200, "0123456789"),
        ("GET /", 200, "<p>root"),
        ("GET /hello", 200, "hello"),
        ("POST /hello", 200, "hello"),
        ("POST /a.txt", 404, "Not found"),
        ("GET /.env", 404, "Not found"),
        ("GET /missing", 404, "Not found"),
    ] {
        let answer = ask(&server, line, &["content-length: 0"]);
        assert_eq!(answer.status, status, "{line}: {answer:?}");
        assert!(answer.text().contains(text), "{line}: {answer:?}");
    }
}

#[test]
fn a_file_that_may_not_be_read_is_not_found_and_the_log_says_why() {
    if nix::unistd::geteuid().is_root() {
        // Root may read everything.
        return;
    }
    let server = start();
    let file = server.folder().join("site/a.txt");
    fs::set_permissions(file, fs::Permissions::from_mode(0o000)).unwrap();
    let mark = server.log.mark();
    assert_eq!(ask(&server, "GET /assets/a.txt", &[]).status, 404);
    server.wait_for_log(mark, "a file cannot be read");
}

#[test]
fn a_folder_that_is_missing_stops_the_start_and_a_reload_but_not_what_serves() {
    let server = start();
    fs::rename(server.folder().join("site"), server.folder().join("moved")).unwrap();
    let reload = server.cli(["reload"]);
    assert_eq!(reload.code, Some(1), "{reload:?}");
    assert!(
        reload.stderr.contains("http.static[0].folder"),
        "{reload:?}"
    );
    assert_eq!(ask(&server, "GET /hello", &[]).status, 200);
    assert_eq!(ask(&server, "GET /assets/a.txt", &[]).status, 404);
    let check = server.cli(["check"]);
    assert_eq!(check.code, Some(2), "{check:?}");
    fs::rename(server.folder().join("moved"), server.folder().join("site")).unwrap();
    server.reload();
    assert_eq!(ask(&server, "GET /assets/a.txt", &[]).status, 200);
}

#[test]
fn a_long_download_outlives_the_request_timeout_and_a_stalled_one_is_cut() {
    let setup = serving(vec![folder("/assets/", "site", "")])
        .set("workers.count", 1)
        .set("http.request_timeout", "200ms")
        .set("http.write_timeout", "1s");
    let size = 40_000_000;
    fs::write(setup.folder().join("site/large.bin"), vec![7; size]).unwrap();
    let server = setup.start();
    let worker = server.pids()[0];
    let open = || os::descriptors(worker);
    ask(&server, "GET /assets/a.txt", &[]);
    let before = open();
    let mut slow = server.connect();
    let request = "GET /assets/large.bin HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    slow.write_all(request.as_bytes()).unwrap();
    // It is read for longer than a request may take.
    let (mut got, mut buffer) = (0, vec![0; 1 << 20]);
    let ((), took) = timed(|| {
        let mut last = Duration::ZERO;
        while last < Duration::from_millis(500) && got < size / 2 {
            let (count, took) = timed(|| slow.read(&mut buffer[..4096]).unwrap());
            (got, last) = (got + count, last + took);
        }
    });
    assert!(took < Duration::from_secs(20));
    let mut stalled = server.connect();
    stalled.write_all(request.as_bytes()).unwrap();
    // Others are answered meanwhile, and files too.
    assert_eq!(ask(&server, "GET /hello", &[]).status, 200);
    assert_eq!(ask(&server, "GET /assets/a.txt", &[]).status, 200);
    loop {
        match slow.read(&mut buffer).unwrap() {
            0 => break,
            count => got += count,
        }
    }
    assert!(got > size, "{got}");
    // The stalled one has gone, and so have the descriptors of both.
    eventually("descriptors are free again", || {
        (open() <= before).then_some(())
    });
    let mut rest = Vec::new();
    let _reset = stalled.read_to_end(&mut rest);
    assert!(rest.len() < size, "{}", rest.len());
}

/// Those of the descriptors that are left are for what a request needs.
#[test]
fn idle_connections_that_hold_all_they_can_leave_descriptors_for_files() {
    let server = serving(vec![folder("/assets/", "site", "")])
        .set("workers.count", 1)
        .under(&["prlimit", "--nofile=60"])
        .start();
    let mark = server.log.mark();
    let mut streams: Vec<_> = (0..80).map(|_| server.connect()).collect();
    let line = server.wait_for_log(mark, "new connections wait");
    let reason = line["reason"].as_str().unwrap();
    assert!(reason.starts_with("all but 7 of 60 descriptors"), "{line}");
    for stream in streams.iter_mut().take(4) {
        let answer = ask_for_file(stream);
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
}

/// As it is with the application: whoever asks again in a moment may have more luck.
#[test]
fn a_file_for_which_no_descriptor_is_left_is_a_503() {
    let server = serving(vec![folder("/assets/", "site", "")])
        .set("workers.count", 1)
        .start();
    let worker = server.pids()[0];
    let mut stream = server.connect();
    let answer = ask_for_file(&mut stream);
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let mark = server.log.mark();
    os::limit_descriptors(worker, 3);
    let answer = ask_for_file(&mut stream);
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.contains("\r\nretry-after: 1\r\n"), "{answer}");
    let line = server.wait_for_log(mark, "a file cannot be read");
    assert!(
        line["error"].as_str().unwrap().contains("Too many open"),
        "{line}"
    );
    os::limit_descriptors(worker, 1024);
    let answer = ask_for_file(&mut stream);
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

fn ask_for_file(stream: &mut TcpStream) -> String {
    stream
        .write_all(b"GET /assets/a.txt HTTP/1.1\r\nhost: test\r\n\r\n")
        .unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"}") && !answer.ends_with(b"0123456789") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        answer.push(byte[0]);
    }
    String::from_utf8(answer).unwrap()
}
