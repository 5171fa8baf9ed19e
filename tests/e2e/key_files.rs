//! A key file that is replaced is in force without a reload, for every worker at once; one that is no good changes nothing.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use destrier::sys::clock;
use http::Request;
use http_body_util::Empty;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::json;

use crate::identity::unprivileged;
use crate::support::client::{Address, Blocking};
use crate::support::journal::Mark;
use crate::support::server::{Server, Setup};
use crate::support::{eventually, os, within};

const CHANGED: &str = "changed, in force without a reload";

const AUTH: &str = r#"
[[auth.issuer]]
name = "own"
KEYS
[[auth.rule]]
path = "/**"
"#;

/// A key that signs and verifies, by its letter.
fn secret(letter: char) -> String {
    letter.to_string().repeat(32)
}

fn set_of(letters: &str) -> String {
    let key = |letter: char| json!({"kty": "oct", "kid": letter, "alg": "HS256", "k": URL_SAFE_NO_PAD.encode(secret(letter))});
    json!({ "keys": letters.chars().map(key).collect::<Vec<_>>() }).to_string()
}

fn token(letter: char) -> String {
    let mut header = Header::new(Algorithm::HS256);
    header.kid = Some(letter.into());
    let claims = json!({"sub": "u", "exp": clock::unix().as_secs() + 600, "n": fastrand::u64(..)});
    encode(
        &header,
        &claims,
        &EncodingKey::from_secret(secret(letter).as_bytes()).unwrap(),
    )
    .unwrap()
}

/// A key pair that signs and verifies, by its letter.
struct Pair {
    signs: EncodingKey,
    jwk: serde_json::Value,
}

static PAIRS: LazyLock<BTreeMap<char, Pair>> = LazyLock::new(|| {
    let pair = |letter: char| {
        let key = Ed25519KeyPair::generate().unwrap();
        let public = URL_SAFE_NO_PAD.encode(key.public_key());
        let pair = Pair {
            signs: EncodingKey::from_ed_der(key.to_pkcs8().unwrap().as_ref()),
            jwk: json!({"kty": "OKP", "crv": "Ed25519", "kid": letter, "x": public}),
        };
        (letter, pair)
    };
    ('a'..='d').map(pair).collect()
});

/// The public halves of these key pairs.
pub(crate) fn set_of_public(letters: &str) -> String {
    let keys: Vec<_> = letters.chars().map(|letter| &PAIRS[&letter].jwk).collect();
    json!({ "keys": keys }).to_string()
}

/// A token that a key pair has signed.
pub(crate) fn token_of_pair(letter: char) -> String {
    token_named(letter, &letter.to_string())
}

/// A token with this name that a key pair has signed.
pub(crate) fn token_with_jti(letter: char, jti: &str) -> String {
    let mut header = Header::new(Algorithm::EdDSA);
    header.kid = Some(letter.to_string());
    let claims = json!({"jti": jti, "sub": "u", "exp": clock::unix().as_secs() + 600});
    encode(&header, &claims, &PAIRS[&letter].signs).unwrap()
}

/// A token that a key pair has signed and that says another name of its key.
pub(crate) fn token_named(letter: char, kid: &str) -> String {
    let mut header = Header::new(Algorithm::EdDSA);
    header.kid = Some(kid.to_owned());
    let claims = json!({"sub": "u", "exp": clock::unix().as_secs() + 600, "n": fastrand::u64(..)});
    encode(&header, &claims, &PAIRS[&letter].signs).unwrap()
}

/// Puts a file in the place of another one at once, readable by its owner only.
fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).unwrap();
    fs::rename(new, path).unwrap();
}

fn start(keys: &str, prepare: impl Fn(&Path)) -> Server {
    let mut setup = Setup::new();
    setup.config.set_auth(&AUTH.replace("KEYS", keys));
    prepare(setup.folder());
    setup.start()
}

pub(crate) fn request(token: &str) -> Request<Empty<Bytes>> {
    let request = Request::get("/")
        .header("host", "test")
        .header("authorization", format!("Bearer {token}"));
    request.body(Empty::new()).unwrap()
}

/// What this token is answered on connections enough for every worker to have some.
pub(crate) fn statuses(server: &Server, token: &str) -> Vec<u16> {
    let address = server.address();
    let ask = |_| {
        let mut connection = Blocking::open(&address).unwrap();
        connection.send(request(token)).unwrap().status
    };
    (0..12).map(ask).collect()
}

#[track_caller]
fn assert_all(server: &Server, letter: char, status: u16) {
    assert_eq!(
        statuses(server, &token(letter)),
        [status; 12],
        "of key {letter}"
    );
}

