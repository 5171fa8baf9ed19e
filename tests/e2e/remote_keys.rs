//! Keys that are fetched: the provider rolls them over, goes away and comes back, and nobody is refused who should pass.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::key_files::{request, set_of_public, statuses, token_of_pair};
use crate::support::client::Blocking;
use crate::support::journal::Mark;
use crate::support::server::{Server, Setup};
use crate::support::{eventually, os, timed, within};

/// Someone who issues tokens, with a key set on the web.
pub(crate) struct Provider {
    pub(crate) address: SocketAddr,
    set: Arc<Mutex<String>>,
    asked: Arc<AtomicUsize>,
    is_away: Arc<AtomicBool>,
    /// Whether its answers say how long they are fresh.
    says_fresh: Arc<AtomicBool>,
}

impl Provider {
    pub(crate) fn start(letters: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let provider = Self {
            address: listener.local_addr().unwrap(),
            set: Arc::new(Mutex::new(set_of_public(letters))),
            asked: Arc::default(),
            is_away: Arc::default(),
            says_fresh: Arc::new(AtomicBool::new(true)),
        };
        let (set, asked) = (Arc::clone(&provider.set), Arc::clone(&provider.asked));
        let is_away = Arc::clone(&provider.is_away);
        let says_fresh = Arc::clone(&provider.says_fresh);
        // Ends with the test's process.
        thread::spawn(move || {
            for stream in listener.incoming() {
                if !is_away.load(Ordering::SeqCst) {
                    let set = set.lock().unwrap().clone();
                    answer(stream.unwrap(), &set, says_fresh.load(Ordering::SeqCst));
                }
                asked.fetch_add(1, Ordering::SeqCst);
            }
        });
        provider
    }

    fn publish(&self, letters: &str) {
        *self.set.lock().unwrap() = set_of_public(letters);
    }

    /// Connections are closed without an answer, or not any more.
    pub(crate) fn go_away(&self, is_away: bool) {
        self.is_away.store(is_away, Ordering::SeqCst);
    }

    /// Its answers say no more how long they are fresh.
    fn forbid_to_keep(&self) {
        self.says_fresh.store(false, Ordering::SeqCst);
    }

    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// A server that believes the tokens of this provider.
    pub(crate) fn set_up(&self, keys: &str) -> Setup {
        let address = self.address;
        let mut setup = Setup::new();
        setup.config.set_auth(&format!(
            "[[auth.issuer]]\nname = \"login\"\njwks_url = \"http://{address}/jwks.json\"\n{keys}\n[[auth.rule]]\npath = \"/**\"\n"
        ));
        setup
    }
}

pub(crate) fn answer(mut stream: impl Read + Write, body: &str, says_fresh: bool) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read_exact(&mut byte).is_ok() {
        head.push(byte[0]);
    }
    let length = body.len();
    let cache = if says_fresh {
        "Cache-Control: max-age=3600\r\n"
    } else {
        ""
    };
    // Whoever has asked may be gone.
    let _answered = write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{cache}Connection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    );
}

fn agent_of(server: &Server) -> u32 {
    let lines = server.log.since(Mark::START);
    let started = lines
        .iter()
        .rev()
        .find(|line| line["message"] == "agent started");
    u32::try_from(started.unwrap()["pid"].as_u64().unwrap()).unwrap()
}

#[test]
fn workers_have_the_keys_before_they_serve_and_only_one_process_fetches_them() {
    let provider = Provider::start("a");
    let server = provider.set_up("").set("workers.count", 4).start();
    assert_eq!(statuses(&server, &token_of_pair('a')), [200; 12]);
    assert_eq!(statuses(&server, &token_of_pair('b')), [401; 12]);
    // Once at the start, then for the key that nobody knows: once for each worker, which remembers it.
    assert!(provider.asked() <= 5, "{}", provider.asked());
    server.reload();
    assert_eq!(statuses(&server, &token_of_pair('a')), [200; 12]);
}

#[test]
fn a_key_that_was_just_published_is_accepted_with_the_first_token_and_its_predecessor_is_refused() {
    let provider = Provider::start("a");
    let server = provider.set_up("").set("workers.count", 4).start();
    let mut connections: Vec<_> = (0..8)
        .map(|_| Blocking::open(&server.address()).unwrap())
        .collect();
    for (before, after) in [('a', 'b'), ('b', 'c'), ('c', 'd')] {
        provider.publish(&after.to_string());
        let (token, old) = (token_of_pair(after), token_of_pair(before));
        for connection in &mut connections {
            assert_eq!(connection.send(request(&token)).unwrap().status, 200);
            assert_eq!(connection.send(request(&old)).unwrap().status, 401);
        }
        // One that nobody has made does not make the next one wait.
        let unknown = crate::key_files::token_named(after, "nobody's");
        assert_eq!(connections[0].send(request(&unknown)).unwrap().status, 401);
    }
}

