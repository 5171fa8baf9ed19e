//! Commands that judge tokens by what servers fetch: they fetch it themselves, and say so where they cannot.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread;

use tempfile::TempDir;
use tokio_rustls::rustls::{ServerConnection, StreamOwned};

use crate::key_files::{set_of_public, token_named, token_of_pair, token_with_jti};
use crate::remote_keys::{Provider, answer};
use crate::support::command::{self, Outcome};
use crate::support::tls;

/// A folder with a configuration, without a server.
struct Place(TempDir);

impl Place {
    fn new(config: &str) -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        fs::write(place.0.path().join("app.toml"), config).unwrap();
        place
    }

    fn run(&self, token: &str, words: &[&str]) -> Outcome {
        fs::write(self.0.path().join("token"), token).unwrap();
        let mut command = command::command(&command::destrier());
        command
            .args(words)
            .args(["-c", "app.toml", "--token-file", "token"])
            .current_dir(self.0.path());
        command::run(command)
    }

    fn verify(&self, token: &str) -> Outcome {
        self.run(token, &["token", "verify"])
    }

    fn explain(&self, token: &str) -> Outcome {
        self.run(token, &["auth", "explain", "GET", "/x"])
    }
}

fn config(url: &str, more: &str) -> String {
    format!(
        "{more}\n[[auth.issuer]]\nname = \"login\"\njwks_url = \"{url}\"\n[[auth.rule]]\npath = \"/**\"\n"
    )
}

#[test]
fn a_token_is_judged_by_keys_that_are_fetched_for_it() {
    let provider = Provider::start("a");
    let place = Place::new(&config(&format!("http://{}/jwks", provider.address), ""));
    let valid = place.verify(&token_of_pair('a'));
    assert_eq!(valid.code, Some(0), "{valid:?}");
    assert!(valid.stdout.contains("\"sub\":\"u\""), "{valid:?}");
    assert_eq!(place.explain(&token_of_pair('a')).code, Some(0));
    let asked = provider.asked();
    // Signed with another key; of a name that no key has.
    for token in [token_named('b', "a"), token_of_pair('c')] {
        let refused = place.verify(&token);
        assert_eq!(refused.code, Some(1), "{refused:?}");
        assert!(refused.stderr.contains("token is not valid"), "{refused:?}");
        assert_eq!(place.explain(&token).code, Some(1));
    }
    assert_eq!(provider.asked(), asked + 4, "once for each command");
    let words = ["auth", "explain", "GET", "/x", "-c", "app.toml"];
    let mut command = command::command(&command::destrier());
    command.args(words).current_dir(place.0.path());
    assert_eq!(command::run(command).code, Some(1));
    assert_eq!(provider.asked(), asked + 4, "without a token, for none");
}

#[test]
fn without_the_keys_nobody_says_that_a_token_is_not_valid() {
    let provider = Provider::start("a");
    let place = Place::new(&config(&format!("http://{}/jwks", provider.address), ""));
    let token = token_of_pair('a');
    let offline = place.run(&token, &["token", "verify", "--offline"]);
    assert_eq!(offline.code, Some(4), "{offline:?}");
    assert!(
        offline
            .stderr
            .contains("token cannot be judged: issuer login: its keys are not known")
            && offline
                .stderr
                .contains("keys of issuer `login`: not fetched, as asked"),
        "{offline:?}"
    );
    let offline = place.run(&token, &["auth", "explain", "GET", "/x", "--offline"]);
    assert_eq!(offline.code, Some(4), "{offline:?}");
    assert_eq!(provider.asked(), 0);
    provider.go_away(true);
    for away in [place.verify(&token), place.explain(&token)] {
        assert_eq!(away.code, Some(4), "{away:?}");
        let told = "warning: keys of issuer `login`: cannot fetch: `http://";
        assert!(away.stderr.contains(told), "{away:?}");
    }
    // What no key could make valid.
    let none = place.verify("a.b");
    assert_eq!(none.code, Some(1), "{none:?}");
}

#[test]
fn a_deny_list_at_an_address_counts_too() {
    let keys = Provider::start("a");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let lists = listener.local_addr().unwrap();
    // Ends with the test's process.
    thread::spawn(move || {
        for stream in listener.incoming() {
            answer(stream.unwrap(), r#"{"revoked": [{"jti": "stolen"}]}"#, true);
        }
    });
    let more = format!("[auth.revocation]\nurl = \"http://{lists}/list\"");
    let place = Place::new(&config(&format!("http://{}/jwks", keys.address), &more));
    let good = place.verify(&token_with_jti('a', "good"));
    assert_eq!(good.code, Some(0), "{good:?}");
    let stolen = place.verify(&token_with_jti('a', "stolen"));
    assert_eq!(stolen.code, Some(1), "{stolen:?}");
    assert!(stolen.stderr.contains("is revoked"), "{stolen:?}");
    let unknown = place.run(
        &token_with_jti('a', "good"),
        &["token", "verify", "--offline"],
    );
    assert_eq!(unknown.code, Some(4), "{unknown:?}");
}

/// A server whose authority nobody knows but who has its certificate.
fn start_https(folder: &TempDir) -> SocketAddr {
    let authority = tls::Authority::new();
    tls::put(&folder.path().join("ca.pem"), authority.pem());
    let server = Arc::new(authority.certify(&["localhost"]).server_config());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let set = set_of_public("a");
    thread::spawn(move || {
        for stream in listener.incoming() {
            let tls = ServerConnection::new(Arc::clone(&server)).unwrap();
            answer(StreamOwned::new(tls, stream.unwrap()), &set, true);
        }
    });
    address
}

#[test]
fn the_certificate_of_the_server_is_verified_as_by_the_agent() {
    let authorities = tempfile::tempdir().unwrap();
    let port = start_https(&authorities).port();
    let url = format!("https://localhost:{port}/jwks");
    let stranger = Place::new(&config(&url, ""));
    let refused = stranger.verify(&token_of_pair('a'));
    assert_eq!(refused.code, Some(4), "{refused:?}");
    assert!(refused.stderr.contains("certificate"), "{refused:?}");
    let file = authorities.path().join("ca.pem");
    let trusting = config(&url, "").replace(
        "[[auth.rule]]",
        &format!("ca_file = \"{}\"\n[[auth.rule]]", file.display()),
    );
    let valid = Place::new(&trusting).verify(&token_of_pair('a'));
    assert_eq!(valid.code, Some(0), "{valid:?}");
}
