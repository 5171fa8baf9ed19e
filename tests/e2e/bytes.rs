//! The bytes of bodies that monitoring tells are those that clients have sent and got, whatever becomes of workers and programs.

use std::io::{Read as _, Write as _};

use crate::admin::{monitored, scrape};
use crate::support::server::{Server, Setup};
use crate::support::{eventually, os};

/// What clients have sent and got so far.
#[derive(Debug, Default)]
struct Account {
    sent: u64,
    got: u64,
}

impl Account {
    /// Sends a body of so many bytes, as a whole or in chunks of seven; the answer is the same body.
    #[track_caller]
    fn echo(&mut self, server: &Server, bytes: usize, is_chunked: bool) {
        let body = vec![b'x'; bytes];
        let mut request = b"POST /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\n".to_vec();
        if is_chunked {
            request.extend(b"Transfer-Encoding: chunked\r\n\r\n");
            for chunk in body.chunks(7) {
                request.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
                request.extend(chunk);
                request.extend(b"\r\n");
            }
            request.extend(b"0\r\n\r\n");
        } else {
            request.extend(format!("Content-Length: {bytes}\r\n\r\n").into_bytes());
            request.extend(&body);
        }
        self.send(server, &request);
        self.sent += bytes as u64;
    }

    /// Sends it, and takes account of the body of the answer, which must have a length.
    #[track_caller]
    fn send(&mut self, server: &Server, request: &[u8]) {
        let mut stream = server.connect();
        stream.write_all(request).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let text = String::from_utf8_lossy(&answer);
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(!head.contains("chunked"), "{head}");
        self.got += body.len() as u64;
    }

    /// Holds it against the metrics.
    #[track_caller]
    fn assert_told(&self, server: &Server) {
        let told = eventually("the last request to be over", || {
            let metrics = scrape(server);
            let of = |name| metrics[name];
            (of("destrier_requests_in_flight") == 0).then(|| {
                (
                    of("destrier_request_body_bytes_total"),
                    of("destrier_response_body_bytes_total"),
                )
            })
        });
        assert_eq!(told, (self.sent, self.got));
    }
}

#[test]
fn bytes_of_bodies_add_up_over_deaths_reloads_and_upgrades() {
    let setup = monitored(Setup::new()).set("workers.backoff_initial", "1ms");
    let server = setup.start();
    let mut account = Account::default();
    account.assert_told(&server);
    account.echo(&server, 1000, false);
    account.echo(&server, 1000, true);
    account.echo(&server, 200_000, false);
    account.assert_told(&server);
    for pid in server.pids() {
        os::kill(pid);
    }
    server.until("others", |status| {
        let deaths = status.deaths.len() == 2;
        (deaths && status.workers.len() == 2).then_some(())
    });
    server.until_workers(2);
    account.assert_told(&server);
    account.echo(&server, 33, true);
    server.reload();
    account.echo(&server, 44, false);
    server.upgrade();
    account.echo(&server, 55, true);
    account.assert_told(&server);
}

#[test]
fn what_is_read_and_thrown_away_counts_and_what_is_not_read_does_not() {
    let setup = monitored(Setup::new()).set("workers.count", 1);
    let server = setup.set("http.max_body", "1KiB").start();
    let mut account = Account::default();
    // Nobody wants it, but it is small, so that the connection can go on.
    account.send(
        &server,
        b"POST /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello",
    );
    account.sent += 5;
    // Refused for the length that it has.
    account.send(
        &server,
        b"POST /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 5000000\r\n\r\n",
    );
    account.assert_told(&server);
}