#[test]
fn tokens_with_names_that_no_key_has_cannot_have_the_provider_asked_for_each() {
    let provider = Provider::start("a");
    let server = provider.set_up("").start();
    let mut connection = Blocking::open(&server.address()).unwrap();
    let before = provider.asked();
    for number in 0..200 {
        let token = crate::key_files::token_named('b', &number.to_string());
        assert_eq!(connection.send(request(&token)).unwrap().status, 401);
    }
    let asked = provider.asked() - before;
    assert!(asked <= 12, "{asked}");
    assert_eq!(
        connection
            .send(request(&token_of_pair('a')))
            .unwrap()
            .status,
        200
    );
}

#[test]
fn while_the_provider_is_away_the_last_keys_hold_until_they_are_too_old_and_new_ones_count_when_it_is_back()
 {
    let provider = Provider::start("a");
    let keys = "refresh_interval = \"1s\"\nstale_max = \"4s\"";
    let server = provider.set_up(keys).start();
    provider.go_away(true);
    assert_eq!(statuses(&server, &token_of_pair('a')), [200; 12]);
    // A worker that is born meanwhile has them too.
    for pid in server.pids() {
        os::kill(pid);
    }
    server.until_workers(2);
    assert_eq!(statuses(&server, &token_of_pair('a')), [200; 12]);
    eventually("they are too old", || {
        (statuses(&server, &token_of_pair('a')) == [503; 12]).then_some(())
    });
    let mut connection = Blocking::open(&server.address()).unwrap();
    let answer = connection.send(request(&token_of_pair('a'))).unwrap();
    assert_eq!(answer.headers["retry-after"], "1");
    assert_eq!(answer.json()["code"], "token_not_checked");
    server.assert_said("its keys are not known, or older than `stale_max`");
    provider.publish("b");
    provider.go_away(false);
    eventually("the new keys count", || {
        (statuses(&server, &token_of_pair('b')) == [200; 12]).then_some(())
    });
    assert_eq!(statuses(&server, &token_of_pair('a')), [401; 12]);
}

#[test]
fn a_server_starts_while_the_provider_is_away_and_believes_its_tokens_as_soon_as_it_is_back() {
    let provider = Provider::start("a");
    provider.go_away(true);
    let server = provider.set_up("").start();
    assert_eq!(statuses(&server, &token_of_pair('a')), [503; 12]);
    provider.go_away(false);
    eventually("the keys have come", || {
        (statuses(&server, &token_of_pair('a')) == [200; 12]).then_some(())
    });
}

#[test]
fn the_death_of_the_agent_costs_nothing_and_another_one_goes_on() {
    let provider = Provider::start("a");
    let server = provider.set_up("").start();
    let mark = server.log.mark();
    os::kill(agent_of(&server));
    server.wait_for_log(mark, "the agent died: workers go on with what they have");
    server.wait_for_log(mark, "agent started");
    assert_eq!(statuses(&server, &token_of_pair('a')), [200; 12]);
    provider.publish("b");
    eventually("the next agent fetches", || {
        (statuses(&server, &token_of_pair('b')) == [200; 12]).then_some(())
    });
}

#[test]
fn an_agent_that_hangs_is_replaced_when_it_is_asked_and_does_not_answer() {
    let provider = Provider::start("a");
    let server = provider.set_up("").start();
    let agent = agent_of(&server);
    assert!(os::send(agent, Signal::SIGSTOP));
    provider.publish("b");
    let mark = server.log.mark();
    let mut connection = Blocking::open(&server.address()).unwrap();
    let mut status = |letter| {
        let answer = connection.send(request(&token_of_pair(letter))).unwrap();
        answer.status
    };
    assert_eq!(status('b'), 401);
    assert_eq!(status('a'), 200);
    let hangs = "the agent does not answer, it is replaced";
    within(Duration::from_secs(40), hangs, || {
        (server.count_log(mark, hangs) == 1).then_some(())
    });
    server.wait_for_log(mark, "agent started");
    assert!(!os::is_alive(agent));
    eventually("the next agent fetches", || {
        (status('b') == 200).then_some(())
    });
}

