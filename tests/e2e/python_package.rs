//! The Python package `destrier`: applications can import it in every worker, without installing anything.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};

use crate::support::client;
use crate::support::python;
use crate::support::server::{Server, Setup};

const AUTH: &str = "[[auth.issuer]]\nsecret_file = \"secret\"\n[[auth.rule]]\npath = \"/**\"\naccess = \"optional\"\n";

/// The application of `tests/fixtures/python/whose.py`.
fn setup() -> Setup {
    let mut setup = python::bare()
        .set("app.wsgi", "whose")
        .set("workers.count", 1);
    let secret = setup.folder().join("secret");
    fs::write(&secret, "a secret of thirty-two octets!!!").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    let whose = include_str!("../fixtures/python/whose.py");
    fs::write(setup.folder().join("whose.py"), whose).unwrap();
    setup.config.set_auth(AUTH);
    setup
}

fn ask(server: &Server, token: Option<&str>) -> Value {
    let mut request = hyper::Request::get("/").header("host", "localhost");
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let request = request.body(http_body_util::Empty::new()).unwrap();
    let mut connection = client::Blocking::open(&server.address()).unwrap();
    connection.send(request).unwrap().json()
}

#[test]
fn every_worker_can_import_the_package() {
    let setup = setup();
    // A folder of that name is no package, only something in whose place one may come.
    fs::create_dir(setup.folder().join("destrier")).unwrap();
    let server = setup.start();
    let nobody = ask(&server, None);
    assert_eq!(nobody["claims"], Value::Null);
    assert_eq!(nobody["worker"], true);
    let token = server.cli(["token", "issue", "--sub", "anna"]).stdout;
    let anna = ask(&server, Some(token.trim()));
    assert_eq!(anna["claims"]["sub"], "anna");
}

#[test]
fn an_application_knows_which_issuer_has_signed_whatever_a_token_says() {
    let mut setup = setup();
    let other = setup.folder().join("other");
    fs::write(&other, "another one of thirty-two octets").unwrap();
    fs::set_permissions(&other, fs::Permissions::from_mode(0o600)).unwrap();
    // Neither has an `iss` of its own.
    let issuers = "[[auth.issuer]]\nname = \"own\"\nsecret_file = \"secret\"\n\
                   [[auth.issuer]]\nname = \"partner\"\nsecret_file = \"other\"\n";
    let rules = "[[auth.rule]]\npath = \"/**\"\naccess = \"optional\"\n";
    setup.config.set_auth(&format!("{issuers}{rules}"));
    let server = setup.start();
    assert_eq!(ask(&server, None)["issuer"], Value::Null);
    for issuer in ["own", "partner"] {
        let issued = server.cli(["token", "issue", "--sub", "anna", "--issuer", issuer]);
        // The second time it is one that was verified before.
        for _ in 0..2 {
            let answer = ask(&server, Some(issued.stdout.trim()));
            assert_eq!(answer["issuer"], issuer, "{answer}");
            assert_eq!(answer["issuers"], json!(["own", "partner"]));
        }
    }
}

#[test]
fn a_package_of_the_applications_own_by_that_name_comes_first() {
    let setup = setup();
    let own = setup.folder().join("destrier.py");
    fs::write(&own, "claims = issuer = is_worker = lambda *_: 'own'\n").unwrap();
    let server = setup.start();
    let wanted = json!({"claims": "own", "issuer": "own", "worker": "own", "issuers": ["auth.issuer[0]"], "file": own});
    assert_eq!(ask(&server, None), wanted);
}
