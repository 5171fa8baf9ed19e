//! One key follows another while the token service is used: nobody is refused, until the former key is retired.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use serde_json::Value;

use crate::support::client::Address;
use crate::support::command::{self, destrier};
use crate::support::eventually;
use crate::support::server::Server;
use crate::token_service::{PASSWORD, get, login, refresh, set_up, user};

const AUTH: &str = r#"
[auth.tokens]
database = "sqlite:tokens.db"
signing_key_file = "key.pem"
throttle_account = "off"
[[auth.issuer]]
name = "own"
jwks_file = "keys.json"
[[auth.rule]]
path = "/**"
"#;

fn generate(folder: &Path, key: &str, set: &str) {
    let mut generate = command::command(&destrier());
    generate
        .args(["key", "generate", "ES256", "--out", key])
        .args(["--jwks-out", set])
        .current_dir(folder);
    assert_eq!(command::run(generate).code, Some(0));
}

fn start() -> Server {
    let mut setup = set_up(AUTH);
    setup.config.set("workers.count", 2);
    generate(setup.folder(), "key.pem", "keys.json");
    let server = setup.start();
    assert_eq!(user(&server, &["add", "alice"], PASSWORD).code, Some(0));
    server
}

/// Clients that log in, ask, refresh and ask again, one round after the other.
struct Clients {
    rounds: Arc<Vec<AtomicU64>>,
    is_over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Vec<String>>>,
}

impl Clients {
    fn start(address: &Address, count: usize) -> Self {
        let rounds: Arc<Vec<AtomicU64>> = Arc::new((0..count).map(|_| AtomicU64::new(0)).collect());
        let is_over = Arc::new(AtomicBool::new(false));
        let threads = (0..count)
            .map(|number| {
                let (address, rounds) = (address.clone(), Arc::clone(&rounds));
                let is_over = Arc::clone(&is_over);
                thread::spawn(move || {
                    let mut refusals = Vec::new();
                    while !is_over.load(Ordering::Relaxed) {
                        refusals.extend(round(&address));
                        rounds[number].fetch_add(1, Ordering::Relaxed);
                    }
                    refusals
                })
            })
            .collect();
        Self {
            rounds,
            is_over,
            threads,
        }
    }

    /// Until each has begun a round and ended it.
    fn wait_for_whole_rounds(&self) {
        let count = || -> Vec<u64> {
            let rounds = self.rounds.iter();
            rounds.map(|each| each.load(Ordering::Relaxed)).collect()
        };
        let before = count();
        eventually("a whole round of every client", || {
            let are_done = count()
                .iter()
                .zip(&before)
                .all(|(now, then)| *now >= then + 2);
            are_done.then_some(())
        });
    }

    fn finish(self) -> (u64, Vec<String>) {
        self.is_over.store(true, Ordering::Relaxed);
        let threads = self.threads.into_iter();
        let refusals = threads.flat_map(|each| each.join().unwrap()).collect();
        let rounds = self.rounds.iter();
        (
            rounds.map(|each| each.load(Ordering::Relaxed)).sum(),
            refusals,
        )
    }
}

/// What was refused of one login, its tokens and their refresh.
fn round(address: &Address) -> Vec<String> {
    let mut refusals = Vec::new();
    let mut see = |what: &str, status: u16, body: &str| {
        if status != 200 {
            refusals.push(format!("{what}: {status} {body}"));
        }
        status == 200
    };
    let pair = login(address);
    if !see("login", pair.status, &pair.body) {
        return refusals;
    }
    let mut access = pair.text("access");
    for _ in 0..5 {
        let me = get(address, "/me", &access);
        see("me", me.status, &me.body);
        let refreshed = refresh(address, &pair.text("refresh"));
        if see("refresh", refreshed.status, &refreshed.body) {
            access = refreshed.text("access");
        }
    }
    refusals
}

fn kid_of(token: &str) -> Value {
    use base64::Engine;
    let header = token.split('.').next().unwrap();
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(header);
    let header: Value = serde_json::from_slice(&bytes.unwrap()).unwrap();
    header["kid"].clone()
}

