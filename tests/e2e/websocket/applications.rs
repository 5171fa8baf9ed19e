//! What applications do on WebSockets, and whose WebSockets they are.

use super::wire::{CLOSE, Frame, TEXT, Wire, close, frame, handshake};
use crate::support::eventually;
use crate::support::server::{Server, Setup};

fn faulty() -> Server {
    Setup::faulty()
        .let_boot("ok")
        .set("workers.count", 1)
        .set("http.stream_grace", "300ms")
        .start()
}

fn status(server: &Server, target: &str, changes: &[(&str, &str)]) -> String {
    let mut wire = Wire::connect(server);
    wire.send(&handshake(target, changes));
    let head = wire.head();
    head.split(' ').nth(1).unwrap().to_owned()
}

#[track_caller]
fn nobody_is_left(server: &Server) {
    eventually("no connection is left", || {
        (server.connections() == 0).then_some(())
    });
}

#[test]
fn an_answer_that_no_client_could_accept_is_a_failure_of_the_application() {
    let server = faulty();
    let mark = server.log.mark();
    assert_eq!(
        status(&server, "/odd/accept", &[]),
        "101",
        "the key of RFC 6455"
    );
    let other_key = [("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA==")];
    assert_eq!(status(&server, "/odd/accept", &other_key), "500");
    assert_eq!(status(&server, "/odd/protocol", &[]), "500");
    let offer = [("Sec-WebSocket-Protocol", "never-offered")];
    assert_eq!(status(&server, "/odd/protocol", &offer), "101");
    let mut wire = Wire::connect(&server);
    wire.send(b"GET /odd/leave HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(wire.head().starts_with("HTTP/1.1 500 "));
    drop(wire);
    eventually("each failure to be told", || {
        let told = server.count_log(mark, "the application failed");
        (told == 3).then_some(())
    });
    nobody_is_left(&server);
}

#[test]
fn an_application_that_leaves_or_panics_closes_its_websocket() {
    let server = faulty();
    for (target, code) in [("/odd/leave", 1000), ("/odd/panic", 1011)] {
        let mut wire = Wire::open(&server, target);
        assert_eq!(wire.until_close(), code, "{target}");
        wire.send(&close(code));
        wire.assert_ends();
    }
    let mut wire = Wire::open(&server, "/odd/dropped");
    let _nothing = wire.rest();
    nobody_is_left(&server);
}

#[test]
fn an_application_that_is_deaf_and_dumb_keeps_no_worker() {
    let server = faulty();
    let mark = server.log.mark();
    let mut deaf = Wire::open(&server, "/odd/deaf");
    let mut writer = Wire::open(&server, "/odd/writer");
    let mut half = Wire::open(&server, "/odd/half");
    server.reload();
    assert_eq!(deaf.until_close(), 1001);
    deaf.send(&close(1001));
    deaf.assert_ends();
    assert_eq!(writer.until_close(), 1001);
    writer.send(&close(1001));
    writer.assert_ends();
    // There is no place for a Close frame in half a frame.
    assert!(half.next().is_err());
    server.wait_for_log(mark, "worker finished");
}

#[test]
fn a_token_is_shown_as_a_subprotocol_and_is_never_one() {
    let (server, token) = with_token("\"protocol:bearer\"");
    assert_eq!(status(&server, "/odd/deaf", &[]), "401");
    let offer = format!("chat, bearer, {token}");
    let offer = [("Sec-WebSocket-Protocol", &*offer)];
    assert_eq!(status(&server, "/odd/say-chat", &offer), "101");
    assert_eq!(status(&server, "/odd/say-bearer", &offer), "101");
    assert_eq!(status(&server, &format!("/odd/say-{token}"), &offer), "500");
    let mut wire = Wire::open_with(&server, "/ws/echo", &offer).0;
    wire.send(&frame(TEXT, b"a"));
    assert_eq!(wire.next().unwrap(), Some(Frame::new(TEXT, b"a")));
}

#[test]
fn with_a_token_in_a_cookie_pages_of_other_sites_open_nothing() {
    let (server, token) = with_token("\"cookie:at\"");
    let cookie = format!("at={token}");
    let with = |origin| {
        status(
            &server,
            "/ws/echo",
            &[("Cookie", &cookie), ("Origin", origin)],
        )
    };
    assert_eq!(with("http://a.example"), "101");
    assert_eq!(with("https://evil.example"), "403");
    assert_eq!(with("null"), "403");
    assert_eq!(status(&server, "/ws/echo", &[("Cookie", &cookie)]), "403");
}

/// A server that wants a token, and one.
fn with_token(source: &str) -> (Server, String) {
    let mut setup = Setup::faulty().let_boot("ok").set("workers.count", 1);
    setup.config.set_auth(&format!(
        "[auth]\ntoken_from = [{source}]\n[[auth.issuer]]\nname = \"own\"\nsecret_file = \"secret\"\n\
         create_missing = true\nissuer = \"https://own.example\"\naudience = \"api\"\n[[auth.rule]]\npath = \"/**\"\n"
    ));
    let server = setup.start();
    let issued = server.cli(["token", "issue", "--sub", "alice"]);
    assert_eq!(issued.code, Some(0), "{issued:?}");
    (server, issued.stdout.trim().to_owned())
}

#[test]
fn what_a_client_says_after_the_handshake_at_once_is_not_lost() {
    let server = Setup::new().start();
    let mut wire = Wire::connect(&server);
    wire.send(
        &[
            handshake("/ws/echo", &[]),
            frame(TEXT, b"early"),
            frame(0x83, b""),
        ]
        .concat(),
    );
    let head = wire.head();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert_eq!(wire.next().unwrap(), Some(Frame::new(TEXT, b"early")));
    assert_eq!(
        wire.next().unwrap().unwrap(),
        Frame::new(CLOSE, &1002_u16.to_be_bytes())
    );
}