#[test]
fn a_secret_that_is_replaced_is_in_force_without_a_reload_and_the_one_before_is_not() {
    let server = start("secret_file = \"secret\"", |folder| {
        replace(&folder.join("secret"), &secret('a'));
    });
    let pids = server.pids();
    assert_all(&server, 'a', 200);
    assert_all(&server, 'b', 401);
    // One that was verified before is asked about too.
    let known = token('a');
    let mut connection = Blocking::open(&server.address()).unwrap();
    assert_eq!(connection.send(request(&known)).unwrap().status, 200);

    let mark = server.log.mark();
    replace(&server.folder().join("secret"), &secret('b'));
    server.wait_for_log(mark, CHANGED);
    eventually("the old key is refused", || {
        (connection.send(request(&known)).unwrap().status == 401).then_some(())
    });
    eventually("the new key is accepted", || {
        (statuses(&server, &token('b')) == [200; 12]).then_some(())
    });
    assert_all(&server, 'a', 401);
    assert_eq!(server.pids(), pids);
    // A file that is only written anew has not changed.
    let mark = server.log.mark();
    replace(&server.folder().join("secret"), &secret('b'));
    replace(&server.folder().join("secret"), &secret('c'));
    server.wait_for_log(mark, CHANGED);
    assert_eq!(server.count_log(mark, CHANGED), 1);
}

/// As kubelet mounts a secret: the files are links into a folder that `..data` names.
fn mount(folder: &Path, version: &str, text: &str) {
    let volume = folder.join("volume");
    fs::create_dir_all(volume.join(version)).unwrap();
    replace(&volume.join(version).join("jwks.json"), text);
    symlink(version, volume.join("..data_tmp")).unwrap();
    fs::rename(volume.join("..data_tmp"), volume.join("..data")).unwrap();
    let link = volume.join("jwks.json");
    if !link.is_symlink() {
        symlink("..data/jwks.json", link).unwrap();
    }
}

#[test]
fn a_volume_of_kubernetes_is_followed_through_its_links() {
    let server = start("jwks_file = \"volume/jwks.json\"", |folder| {
        mount(folder, "..1", &set_of("a"));
    });
    for (round, letter) in ['b', 'c', 'd'].into_iter().enumerate() {
        let mark = server.log.mark();
        let version = format!("..{}", round + 2);
        mount(server.folder(), &version, &set_of(&letter.to_string()));
        server.wait_for_log(mark, CHANGED);
        eventually("the new key is accepted", || {
            (statuses(&server, &token(letter)) == [200; 12]).then_some(())
        });
        // The old version is removed only then.
        let old = format!("volume/..{}", round + 1);
        fs::remove_dir_all(server.folder().join(old)).unwrap();
    }
    assert_all(&server, 'a', 401);
}

#[test]
fn a_file_that_is_no_good_is_told_once_and_leaves_what_was_until_it_is_good_again() {
    let server = start("jwks_file = \"jwks.json\"", |folder| {
        replace(&folder.join("jwks.json"), &set_of("a"));
    });
    let file = server.folder().join("jwks.json");
    let told = "changed, but cannot be put in force: what was before stays";
    for bad in ["{\"keys\":[]}", "no JSON"] {
        let mark = server.log.mark();
        replace(&file, bad);
        let line = server.wait_for_log(mark, told);
        let reason = line["reason"].as_str().unwrap().to_owned();
        assert!(reason.contains("jwks.json"), "{reason}");
        assert_all(&server, 'a', 200);
    }
    let mark = server.log.mark();
    fs::remove_file(&file).unwrap();
    server.wait_for_log(mark, told);
    assert_all(&server, 'a', 200);
    // What was in force is good again, and is not news.
    let mark = server.log.mark();
    replace(&file, &set_of("a"));
    server.wait_for_log(mark, "good again");
    assert_eq!(server.count_log(mark, CHANGED), 0);
    let mark = server.log.mark();
    replace(&file, &set_of("b"));
    server.wait_for_log(mark, CHANGED);
    assert_eq!(server.count_log(mark, "good again"), 0);
    eventually("the new key is accepted", || {
        (statuses(&server, &token('b')) == [200; 12]).then_some(())
    });
    assert_all(&server, 'a', 401);
}