/// The names of the keys that are published.
fn published(address: &Address) -> Vec<Value> {
    let set = get(address, "/.well-known/jwks.json", "").json();
    let keys = set["keys"].as_array().unwrap();
    assert!(keys.iter().all(|key| key.get("d").is_none()));
    keys.iter().map(|key| key["kid"].clone()).collect()
}

#[test]
fn a_key_is_rotated_under_load_and_nobody_is_refused_until_the_former_one_is_retired() {
    let server = start();
    let address = server.address();
    let old = login(&address);
    let first = kid_of(&old.text("access"));
    assert_eq!(published(&address), std::slice::from_ref(&first));
    let clients = Clients::start(&address, 3);
    let step = |words: &[&str]| {
        let words = [&["key", "rotate"], words].concat();
        let mut command = command::command(&destrier());
        command.args(words).arg("-c").arg(server.config.file());
        let outcome = command::run(command);
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
        server.reload();
        clients.wait_for_whole_rounds();
    };
    step(&["add"]);
    let [_, second] = published(&address).try_into().unwrap();
    assert_eq!(kid_of(&login(&address).text("access")), first);
    step(&["promote", "--now"]);
    assert_eq!(kid_of(&login(&address).text("access")), second);
    assert_eq!(published(&address), [first, second.clone()]);
    // The former key is believed still, and what it signed is followed by what the next one signs.
    assert_eq!(get(&address, "/me", &old.text("access")).status, 200);
    let followed = refresh(&address, &old.text("refresh"));
    assert_eq!(kid_of(&followed.text("access")), second);
    step(&["retire", "--now"]);
    let (rounds, refusals) = clients.finish();
    assert!(refusals.is_empty(), "of {rounds} rounds: {refusals:?}");
    assert_eq!(published(&address), [second]);
    assert_eq!(get(&address, "/me", &old.text("access")).status, 401);
    assert_eq!(refresh(&address, &old.text("refresh")).status, 401);
    assert_eq!(get(&address, "/me", &followed.text("access")).status, 200);
}

#[test]
fn a_key_that_is_replaced_before_its_set_signs_as_soon_as_the_set_has_it() {
    let server = start();
    let (folder, address) = (server.folder(), server.address());
    let first = kid_of(&login(&address).text("access"));
    generate(folder, "next.pem", "next.json");
    let set = |name: &str| -> Value {
        serde_json::from_str(&fs::read_to_string(folder.join(name)).unwrap()).unwrap()
    };
    let (mut both, next) = (set("keys.json"), set("next.json"));
    let second = next["keys"][0]["kid"].clone();
    assert_ne!(first, second);
    let mark = server.log.mark();
    fs::rename(folder.join("next.pem"), folder.join("key.pem")).unwrap();
    let refused = server.wait_for_log(mark, "cannot be put in force, what was before stays");
    assert!(refused["error"].as_str().unwrap().contains("tried again"));
    assert_eq!(kid_of(&login(&address).text("access")), first);
    let keys = both["keys"].as_array_mut().unwrap();
    keys.extend(next["keys"].as_array().unwrap().iter().cloned());
    fs::write(folder.join("new.json"), both.to_string()).unwrap();
    fs::rename(folder.join("new.json"), folder.join("keys.json")).unwrap();
    let mut in_a_row = 0;
    eventually("every worker signs with the next key", || {
        let kid = kid_of(&login(&address).text("access"));
        in_a_row = if kid == second { in_a_row + 1 } else { 0 };
        (in_a_row == 8).then_some(())
    });
    // A set that calls the same key by another name is followed too.
    both["keys"][1]["kid"] = "renamed".into();
    fs::write(folder.join("new.json"), both.to_string()).unwrap();
    fs::rename(folder.join("new.json"), folder.join("keys.json")).unwrap();
    in_a_row = 0;
    eventually("tokens carry the name that the set has", || {
        let kid = kid_of(&login(&address).text("access"));
        in_a_row = if kid == "renamed" { in_a_row + 1 } else { 0 };
        (in_a_row == 8).then_some(())
    });
}
