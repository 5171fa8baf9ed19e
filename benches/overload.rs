//! What is left of a server's work when it is asked for more than it can do.
//!
//! `cargo bench --bench overload` starts the real program with one worker, 8 places and an application that takes 20 ms for an
//! answer: it can give 400 a second. Then it is asked for 1, 2 and 10 times as many, whatever becomes of them, and the answers with 200
//! are counted (goodput). It takes about 20 seconds, and fails where they are less than nine tenths of what it can give.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a bench fails by panicking and prints its figures"
)]

#[path = "../tests/e2e/support/mod.rs"]
#[expect(dead_code, reason = "the end-to-end tests use all of it")]
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use comfy_table::{CellAlignment, Table, presets};
use http_body_util::Empty;
use hyper::Request;
use support::client::{Address, Connection};
use support::server::Setup;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};

const PLACES: u32 = 8;
const ANSWER: Duration = Duration::from_millis(20);
/// Clients, each of whom asks at its own times.
const CLIENTS: u32 = 200;
const WARM_UP: Duration = Duration::from_secs(1);
const MEASURED: Duration = Duration::from_secs(5);

/// What came back while it was measured.
#[derive(Debug, Default)]
struct Answers {
    good: AtomicU32,
    refused: AtomicU32,
}

fn main() {
    let capacity = f64::from(PLACES) / ANSWER.as_secs_f64();
    let server = Setup::new()
        .set("workers.count", 1)
        .set("http.max_in_flight", i64::from(PLACES))
        .set("http.queue", i64::from(2 * PLACES))
        .start();
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["asked", "200 a second", "503 a second", "goodput"]);
    let mut worst = f64::INFINITY;
    for factor in [1, 2, 10] {
        let answers = measure(&server.address(), capacity * f64::from(factor));
        let a_second = |count: &AtomicU32| f64::from(count.load(Relaxed)) / MEASURED.as_secs_f64();
        let ratio = a_second(&answers.good) / capacity;
        table.add_row([
            format!("{factor} x {capacity:.0}"),
            format!("{:.0}", a_second(&answers.good)),
            format!("{:.0}", a_second(&answers.refused)),
            format!("{:.0} %", 100.0 * ratio),
        ]);
        worst = worst.min(ratio);
    }
    for column in table.column_iter_mut() {
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!("{table}");
    assert!(
        worst >= 0.9,
        "goodput fell to {worst:.2} of what it can give"
    );
}

fn measure(address: &Address, a_second: f64) -> Arc<Answers> {
    let answers = Arc::new(Answers::default());
    let every = Duration::from_secs_f64(f64::from(CLIENTS) / a_second);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let begun = Instant::now();
        for number in 0..CLIENTS {
            let first = begun + every.mul_f64(f64::from(number) / f64::from(CLIENTS));
            tokio::spawn(ask(
                address.clone(),
                (first, every),
                begun,
                Arc::clone(&answers),
            ));
        }
        sleep(WARM_UP + MEASURED).await;
    });
    answers
}

/// Asks again and again; who is late because of the last answer asks at once.
async fn ask(
    address: Address,
    (first, every): (Instant, Duration),
    begun: Instant,
    answers: Arc<Answers>,
) {
    let mut connection = Connection::open(&address).await.unwrap();
    let mut times = interval_at(first, every);
    times.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let measured = WARM_UP..WARM_UP + MEASURED;
    let path = format!("/slow?ms={}", ANSWER.as_millis());
    loop {
        times.tick().await;
        let request = Request::get(&path).header("host", "test");
        let request = request.body(Empty::<Bytes>::new()).unwrap();
        let answer = connection.send(request).await.unwrap();
        if measured.contains(&begun.elapsed()) {
            let count = match answer.status {
                200 => &answers.good,
                _ => &answers.refused,
            };
            count.fetch_add(1, Relaxed);
        }
    }
}
