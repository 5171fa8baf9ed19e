//! The access log: every request has its line, nothing forges one, and nobody who does not take lines holds anything up.

use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::thread;

use destrier::sys::clock;
use jsonwebtoken::{EncodingKey, Header, encode};
use nix::libc;
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde_json::{Value, json};

use crate::support::client::{self, Blocking};
use crate::support::journal::Mark;
use crate::support::load::{Load, Plan};
use crate::support::server::{Server, Setup};
use crate::support::tls::Authority;
use crate::support::{PATIENCE, eventually, within};

const SECRET: &str = "a secret of thirty-two octets!!!";

const AUTH: &str = r#"
[[auth.issuer]]
name = "main"
secret_file = "secret"
issuer = "https://id.example"
[[auth.rule]]
path = "/me"
query_token = "access_token"
[[auth.rule]]
path = "/**"
access = "public"
"#;

/// One worker whose access log is the file of [`file_of`].
fn to_file(format: &str) -> Setup {
    Setup::new()
        .set("workers.count", 1)
        .set("access_log.enabled", true)
        .set("access_log.to", "access.log")
        .set("access_log.format", format)
}

fn file_of(server: &Server) -> PathBuf {
    server.folder().join("access.log")
}

/// Whole lines of a file.
fn lines(file: &Path) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// Waits until there are so many lines.
#[track_caller]
fn wait_for_lines(server: &Server, count: usize) -> Vec<String> {
    eventually("a line for each request", || {
        let lines = lines(&file_of(server));
        assert!(lines.len() <= count, "{lines:#?}");
        (lines.len() == count).then_some(lines)
    })
}

