//! Clients that show a certificate: who is asked, who is refused, and who is told whom a request comes from.

use std::time::{Duration, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use destrier::sys::clock;

use crate::support::eventually;
use crate::support::kit::Kit;
use crate::support::server::{Server, Setup};
use crate::support::tls::{Authority, Client, Pair, Shown, put};
use crate::tls::{setup, setup_of};

const CHANGED: &str = "changed, in force without a reload";
const SECRET: [u8; 32] = [b's'; 32];

struct Place {
    servers: Authority,
    clients: Authority,
    alice: Pair,
}

impl Place {
    fn new() -> Self {
        let clients = Authority::new();
        let alice = clients.certify_client("alice", "spiffe://example/alice");
        Self {
            servers: Authority::new(),
            clients,
            alice,
        }
    }

    fn setup(&self, mode: &str) -> Setup {
        self.setup_of(Kit::Demo, mode)
    }

    fn setup_of(&self, kit: Kit, mode: &str) -> Setup {
        let setup = setup_of(kit, &self.servers)
            .set("tls.client_auth", mode)
            .set("tls.client_ca_file", "clients.pem");
        put(&setup.folder().join("clients.pem"), self.clients.pem());
        setup
    }

    fn nobody(&self) -> Client {
        self.servers.client()
    }

    fn alice(&self) -> Client {
        self.servers.client().showing(&self.alice)
    }

    /// Of another authority.
    fn stranger(&self) -> Client {
        let stranger = Authority::new().certify_client("mallory", "spiffe://example/alice");
        self.servers.client().showing(&stranger)
    }
}

fn body(server: &Server, client: &Client) -> Option<Value> {
    let answer = client.get(server.port(), "/headers").ok()?;
    let body = answer.split_once("\r\n\r\n")?.1;
    serde_json::from_str(body).ok()
}

fn seen(server: &Server, client: &Client) -> Option<Value> {
    Some(body(server, client)?["client_certificate"].clone())
}

#[test]
fn who_must_show_a_certificate_of_the_authority_is_refused_without() {
    let place = Place::new();
    let server = place.setup("require").start();
    let alice = json!({"subject": "CN=alice", "names": ["URI:spiffe://example/alice"]});
    assert_eq!(seen(&server, &place.alice()), Some(alice));
    for client in [place.nobody(), place.stranger()] {
        let mark = server.log.mark();
        assert_eq!(seen(&server, &client), None);
        server.wait_for_log(mark, "a TLS handshake failed");
    }
}

#[test]
fn who_may_show_a_certificate_is_served_without_but_not_with_a_wrong_one() {
    let place = Place::new();
    let server = place.setup("optional").start();
    assert_eq!(seen(&server, &place.nobody()), Some(Value::Null));
    assert_eq!(
        seen(&server, &place.alice()).unwrap()["subject"],
        "CN=alice"
    );
    assert_eq!(seen(&server, &place.stranger()), None);
}

#[test]
fn a_certificate_that_is_revoked_opens_nothing_from_then_on_not_even_a_session_that_has_begun() {
    let place = Place::new();
    let bob = place.clients.certify_client("bob", "spiffe://example/bob");
    let setup = place
        .setup("require")
        .set("tls.client_crl_file", "revoked.pem");
    let list = setup.folder().join("revoked.pem");
    put(&list, place.clients.revoke(&[]));
    let server = setup.start();
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let mark = server.log.mark();
        put(&list, place.clients.revoke(&[]));
        server.wait_for_log(mark, CHANGED);
        let (alice, bob) = (&place.alice, &bob);
        let of = |pair: &Pair| place.servers.client().speaking(version).showing(pair);
        let (alice, bob) = (of(alice), of(bob));
        eventually("both are let in", || {
            let both = [&alice, &bob].map(|client| seen(&server, client).is_some());
            (both == [true, true]).then_some(())
        });
        // One worker may have the list a moment before the other, and a session that began before does not go on after.
        eventually("a session goes on", || {
            seen(&server, &alice)?;
            let again = alice.connect(server.port()).ok()?;
            again.was_resumed().then_some(())
        });
        let mark = server.log.mark();
        put(&list, place.clients.revoke(&[&place.alice]));
        server.wait_for_log(mark, CHANGED);
        eventually("one is not let in any more", || {
            seen(&server, &alice).is_none().then_some(())
        });
        for _ in 0..8 {
            assert_eq!(seen(&server, &alice), None);
            assert!(seen(&server, &bob).is_some());
        }
    }
}