#[test]
fn a_folder_that_is_replaced_as_a_whole_is_followed() {
    let put = |folder: &Path, letters: &str| {
        fs::create_dir_all(folder).unwrap();
        replace(&folder.join("jwks.json"), &set_of(letters));
    };
    let server = start("jwks_file = \"keys/jwks.json\"", |folder| {
        put(&folder.join("keys"), "a");
    });
    let keys = server.folder().join("keys");
    for letter in ['b', 'c'] {
        let mark = server.log.mark();
        put(&server.folder().join("next"), &letter.to_string());
        fs::rename(&keys, server.folder().join(format!("before-{letter}"))).unwrap();
        fs::rename(server.folder().join("next"), &keys).unwrap();
        server.wait_for_log(mark, CHANGED);
        eventually("the new key is accepted", || {
            (statuses(&server, &token(letter)) == [200; 12]).then_some(())
        });
    }
}

#[test]
fn a_folder_far_above_that_is_replaced_is_followed() {
    let put = |releases: &Path, letters: &str| {
        let keys = releases.join("1/keys");
        fs::create_dir_all(&keys).unwrap();
        replace(&keys.join("jwks.json"), &set_of(letters));
    };
    let server = start("jwks_file = \"releases/1/keys/jwks.json\"", |folder| {
        put(&folder.join("releases"), "a");
    });
    let releases = server.folder().join("releases");
    for letter in ['b', 'c'] {
        let mark = server.log.mark();
        let next = server.folder().join("next");
        put(&next, &letter.to_string());
        fs::rename(&releases, server.folder().join(format!("old-{letter}"))).unwrap();
        fs::rename(next, &releases).unwrap();
        server.wait_for_log(mark, CHANGED);
        eventually("the new key is accepted", || {
            (statuses(&server, &token(letter)) == [200; 12]).then_some(())
        });
    }
    // What is written there afterwards counts too.
    let mark = server.log.mark();
    put(&releases, "d");
    server.wait_for_log(mark, CHANGED);
}

#[test]
fn a_worker_that_is_born_later_has_the_keys_that_are_in_force() {
    let server = start("jwks_file = \"jwks.json\"", |folder| {
        replace(&folder.join("jwks.json"), &set_of("a"));
    });
    let file = server.folder().join("jwks.json");
    let mark = server.log.mark();
    replace(&file, &set_of("b"));
    server.wait_for_log(mark, CHANGED);
    // What lies on disk is no good by then.
    replace(&file, "no JSON");
    for pid in server.pids() {
        os::kill(pid);
        server.until("a replacement", |status| {
            let pids = crate::support::server::accepting(status);
            (pids.len() == 2 && !pids.contains(&pid)).then_some(())
        });
    }
    assert_all(&server, 'b', 200);
    assert_all(&server, 'a', 401);
}

#[test]
fn where_a_folder_cannot_be_watched_its_files_are_looked_at_now_and_then_and_that_is_told_once() {
    let Some(user) = unprivileged() else { return };
    let mut setup = Setup::new().under(&[
        "setpriv",
        "--reuid=nobody",
        "--regid=nogroup",
        "--clear-groups",
    ]);
    let keys = "jwks_file = \"keys/jwks.json\"";
    setup.config.set_auth(&AUTH.replace("KEYS", keys));
    chown(setup.folder(), Some(user.uid.as_raw()), None).unwrap();
    let folder = setup.folder().join("keys");
    fs::create_dir(&folder).unwrap();
    let put = |letters: &str| {
        let (new, file) = (folder.join("new"), folder.join("jwks.json"));
        fs::write(&new, set_of(letters)).unwrap();
        chown(&new, Some(user.uid.as_raw()), None).unwrap();
        fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).unwrap();
        fs::rename(new, file).unwrap();
    };
    put("a");
    // It may be passed through, and not be read.
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o711)).unwrap();
    let server = setup.launch();
    server.until_workers(2);
    assert_all(&server, 'a', 200);
    let used = os::processor_time(server.pid);
    for letter in ["b", "c"] {
        let mark = server.log.mark();
        put(letter);
        within(Duration::from_secs(30), "it is looked at", || {
            (server.count_log(mark, CHANGED) == 1).then_some(())
        });
    }
    let told = "cannot watch for changes of key files here, looks at them now and then";
    assert_eq!(server.count_log(Mark::START, told), 1);
    let used = os::processor_time(server.pid).saturating_sub(used);
    assert!(used < Duration::from_secs(1), "{used:?}");
}

fn token_of(claims: &serde_json::Value) -> String {
    let mut claims = claims.clone();
    claims["exp"] = (clock::unix().as_secs() + 600).into();
    let key = EncodingKey::from_secret(secret('a').as_bytes()).unwrap();
    encode(&Header::new(Algorithm::HS256), &claims, &key).unwrap()
}

