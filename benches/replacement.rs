//! How long a killed worker is missed: SIGKILL to the only worker, until its replacement answers a request.
//!
//! `cargo bench --bench replacement` starts the real program with one worker, kills that 100 times and prints the
//! distribution. The request is sent at the moment of the kill: it waits in the accept queue, which the master keeps.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a bench fails by panicking and prints its figures"
)]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use destrier::sys::clock;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

const KILLS: usize = 100;

fn main() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("bench.toml");
    // The back-off is not what is measured: as little of it as there can be.
    let text = "server.bind = \"127.0.0.1:0\"\nworkers.count = 1\nworkers.backoff_initial = \"1ms\"\nworkers.backoff_max = \"1ms\"\nworkers.backoff_reset = \"1ms\"\n\
        process.control_socket = \"control.sock\"\n[[auth.rule]]\npath = \"/**\"\naccess = \"public\"\n";
    fs::write(&config, text).unwrap();
    let mut server = Command::new(env!("CARGO_BIN_EXE_destrier"))
        .args(["run", "-c"])
        .arg(&config)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(server.stderr.take().unwrap()).lines();
    let address = until(&mut log, "listening")["address"]
        .as_str()
        .unwrap()
        .to_owned();
    let mut worker = answering_worker(&address);
    let mut times: Vec<Duration> = (0..KILLS)
        .map(|_| {
            kill(Pid::from_raw(worker), Signal::SIGKILL).unwrap();
            let killed = clock::monotonic();
            let next = loop {
                let next = answering_worker(&address);
                // The kernel may let a killed process answer what it had begun.
                if next != worker {
                    break next;
                }
            };
            worker = next;
            clock::monotonic().saturating_sub(killed)
        })
        .collect();
    stop(&mut server);
    times.sort_unstable();
    let at = |share: usize| times[(KILLS - 1) * share / 100];
    println!("SIGKILL of the only worker, until its replacement answers ({KILLS} kills):");
    println!(
        "  least {:.2?}  median {:.2?}  p90 {:.2?}  p99 {:.2?}  most {:.2?}",
        at(0),
        at(50),
        at(90),
        at(99),
        at(100)
    );
}

fn until(log: &mut impl Iterator<Item = std::io::Result<String>>, message: &str) -> Value {
    log.map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap())
        .find(|line| line["message"] == message)
        .unwrap()
}

/// The process that answers now. A connection that the killed worker had taken is cut; then another one is tried.
fn answering_worker(address: &str) -> i32 {
    loop {
        let mut answer = String::new();
        let mut stream = TcpStream::connect(address).unwrap();
        let request = b"GET /pid HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n";
        let cut = stream
            .write_all(request)
            .and_then(|()| stream.read_to_string(&mut answer));
        if let (Ok(_), Some((_, body))) = (cut, answer.split_once("\r\n\r\n")) {
            let body: Value = serde_json::from_str(body).unwrap();
            return body["pid"].as_i64().unwrap().try_into().unwrap();
        }
    }
}

fn stop(server: &mut Child) {
    kill(Pid::from_raw(server.id().cast_signed()), Signal::SIGTERM).unwrap();
    server.wait().unwrap();
}