#[test]
fn what_did_not_reach_a_worker_is_not_taken_for_fresh_and_comes_when_there_is_room() {
    let provider = Provider::start("a");
    let keys = "refresh_interval = \"1s\"\nstale_max = \"1m\"";
    let setup = provider.set_up(keys).set("workers.count", 1);
    provider.forbid_to_keep();
    let server = setup.start();
    let mut connection = Blocking::open(&server.address()).unwrap();
    let mut status = |letter| {
        let answer = connection.send(request(&token_of_pair(letter))).unwrap();
        answer.status
    };
    assert_eq!(status('a'), 200);
    let worker = server.pids()[0];
    os::limit_descriptors(worker, 3);
    let mark = server.log.mark();
    provider.publish("b");
    server.wait_for_log(
        mark,
        "what has changed did not arrive, it is asked for again",
    );
    server.wait_for_log(
        mark,
        "what was confirmed is not what is in force here, it is asked for",
    );
    assert_eq!(status('a'), 200);
    os::limit_descriptors(worker, 1024);
    eventually("it has come", || (status('b') == 200).then_some(()));
    assert_eq!(status('a'), 401);
    assert_eq!(server.pids(), [worker]);
}

#[test]
fn keys_outlive_a_reload_and_an_upgrade_while_the_provider_is_away() {
    let provider = Provider::start("a");
    let server = provider.set_up("").start();
    provider.go_away(true);
    server.reload();
    assert_eq!(statuses(&server, &token_of_pair('a')), [200; 12]);
    server.upgrade();
    assert_eq!(statuses(&server, &token_of_pair('a')), [200; 12]);
    provider.go_away(false);
    provider.publish("b");
    eventually("the agent of the new master fetches", || {
        (statuses(&server, &token_of_pair('b')) == [200; 12]).then_some(())
    });
}

#[test]
fn the_agent_comes_and_goes_with_the_need_for_it_and_leaves_with_its_master() {
    let provider = Provider::start("a");
    let mut server = provider.set_up("").start();
    let agent = agent_of(&server);
    server
        .config
        .set_auth("[[auth.rule]]\npath = \"/**\"\naccess = \"public\"\n");
    server.config.write();
    server.reload();
    eventually("nobody needs the agent", || {
        (!os::is_alive(agent)).then_some(())
    });
    let again = provider.set_up("").config.to_string();
    let auth = again.split_once("[[auth.issuer]]").unwrap().1;
    server.config.set_auth(&format!("[[auth.issuer]]{auth}"));
    server.config.write();
    server.reload();
    assert_eq!(statuses(&server, &token_of_pair('a')), [200; 12]);
    let agent = agent_of(&server);
    assert!(os::is_alive(agent));
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait_for_exit(Duration::from_secs(10)), Some(0));
    eventually("the agent leaves with its master", || {
        (!os::is_alive(agent)).then_some(())
    });
}

#[test]
fn a_deny_list_is_polled_and_while_it_cannot_be_had_nobody_is_believed() {
    let list = |jti: &str| format!("{{\"revoked\": [{{\"jti\": \"{jti}\"}}]}}");
    let provider = Provider::start("a");
    let lists = Provider::start("");
    *lists.set.lock().unwrap() = list("one");
    let revocation = format!(
        "[auth.revocation]\nurl = \"http://{}/revoked.json\"\npoll_interval = \"1s\"\nstale_max = \"3s\"",
        lists.address
    );
    let server = provider.set_up(&revocation).start();
    let [one, two] = ["one", "two"].map(|jti| crate::key_files::token_with_jti('a', jti));
    assert_eq!(statuses(&server, &one), [401; 12]);
    assert_eq!(statuses(&server, &two), [200; 12]);
    *lists.set.lock().unwrap() = list("two");
    eventually("the next list is in force", || {
        (statuses(&server, &two) == [401; 12]).then_some(())
    });
    assert_eq!(statuses(&server, &one), [200; 12]);
    lists.go_away(true);
    eventually("the list is too old", || {
        (statuses(&server, &one) == [503; 12]).then_some(())
    });
    // What was revoked stays so.
    assert_eq!(statuses(&server, &two), [401; 12]);
    lists.go_away(false);
    eventually("the list is there again", || {
        (statuses(&server, &one) == [200; 12]).then_some(())
    });
}