#[test]
fn a_token_on_a_deny_list_is_refused_as_soon_as_the_file_says_so_also_one_that_was_verified_before()
{
    let put = |folder: &Path, list: serde_json::Value| {
        replace(
            &folder.join("revoked.json"),
            &json!({ "revoked": list }).to_string(),
        );
    };
    let keys = "secret_file = \"secret\"\n[auth.revocation]\nfile = \"revoked.json\"";
    let server = start(keys, |folder| {
        replace(&folder.join("secret"), &secret('a'));
        put(folder, json!([{"jti": "never"}]));
    });
    let now = clock::unix().as_secs();
    let tokens = [
        json!({"jti": "one", "sub": "u", "iat": now - 10}),
        json!({"jti": "two", "sub": "u", "iat": now - 5}),
        json!({"jti": "three", "sub": "v", "sid": "s", "iat": now - 5}),
    ]
    .map(|claims| token_of(&claims));
    let mut connections: Vec<_> = (0..4)
        .map(|_| Blocking::open(&server.address()).unwrap())
        .collect();
    let mut passed = || {
        let mut ask = |token: &String| {
            let statuses: Vec<u16> = connections
                .iter_mut()
                .map(|connection| connection.send(request(token)).unwrap().status)
                .collect();
            match statuses.as_slice() {
                [200, 200, 200, 200] => Some(true),
                [401, 401, 401, 401] => Some(false),
                _ => None,
            }
        };
        let passed: Option<Vec<bool>> = tokens.iter().map(&mut ask).collect();
        passed
    };
    assert_eq!(passed(), Some(vec![true, true, true]));
    for (list, expected) in [
        (json!([{"jti": "one"}]), [false, true, true]),
        (json!([{"sid": "s"}]), [true, true, false]),
        (
            json!([{"sub": "u", "issued_before": now - 5}]),
            [false, true, true],
        ),
        (json!([{"sub": "u"}]), [false, false, true]),
        (json!([]), [true, true, true]),
    ] {
        let mark = server.log.mark();
        put(server.folder(), list.clone());
        server.wait_for_log(mark, CHANGED);
        eventually(&format!("{list}"), || (passed()? == expected).then_some(()));
    }
    server.assert_said("the token is revoked: its sid is on a deny list");
    // What is no list changes nothing.
    put(server.folder(), json!([{"jti": "one"}]));
    eventually("it is in force", || {
        (passed()? == [false, true, true]).then_some(())
    });
    let mark = server.log.mark();
    put(server.folder(), json!([{"jti": "two", "typo": 1}]));
    server.wait_for_log(
        mark,
        "changed, but cannot be put in force: what was before stays",
    );
    assert_eq!(passed(), Some(vec![false, true, true]));
}

/// Clients that show new tokens of one key, each the moment the last one was answered.
struct Clients {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<u32>>,
}

impl Clients {
    fn start(address: &Address, letter: char) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let client = || {
            let (stop, address) = (Arc::clone(&stop), address.clone());
            thread::spawn(move || {
                let mut connection = Blocking::open(&address).unwrap();
                let mut answered = 0;
                while !stop.load(Ordering::Relaxed) {
                    let answer = connection.send(request(&token(letter))).unwrap();
                    assert_eq!(answer.status, 200, "key {letter} after {answered} requests");
                    answered += 1;
                }
                answered
            })
        };
        let threads = (0..4).map(|_| client()).collect();
        Self { stop, threads }
    }

    fn finish(self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            assert!(thread.join().unwrap() > 0);
        }
    }
}

#[test]
fn keys_that_overlap_are_rolled_over_under_load_without_one_false_refusal() {
    let server = start("jwks_file = \"jwks.json\"", |folder| {
        replace(&folder.join("jwks.json"), &set_of("a"));
    });
    let (file, address) = (server.folder().join("jwks.json"), server.address());
    let mut old = Clients::start(&address, 'a');
    for (before, after) in [('a', 'b'), ('b', 'c'), ('c', 'd'), ('d', 'e')] {
        let mark = server.log.mark();
        replace(&file, &set_of(&format!("{before}{after}")));
        server.wait_for_log(mark, CHANGED);
        eventually("every worker has it", || {
            (statuses(&server, &token(after)) == [200; 12]).then_some(())
        });
        let new = Clients::start(&address, after);
        old.finish();
        let mark = server.log.mark();
        replace(&file, &set_of(&after.to_string()));
        server.wait_for_log(mark, CHANGED);
        within(
            Duration::from_secs(1),
            "a key that was removed is refused",
            || (statuses(&server, &token(before)) == [401; 12]).then_some(()),
        );
        old = new;
    }
    old.finish();
}