#[track_caller]
fn wait_for_json(server: &Server, count: usize) -> Vec<Value> {
    let lines = wait_for_lines(server, count);
    lines
        .iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// What is answered to these bytes, up to the end of the connection.
fn exchange(server: &Server, request: &[u8]) -> String {
    let mut stream = server.connect();
    stream.write_all(request).unwrap();
    let mut answer = Vec::new();
    let _reset = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn get(server: &Server, target: &str, fields: &str) -> String {
    let head =
        format!("GET {target} HTTP/1.1\r\nhost: a.example\r\nconnection: close\r\n{fields}\r\n");
    exchange(server, head.as_bytes())
}

fn token() -> String {
    let claims =
        json!({"iss": "https://id.example", "sub": "alice", "exp": clock::unix().as_secs() + 600});
    let key = EncodingKey::from_secret(SECRET.as_bytes()).unwrap();
    encode(&Header::default(), &claims, &key).unwrap()
}

fn with_tokens(mut setup: Setup) -> Setup {
    let secret = setup.folder().join("secret");
    fs::write(&secret, SECRET).unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    setup.config.set_auth(AUTH);
    setup
}

#[test]
fn a_line_of_json_says_what_was_asked_by_whom_and_what_came_of_it() {
    let server = with_tokens(to_file("json"))
        .set("access_log.query", true)
        .start();
    let (target, fields) = (
        format!("/me?a=1&access_token={}", token()),
        "user-agent: test/1\r\nreferer: https://a.example/?access_token=s3cret\r\n",
    );
    let answer = get(&server, &target, fields);
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let [line] = wait_for_json(&server, 1).try_into().unwrap();
    let id = answer
        .lines()
        .find_map(|line| line.strip_prefix("x-request-id: "));
    let body = answer.split_once("\r\n\r\n").unwrap().1;
    for (name, value) in [
        ("request_id", json!(id.unwrap())),
        ("client", json!("127.0.0.1")),
        ("method", json!("GET")),
        ("host", json!("a.example")),
        ("path", json!("/me")),
        ("query", json!("a=1&access_token=[redacted]")),
        ("protocol", json!("HTTP/1.1")),
        ("status", json!(200)),
        ("bytes", json!(body.len())),
        ("queue_us", json!(0)),
        ("worker", json!(1)),
        ("generation", json!(1)),
        ("subject", json!("alice")),
        ("issuer", json!("https://id.example")),
        ("rule", json!("auth.rule[0]: /me")),
        ("refusal", Value::Null),
        ("reason", Value::Null),
        ("user_agent", json!("test/1")),
        (
            "referer",
            json!("https://a.example/?access_token=[redacted]"),
        ),
        ("tls", Value::Null),
        ("aborted", json!(false)),
    ] {
        assert_eq!(line[name], value, "{name}: {line}");
    }
    let fields: Vec<_> = line.as_object().unwrap().keys().cloned().collect();
    assert_eq!(fields.len(), 26, "{fields:?}");
    let time = line["time"].as_str().unwrap();
    assert!(time.ends_with('Z') && time.len() == 24, "{time}");
    let (all, app) = (line["duration_us"].as_u64(), line["app_us"].as_u64());
    assert!(all >= app && app > Some(0), "{line}");
}

#[test]
fn requests_that_are_not_served_have_lines_too() {
    let server = with_tokens(to_file("json"))
        .set("http.request_timeout", "200ms")
        .set("http.header_timeout", "300ms")
        .start();
    let of = |status: &str, answer: String| {
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
    };
    of("401", get(&server, "/me?secret=1", ""));
    of("404", get(&server, "/none", ""));
    of("504", get(&server, "/slow?ms=60000", ""));
    of("400", exchange(&server, b"GET /no-host HTTP/1.1\r\n\r\n"));
    of("414", get(&server, &format!("/{}", "x".repeat(20_000)), ""));
    of("408", exchange(&server, b"GET /late HTTP/1.1\r\nhost: a"));
    let lines = wait_for_json(&server, 6);
    let of = |status: u16| {
        let line = lines.iter().find(|line| line["status"] == status);
        line.unwrap_or_else(|| panic!("no line with {status}: {lines:#?}"))
    };
    let unauthorised = of(401);
    assert_eq!(unauthorised["rule"], "auth.rule[0]: /me");
    assert_eq!(
        unauthorised["refusal"], "not_authenticated",
        "{unauthorised}"
    );
    assert_eq!(unauthorised["query"], Value::Null);
    assert!(unauthorised["reason"].is_string(), "{unauthorised}");
    assert_eq!(of(404)["path"], "/none");
    assert!(of(504)["app_us"].as_u64() >= Some(190_000), "{}", of(504));
    assert_eq!(of(400)["path"], "/no-host");
    assert_eq!(of(400)["refusal"], "invalid_request");
    assert_eq!(of(414)["path"].as_str().unwrap().len(), 1024);
    assert_eq!(of(408)["path"], "/late");
    assert!(
        lines.iter().all(|line| line["aborted"] == false),
        "{lines:#?}"
    );
}

#[test]
fn a_request_that_is_one_too_many_has_its_reason_on_its_line() {
    let mut setup = to_file("json");
    setup
        .config
        .set_auth("[[auth.rule]]\npath = \"/hello\"\naccess = \"public\"\nrate = \"1/day\"\n");
    let server = setup.start();
    assert!(get(&server, "/hello", "").starts_with("HTTP/1.1 200 "));
    assert!(get(&server, "/hello", "").starts_with("HTTP/1.1 429 "));
    let [served, refused] = wait_for_json(&server, 2).try_into().unwrap();
    assert_eq!(served["refusal"], Value::Null, "{served}");
    assert_eq!(refused["status"], 429, "{refused}");
    assert_eq!(refused["refusal"], "throttled", "{refused}");
    let reason = refused["reason"].as_str();
    assert!(
        reason.is_some_and(|it| it.contains("auth.rule[0]")),
        "{refused}"
    );
}

#[test]
fn http_2_and_tls_are_named() {
    let authority = Authority::new();
    let mut setup = to_file("json")
        .set("server.bind", "unix:plain")
        .set("tls.bind", "127.0.0.1:0");
    authority.certify(&["localhost"]).write(setup.folder(), "a");
    setup
        .config
        .set("tls.certificate_file", "a.crt")
        .set("tls.key_file", "a.key");
    let server = setup.start();
    let client::Address::Tcp(encrypted) = server.addresses().remove(1) else {
        panic!("a port was asked for");
    };
    authority.client().get(encrypted, "/hello").unwrap();
    let mut curl = std::process::Command::new("curl");
    curl.args(["--silent", "--http2-prior-knowledge", "--unix-socket"])
        .arg(server.folder().join("plain"))
        .arg("http://b.example/hello?x=1");
    assert!(curl.output().unwrap().status.success());
    let lines = wait_for_json(&server, 2);
    assert_eq!(
        (&lines[0]["tls"], &lines[0]["protocol"]),
        (&json!("1.3"), &json!("HTTP/1.1"))
    );
    assert_eq!(
        (&lines[1]["tls"], &lines[1]["protocol"]),
        (&Value::Null, &json!("HTTP/2"))
    );
    assert_eq!(
        (&lines[1]["host"], &lines[1]["client"]),
        (&json!("b.example"), &Value::Null)
    );
    assert_eq!(lines[1]["aborted"], false, "{}", lines[1]);
}

#[test]
fn a_client_that_leaves_is_told_of() {
    let server = to_file("json").start();
    let mut stream = server.connect();
    stream
        .write_all(b"GET /events?ms=20 HTTP/1.1\r\nhost: a\r\n\r\n")
        .unwrap();
    stream.read_exact(&mut [0; 100]).unwrap();
    drop(stream);
    let mut stream = server.connect();
    stream
        .write_all(b"GET /slow?ms=60000 HTTP/1.1\r\nhost: a\r\n\r\n")
        .unwrap();
    server.until_in_flight(1);
    drop(stream);
    let whole = [
        get(&server, "/big?n=1000", ""),
        get(&server, "/status/204", ""),
        exchange(
            &server,
            b"HEAD /hello HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
        ),
    ];
    assert!(
        whole.iter().all(|answer| answer.starts_with("HTTP/1.1 20")),
        "{whole:?}"
    );
    let lines = wait_for_json(&server, 5);
    let aborted: Vec<_> = lines
        .iter()
        .filter(|line| line["aborted"] == true)
        .collect();
    let of = |path: &str| aborted.iter().find(|line| line["path"] == path);
    assert_eq!(aborted.len(), 2, "{lines:#?}");
    assert_eq!(of("/events").unwrap()["status"], 200);
    assert_eq!(of("/slow").unwrap()["status"], 499);
}

#[test]
fn an_answer_of_a_folder_that_has_no_content_went_out_whole() {
    let setup = to_file("json");
    fs::create_dir_all(setup.folder().join("site/docs")).unwrap();
    fs::write(setup.folder().join("site/a.txt"), "0123456789").unwrap();
    let folder = "path = \"/assets/\"\nfolder = \"site\"".parse().unwrap();
    let server = setup
        .set("http.static", vec![toml::Value::Table(folder)])
        .start();
    let asked = [
        ("/assets/a.txt", "", 200),
        ("/assets/docs", "", 307),
        ("/assets/a.txt", "if-match: \"x\"\r\n", 412),
        ("/assets/a.txt", "range: bytes=99-\r\n", 416),
    ];
    for (target, fields, _) in asked {
        get(&server, target, fields);
    }
    let lines = wait_for_json(&server, asked.len());
    for (line, (_, _, status)) in lines.iter().zip(asked) {
        assert_eq!(line["status"], status, "{line}");
        assert_eq!(line["aborted"], false, "{line}");
    }
}

#[test]
fn combined_and_templates_are_written_as_the_operator_asked() {
    let mut server = with_tokens(to_file("combined")).start();
    let field = format!(
        "authorization: Bearer {}\r\nuser-agent: \"test\" \\\t1\r\nreferer: https://b.example/x?y\r\n",
        token()
    );
    get(&server, "/me?a=1", &field);
    let [line] = wait_for_lines(&server, 1).try_into().unwrap();
    let (start, rest) = line.split_once(" [").unwrap();
    let (time, rest) = rest.split_once("] ").unwrap();
    assert_eq!(start, "127.0.0.1 - alice");
    assert!(
        chrono::DateTime::parse_from_str(time, "%d/%b/%Y:%H:%M:%S %z").is_ok(),
        "{time}"
    );
    let bytes = rest.split(' ').nth(4).unwrap();
    assert_eq!(
        rest,
        format!(
            "\"GET /me HTTP/1.1\" 200 {bytes} \"https://b.example/x\" \"\\\"test\\\" \\\\\\t1\""
        )
    );
    fs::write(file_of(&server), "").unwrap();
    server
        .config
        .set(
            "access_log.format",
            r#"{status} {method} "{user_agent}" {subject} \{{path}\}"#,
        )
        .set("access_log.skip", "/readyz")
        .write();
    server.reload();
    server.until_workers(1);
    get(&server, "/readyz", "");
    get(&server, "/hello", "user-agent: a b\r\n");
    assert_eq!(wait_for_lines(&server, 1), [r#"200 GET "a b" - {/hello}"#]);
}

#[test]
fn a_rotation_under_load_loses_no_line_and_tears_none() {
    let server = to_file("json").set("workers.count", 4).start();
    let load = Load::start(&server.address(), Plan::FIFTY);
    let mut files = vec![file_of(&server)];
    for number in 1..=4 {
        load.wait_for_answers(150);
        let old = server.folder().join(format!("access.log.{number}"));
        fs::rename(file_of(&server), &old).unwrap();
        files.push(old);
        if number % 2 == 0 {
            server.signal(Signal::SIGUSR1);
        } else {
            assert_eq!(server.cli(["reopen"]).code, Some(0));
        }
        eventually("lines in the new file", || {
            (!lines(&file_of(&server)).is_empty()).then_some(())
        });
    }
    load.wait_for_answers(150);
    let report = load.finish();
    report.assert_nothing_lost();
    eventually("a line for each request", || {
        let all: Vec<_> = files.iter().flat_map(|file| lines(file)).collect();
        let torn = all
            .iter()
            .find(|line| serde_json::from_str::<Value>(line).is_err());
        assert_eq!(torn, None);
        (all.len() as u64 == report.answered).then_some(())
    });
    assert_eq!(
        server.count_log(Mark::START, "lines of the access log were lost"),
        0
    );
}

#[test]
fn a_pipe_that_nobody_reads_holds_up_nothing_and_what_is_lost_is_counted() {
    let setup = to_file("json");
    let pipe = setup.folder().join("access.log");
    mkfifo(&pipe, Mode::S_IRWXU).unwrap();
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(libc::O_NONBLOCK);
    let mut reader = options.open(&pipe).unwrap();
    let server = setup.start();
    let mut connection = Blocking::open(&server.address()).unwrap();
    for _ in 0..2000 {
        connection.get("/hello").unwrap();
    }
    server.wait_for_log(
        Mark::START,
        "nobody reads the access log, its lines are lost",
    );
    let mut read = String::new();
    let lost = within(PATIENCE, "the count of those that were lost", || {
        let mut some = Vec::new();
        let _would_block = reader.read_to_end(&mut some);
        read += std::str::from_utf8(&some).unwrap();
        let told = server.log.since(Mark::START);
        let told = told
            .iter()
            .find(|line| line["message"] == "lines of the access log were lost");
        told.map(|line| line["lines"].as_u64().unwrap())
    });
    let _would_block = reader.read_to_string(&mut read);
    assert!(
        read.lines()
            .all(|line| serde_json::from_str::<Value>(line).is_ok())
    );
    assert_eq!(read.lines().count() as u64 + lost, 2000);
    connection.get("/hello").unwrap();
    eventually("it goes on", || {
        let mut more = String::new();
        let _would_block = reader.read_to_string(&mut more);
        (more.lines().count() == 1).then_some(())
    });
}

#[test]
fn a_disk_that_is_full_is_told_once_and_holds_up_nothing() {
    let server = to_file("json").set("access_log.to", "/dev/full").start();
    for _ in 0..50 {
        assert!(get(&server, "/hello", "").starts_with("HTTP/1.1 200 "));
    }
    let line = server.wait_for_log(
        Mark::START,
        "the access log cannot be written, its lines are lost until it can",
    );
    assert!(
        line["error"].as_str().unwrap().contains("No space left"),
        "{line}"
    );
    assert_eq!(server.cli(["stop"]).code, Some(0));
    let lost = server.wait_for_log(Mark::START, "lines of the access log were lost");
    assert_eq!(lost["lines"], 50);
    assert_eq!(
        server.count_log(
            Mark::START,
            "the access log cannot be written, its lines are lost until it can"
        ),
        1
    );
}

#[test]
fn nothing_that_a_client_sends_forges_a_line() {
    for format in [
        "json",
        "combined",
        "text",
        "{path} {user_agent} {referer} {method}",
    ] {
        let server = to_file(format).set("access_log.query", true).start();
        let hostile = [
            b"GET /a?x=%0aforged HTTP/1.1\r\nhost: a\r\nuser-agent: x\" forged \"\\\r\nreferer: \xff\xe2\x80\xa8forged\r\nconnection: close\r\n\r\n".as_slice(),
            b"GET /\xe2\x80\xa8forged HTTP/1.1\r\nhost: a\r\n\r\n",
            b"GET /a\x0bforged HTTP/1.1\r\nhost: a\r\n\r\n",
            b"G\x7fT\x1b[2J /a HTTP/1.1\r\nhost: a\r\n\r\n",
            b"\x85\xff\x00 /a HTTP/1.1\r\nhost: a\r\n\r\n",
            b"GET /a HTTP/1.1\nforged\n\n",
        ];
        for request in hostile {
            exchange(&server, request);
        }
        let lines = wait_for_lines(&server, hostile.len());
        for line in lines {
            assert!(!line.starts_with("forged"), "{format}: {line}");
            assert!(
                !line.chars().any(|it| it.is_control() || it == '\u{2028}'),
                "{format}: {line:?}"
            );
        }
    }
}

/// A socket that stands for that of a daemon.
fn daemon(setup: &Setup) -> UnixDatagram {
    let socket = UnixDatagram::bind(setup.folder().join("daemon")).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn received(daemon: &UnixDatagram) -> String {
    let mut bytes = [0; 8192];
    let length = daemon.recv(&mut bytes).unwrap();
    String::from_utf8(bytes[..length].to_vec()).unwrap()
}

#[test]
fn a_syslog_daemon_gets_a_message_for_each_line() {
    let setup = to_file("combined").set("access_log.syslog_facility", "local3");
    let socket = daemon(&setup);
    let to = format!("syslog:{}", setup.folder().join("daemon").display());
    let server = setup.set("access_log.to", to).start();
    get(&server, "/hello", "");
    let message = received(&socket);
    assert!(message.starts_with("<158>1 20"), "{message}");
    assert!(message.contains(" destrier "), "{message}");
    assert!(message.contains(" access - 127.0.0.1 - - ["), "{message}");
    assert!(!message.contains('\n'), "{message}");
    // It may be started again.
    drop(socket);
    get(&server, "/hello", "");
    server.wait_for_log(
        Mark::START,
        "the access log cannot be written, its lines are lost until it can",
    );
    fs::remove_file(server.folder().join("daemon")).unwrap();
    let socket = UnixDatagram::bind(server.folder().join("daemon")).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    get(&server, "/status/404", "");
    assert!(received(&socket).contains("\"GET /status/404 HTTP/1.1\" 404 "));
    assert_eq!(
        server.wait_for_log(Mark::START, "lines of the access log were lost")["lines"],
        1
    );
}

#[test]
fn the_journal_gets_an_entry_with_fields_for_each_line() {
    let setup = to_file("auto");
    let socket = daemon(&setup);
    let to = format!("journald:{}", setup.folder().join("daemon").display());
    let server = setup.set("access_log.to", to).start();
    get(&server, "/hello", "user-agent: a\tMESSAGE=b\r\n");
    let entry = received(&socket);
    let fields: Vec<_> = entry.lines().collect();
    for field in [
        "MESSAGE=GET /hello 200",
        "STATUS=200",
        "METHOD=GET",
        "PRIORITY=6",
        "SYSLOG_IDENTIFIER=destrier",
        "USER_AGENT=a\\tMESSAGE=b",
    ] {
        assert!(fields.contains(&field), "{field}: {entry}");
    }
    assert!(
        fields.iter().any(|field| field.starts_with("REQUEST_ID=")),
        "{entry}"
    );
}

#[test]
fn standard_output_has_the_lines_and_a_worker_that_waits_is_not_woken() {
    let server = to_file("json").set("access_log.to", "stdout").start();
    get(&server, "/hello", "");
    let pid = server.pids()[0];
    let wakes = || fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let count = |status: &str| {
        let line = status
            .lines()
            .find(|line| line.starts_with("voluntary_ctxt"));
        line.unwrap()
            .split_whitespace()
            .nth(1)
            .unwrap()
            .parse::<u64>()
            .unwrap()
    };
    let mut before = count(&wakes());
    // The connection of before has its last words.
    within(PATIENCE, "a second without a wake-up", || {
        thread::park_timeout(std::time::Duration::from_secs(1));
        let now = count(&wakes());
        (std::mem::replace(&mut before, now) == now).then_some(())
    });
}