#[test]
fn status_and_plan_tell_what_is_fetched_how_old_it_is_and_what_fails() {
    let provider = Provider::start("ab");
    let mut server = provider.set_up("").start();
    let feed = |server: &Server| server.status().feeds.swap_remove(0);
    let status = server.status();
    let agent = status.agent.unwrap();
    assert_eq!(agent.pid, Some(agent_of(&server)));
    let known = feed(&server);
    let url = format!("http://{}/jwks.json", provider.address);
    assert_eq!(
        (known.purpose.as_str(), known.issuer.as_deref()),
        ("keys", Some("login"))
    );
    assert_eq!(
        (known.source.as_str(), known.is_fetched),
        (url.as_str(), true)
    );
    assert_eq!(known.entries, Some(2));
    assert!(known.age.unwrap() < 60.0, "{known:?}");
    // Ahead of the hour that the answer gives.
    let next_in = known.next_in.unwrap();
    assert!((2500.0..3300.0).contains(&next_in), "{known:?}");
    assert!(known.failure.is_none(), "{known:?}");
    let told = server.cli(["status"]).stdout;
    let line = format!("keys       `login`: 2 keys of {url}, confirmed ");
    assert!(told.contains(&line), "{told}");

    provider.go_away(true);
    // Somebody shows a token of another key, so that an attempt is made.
    assert_eq!(statuses(&server, &token_of_pair('c')), [401; 12]);
    eventually("a failure", || feed(&server).failure.map(drop));
    let failing = feed(&server);
    assert_eq!(failing.entries, Some(2));
    let failure = failing.failure.as_ref().unwrap();
    assert!(failure.reason.contains(&url), "{failing:?}");
    assert!(
        failure.since.unwrap() >= failure.ago.unwrap(),
        "{failing:?}"
    );
    assert!(failing.next_in.unwrap() <= 75.0, "{failing:?}");
    let told = server.cli(["status"]).stdout;
    assert!(
        told.contains("failing for ") && told.contains(", good for "),
        "{told}"
    );

    let plan = |server: &Server| server.cli(["plan"]).stdout;
    let kept = plan(&server);
    let is_kept = |line: &str| {
        line.starts_with("keep ") && line.contains("keys of `login`") && line.ends_with(&url)
    };
    assert!(kept.lines().any(is_kept), "{kept}");
    let auth = format!(
        "[auth.revocation]\nfile = \"revoked.json\"\n[[auth.issuer]]\nname = \"login\"\njwks_url = \"{url}?a\"\n[[auth.rule]]\npath = \"/**\"\n"
    );
    std::fs::write(server.folder().join("revoked.json"), "{\"revoked\": []}").unwrap();
    server.config.set_auth(&auth);
    server.config.write();
    let planned = plan(&server);
    for line in [
        "keys of `login`".to_owned(),
        format!("{url}: it is fetched anew, from elsewhere or otherwise"),
        "revoked.json: it is new".to_owned(),
    ] {
        assert!(planned.contains(&line), "{planned}");
    }
    provider.go_away(false);
    eventually("no failure", || {
        feed(&server).failure.is_none().then_some(())
    });
}

#[test]
fn a_deny_list_that_is_there_again_counts_with_the_first_request_that_needs_it() {
    let provider = Provider::start("a");
    let lists = Provider::start("");
    *lists.set.lock().unwrap() = "{\"revoked\": []}".to_owned();
    lists.go_away(true);
    let revocation = format!(
        "[auth.revocation]\nurl = \"http://{}/revoked.json\"\npoll_interval = \"10m\"",
        lists.address
    );
    let server = provider.set_up(&revocation).start();
    // Each time it is tried later: the next one would be in 8 seconds.
    eventually("it was tried four times", || {
        (lists.asked() >= 4).then_some(())
    });
    lists.go_away(false);
    let mut connection = Blocking::open(&server.address()).unwrap();
    let mut ask = || timed(|| connection.send(request(&token_of_pair('a'))).unwrap());
    let (mut answer, mut time) = ask();
    if answer.status == 503 {
        // It heard what came of the fourth attempt, which was under way.
        (answer, time) = ask();
    }
    assert_eq!(answer.status, 200, "after {time:?}");
    // That something is expected of it is no start of another one.
    let agent = server.status().agent.unwrap();
    assert!(
        agent.pid.is_some() && agent.restarts_in.is_none(),
        "{agent:?}"
    );
}