#[test]
fn a_client_that_has_renewed_its_certificate_is_served_although_its_session_began_with_the_old_one()
{
    let place = Place::new();
    let server = place.setup("require").start();
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let end = UNIX_EPOCH + clock::unix() + Duration::from_secs(3);
        let uri = "spiffe://example/alice";
        let old = place.clients.certify_client_until("alice", uri, end);
        let shown = Shown::new(&old);
        let client = place
            .servers
            .client()
            .speaking(version)
            .showing_what(&shown);
        let goes_on = || {
            let connection = client.connect(server.port()).unwrap();
            let was_resumed = connection.was_resumed();
            connection.get("/hello").unwrap();
            was_resumed
        };
        // With the newest ticket each time: that of a session which has gone on before says the same.
        eventually("a session goes on and on", || {
            (goes_on() && goes_on() && goes_on()).then_some(())
        });
        eventually("its certificate has ended", || {
            // It is good until the end of that second.
            let over = UNIX_EPOCH + clock::unix() > end + Duration::from_secs(1);
            over.then_some(())
        });
        shown.change(&place.alice);
        let mut renewed = client.connect(server.port()).unwrap();
        assert!(!renewed.was_resumed());
        renewed
            .send("GET /hello HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
            .unwrap();
        assert!(renewed.rest().unwrap().starts_with("HTTP/1.1 200"));
        // One that has not is told why.
        shown.change(&old);
        let mark = server.log.mark();
        let forgetful = client.forgetful();
        let refused = forgetful.get(server.port(), "/hello").unwrap_err();
        assert!(
            refused.to_string().contains("CertificateExpired"),
            "{refused}"
        );
        let logged = server.wait_for_log(mark, "a TLS handshake failed");
        let address = logged["client"].as_str().unwrap();
        assert!(address.starts_with("127.0.0.1:"), "{logged}");
    }
}

#[test]
fn subjects_that_differ_are_written_differently() {
    let place = Place::new();
    let server = place.setup("require").start();
    for (name, written) in [
        ("bob, O=Admins", "CN=bob\\, O=Admins"),
        ("bob\r\nx: y", "CN=bob\\0d\\0ax: y"),
        (" #\"+;<>\\ ", "CN=\\ #\\\"\\+\\;\\<\\>\\\\\\ "),
    ] {
        let pair = place.clients.certify_client(name, "spiffe://example/bob");
        let client = place.servers.client().showing(&pair);
        let seen = seen(&server, &client).unwrap();
        assert_eq!(seen["subject"], written);
    }
}

/// As WSGI and ASGI applications see it.
#[test]
fn a_python_application_is_told_how_a_connection_is_encrypted_and_by_whom() {
    let place = Place::new();
    for kit in [Kit::Wsgi, Kit::Asgi] {
        let server = place.setup_of(kit, "optional").start();
        let is_asgi = kit == Kit::Asgi;
        for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
            let nobody = place.nobody().speaking(version);
            let answer = body(&server, &nobody).unwrap();
            assert!(answer.get("client_certificate").is_none(), "{answer}");
            let number = Value::from(u16::from(version.version));
            assert_eq!(answer["tls"]["version"] == number, is_asgi, "{answer}");
            let suite = answer["tls"]["cipher_suite"].as_u64();
            assert_eq!(suite.is_some_and(|suite| suite > 0x1000), is_asgi);
        }
        let answer = body(&server, &place.alice()).unwrap();
        let expected = json!({
            "subject": "CN=alice",
            "names": ["URI:spiffe://example/alice"],
            "chain": [place.alice.certificate_pem().replace("\r\n", "\n")],
        });
        assert_eq!(answer["client_certificate"], expected);
    }
}

#[test]
fn another_authority_is_in_force_without_a_reload() {
    let place = Place::new();
    let server = place.setup("require").start();
    let other = Authority::new();
    let carol = other.certify_client("carol", "spiffe://example/carol");
    let carol = place.servers.client().showing(&carol);
    assert_eq!(seen(&server, &carol), None);
    let mark = server.log.mark();
    put(&server.folder().join("clients.pem"), other.pem());
    server.wait_for_log(mark, CHANGED);
    eventually("the other authority counts", || seen(&server, &carol));
    eventually("the one before does not", || {
        seen(&server, &place.alice()).is_none().then_some(())
    });
}

fn token(certificate: &Pair) -> String {
    let thumbprint = URL_SAFE_NO_PAD.encode(digest(&SHA256, &certificate.certificate));
    let claims = json!({"exp": clock::unix().as_secs() + 600, "cnf": {"x5t#S256": thumbprint}});
    let key = EncodingKey::from_secret(&SECRET).unwrap();
    encode(&Header::new(Algorithm::HS256), &claims, &key).unwrap()
}

