//! `examples/axum.rs` does what it says: driven as its user would, with `curl` and its own subcommands.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{self, Message};

#[test]
fn tokens_are_verified_before_the_router_is_called() {
    let service = Service::start();
    assert_eq!(service.get("/prices/hay", None).0, 401);
    let visitor = service.token(&[]);
    assert_eq!(service.get("/prices/hay", Some(&visitor)).0, 403);
    let reader = service.token(&["--scope", "prices:read"]);
    let (status, body) = service.get("/prices/hay", Some(&reader));
    assert_eq!(
        (status, body),
        (200, json!({ "thing": "hay", "price": 3, "for": "alice" }))
    );
    assert_eq!(service.get("/prices/gold", Some(&reader)).0, 404);
    let (status, body) = service.get("/me", Some(&reader));
    assert_eq!(
        (status, body),
        (
            200,
            json!({ "subject": "alice", "scopes": ["prices:read"] })
        )
    );
    // No rule is for it, so the router is not asked.
    assert_eq!(service.get("/nothing", Some(&reader)).0, 403);
    service.stop();
}

#[test]
fn an_optional_token_makes_a_stranger_known() {
    let service = Service::start();
    assert_eq!(service.get("/", None).1["hello"], "stranger");
    assert_eq!(
        service.get("/", Some(&service.token(&[]))).1["hello"],
        "alice"
    );
    assert_eq!(service.get("/", Some("forged")).0, 401);
    service.stop();
}

#[test]
fn a_page_shows_its_token_as_a_subprotocol_of_its_websocket() {
    let service = Service::start();
    let connect = |protocols: &str| {
        let mut request = format!("ws://{}/watch", service.address)
            .into_client_request()
            .unwrap();
        let protocols = protocols.parse().unwrap();
        request
            .headers_mut()
            .insert("sec-websocket-protocol", protocols);
        let stream = TcpStream::connect(&service.address).unwrap();
        tungstenite::client(request, stream).map_err(|error| error.to_string())
    };
    let refused = connect("prices").unwrap_err();
    assert!(refused.contains("401"), "{refused}");
    let reader = service.token(&["--scope", "prices:read"]);
    let (mut socket, answer) = connect(&format!("prices, bearer, {reader}")).unwrap();
    assert_eq!(answer.headers()["sec-websocket-protocol"], "prices");
    socket.send(Message::text("hay")).unwrap();
    let answer = socket.read().unwrap().into_text().unwrap();
    assert_eq!(answer.as_str(), r#"{"thing":"hay","price":3}"#);
    socket.close(None).unwrap();
    while socket.read().is_ok() {}
    service.stop();
}

#[test]
fn a_reload_boots_the_router_anew_or_keeps_the_old_one() {
    let service = Service::start();
    let prices = service.folder.path().join("prices.json");
    fs::write(&prices, r#"{ "hay": 4 }"#).unwrap();
    let reload = service.command(&["reload"]);
    assert_eq!(text(&reload.stdout), "generation 2 serves\n");
    let reader = service.token(&["--scope", "prices:read"]);
    assert_eq!(service.get("/prices/hay", Some(&reader)).1["price"], 4);

    fs::write(&prices, "{").unwrap();
    let reload = service.command(&["reload"]);
    assert_eq!(reload.status.code(), Some(1));
    assert!(
        text(&reload.stderr).contains("prices.json`: EOF while parsing"),
        "{reload:?}"
    );
    assert_eq!(service.get("/", None).1["generation"], 2);
    service.stop();
}

#[test]
fn an_upgrade_goes_on_as_the_program_of_the_application() {
    let service = Service::start();
    let new = service.folder.path().join("prices-2");
    let copied = Command::new("cp").arg(example()).arg(&new).status();
    assert!(copied.unwrap().success());
    let upgrade = service.command(&["upgrade", "--binary", new.to_str().unwrap()]);
    assert!(
        text(&upgrade.stdout).contains("generation 2 serves"),
        "{upgrade:?}"
    );
    let exe = fs::read_link(format!("/proc/{}/exe", service.process.id()));
    assert_eq!(exe.unwrap(), new);
    let reader = service.token(&["--scope", "prices:read"]);
    assert_eq!(service.get("/prices/hay", Some(&reader)).0, 200);

    fs::write(service.folder.path().join("prices.json"), "{").unwrap();
    let upgrade = service.command(&["upgrade"]);
    assert_eq!(upgrade.status.code(), Some(1));
    assert!(
        text(&upgrade.stderr).contains("prices.json`: EOF while parsing"),
        "{upgrade:?}"
    );
    assert_eq!(service.get("/", None).1["generation"], 2);
    service.stop();
}

/// The program, serving on a port of the kernel's choice from a copy of its files.
struct Service {
    folder: TempDir,
    process: Child,
    address: String,
}

impl Service {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for file in ["axum.toml", "prices.json"] {
            let original = Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("examples")
                .join(file);
            fs::copy(original, folder.path().join(file)).unwrap();
        }
        let mut process = program(&folder, &["run"])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(process.stderr.take().unwrap())
            .lines()
            .map_while(Result::ok);
        let mut address = None;
        for line in log.by_ref() {
            let line: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line}"));
            match line["message"].as_str() {
                Some("listening") => address = line["address"].as_str().map(str::to_owned),
                Some("serving") => break,
                Some(_) | None => {}
            }
        }
        // Somebody must go on reading, or it writes to a closed pipe.
        std::thread::spawn(move || log.for_each(drop));
        let address = address.unwrap();
        Self {
            folder,
            process,
            address,
        }
    }

    fn command(&self, words: &[&str]) -> Output {
        program(&self.folder, words).output().unwrap()
    }

    fn token(&self, more: &[&str]) -> String {
        let output = self.command(&[&["token", "issue", "--sub", "alice"], more].concat());
        assert!(output.status.success(), "{output:?}");
        text(&output.stdout).trim().to_owned()
    }

    fn get(&self, path: &str, token: Option<&str>) -> (u16, Value) {
        let mut curl = Command::new("curl");
        curl.args([
            "--silent",
            "--show-error",
            "--max-time",
            "20",
            "--write-out",
            "\n%{http_code}",
        ]);
        if let Some(token) = token {
            curl.args(["--header", &format!("Authorization: Bearer {token}")]);
        }
        let output = curl
            .arg(format!("http://{}{path}", self.address))
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let answer = text(&output.stdout);
        let (body, status) = answer.rsplit_once('\n').unwrap();
        (
            status.parse().unwrap(),
            serde_json::from_str(body).unwrap_or(Value::Null),
        )
    }

    fn stop(mut self) {
        let stop = self.command(&["stop"]);
        assert_eq!(text(&stop.stdout), "stopped\n", "{stop:?}");
        assert_eq!(self.process.wait().unwrap().code(), Some(0));
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ended_already = self.process.kill();
    }
}

/// The program; `cargo test` has built it.
fn example() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().and_then(Path::parent).unwrap();
    profile.join("examples/axum")
}

/// The example with its configuration.
fn program(folder: &TempDir, words: &[&str]) -> Command {
    let mut command = Command::new(example());
    command
        .args(words)
        .arg("-c")
        .arg(folder.path().join("axum.toml"))
        .env("DESTRIER_SERVER__BIND", "127.0.0.1:0")
        .env(
            "DESTRIER_PROCESS__CONTROL_SOCKET",
            folder.path().join("control.sock"),
        )
        .env("DESTRIER_LOG__FORMAT", "json")
        .stdin(Stdio::null());
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