#[test]
fn a_token_that_is_bound_to_a_certificate_is_for_the_connection_that_shows_it() {
    let place = Place::new();
    let mut setup = place.setup("optional");
    setup.config.set_auth(
        "[[auth.issuer]]\nname = \"own\"\nsecret_file = \"secret\"\nbinding = \"mtls\"\n[[auth.rule]]\npath = \"/**\"\n",
    );
    put(&setup.folder().join("secret"), SECRET);
    let server = setup.start();
    let bob = place.clients.certify_client("bob", "spiffe://example/bob");
    let bob = place.servers.client().showing(&bob);
    let token = token(&place.alice);
    let status = |client: &Client, more: &str| {
        let mut connection = client.connect(server.port()).unwrap();
        let request = format!(
            "GET /hello HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\n{more}connection: close\r\n\r\n"
        );
        connection.send(&request).unwrap();
        connection.rest().unwrap()[9..12].to_owned()
    };
    assert_eq!(status(&place.alice(), ""), "200");
    assert_eq!(status(&bob, ""), "401");
    assert_eq!(status(&place.nobody(), ""), "401");
    // Nobody is trusted to say so in a field.
    let field = base64::engine::general_purpose::STANDARD.encode(&place.alice.certificate);
    assert_eq!(status(&bob, &format!("client-cert: :{field}:\r\n")), "401");
}

#[test]
fn the_certificate_of_a_proxy_is_not_that_of_its_client() {
    let place = Place::new();
    let server = place
        .setup("require")
        .set("server.trusted_proxies", "127.0.0.1")
        .start();
    assert_eq!(seen(&server, &place.alice()), Some(Value::Null));
}

#[test]
fn a_page_that_was_not_encrypted_makes_no_request_with_a_cookie_where_the_connection_is() {
    let place = Place::new();
    let mut setup = setup(&place.servers);
    setup.config.set_auth(
        "[auth]\ntoken_from = [\"cookie:session\"]\n[[auth.issuer]]\nname = \"own\"\nsecret_file = \"secret\"\n[[auth.rule]]\npath = \"/**\"\n",
    );
    put(&setup.folder().join("secret"), SECRET);
    let server = setup.start();
    let claims = json!({"exp": clock::unix().as_secs() + 600});
    let key = EncodingKey::from_secret(&SECRET).unwrap();
    let token = encode(&Header::new(Algorithm::HS256), &claims, &key).unwrap();
    for (origin, status) in [
        ("https://shop.example", "200"),
        ("http://shop.example", "403"),
    ] {
        let mut connection = place.nobody().connect(server.port()).unwrap();
        connection
            .send(&format!(
                "POST /echo HTTP/1.1\r\nhost: shop.example\r\norigin: {origin}\r\ncookie: session={token}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            ))
            .unwrap();
        let answer = connection.rest().unwrap();
        assert_eq!(&answer[9..12], status, "{origin}: {answer}");
    }
}

const RULES: &str = r#"
[[auth.rule]]
path = "/hello"
access = "public"
client_cert = "required"
[[auth.rule]]
path = "/pid"
access = "public"
client_cert_san = ["DNS:robot.example", "URI:spiffe://example/alice"]
[[auth.rule]]
path = "/**"
access = "public"
"#;

#[test]
fn a_rule_asks_for_a_certificate_and_for_its_names() {
    let place = Place::new();
    let mut setup = place.setup("optional");
    setup.config.set_auth(RULES);
    let server = setup.start();
    let bob = place.clients.certify_client("bob", "spiffe://example/bob");
    let bob = place.servers.client().showing(&bob);
    let status =
        |client: &Client, path: &str| client.get(server.port(), path).unwrap()[9..12].to_owned();
    for (client, statuses) in [
        (place.alice(), ["200", "200", "200"]),
        (bob, ["200", "403", "200"]),
        (place.nobody(), ["403", "403", "200"]),
    ] {
        let found = ["/hello", "/pid", "/"].map(|path| status(&client, path));
        assert_eq!(found, statuses);
    }
    let refused = place.nobody().get(server.port(), "/hello").unwrap();
    assert!(
        refused.contains("\"client_certificate_required\""),
        "{refused}"
    );
}

#[test]
fn the_names_of_a_certificate_that_a_proxy_passes_on_count() {
    let place = Place::new();
    let mut setup = Setup::new().set("server.trusted_proxies", "127.0.0.1");
    setup.config.set_auth(RULES);
    let server = setup.start();
    let bob = place.clients.certify_client("bob", "spiffe://example/bob");
    for (shown, status) in [(Some(&place.alice), 200), (Some(&bob), 403), (None, 403)] {
        let mut request = http::Request::get("/pid").header("host", "test");
        if let Some(pair) = shown {
            let der = base64::engine::general_purpose::STANDARD.encode(&pair.certificate);
            request = request.header("client-cert", format!(":{der}:"));
        }
        let request = request.body(http_body_util::Empty::new()).unwrap();
        let mut connection = crate::support::client::Blocking::open(&server.address()).unwrap();
        assert_eq!(connection.send(request).unwrap().status, status);
    }
}
