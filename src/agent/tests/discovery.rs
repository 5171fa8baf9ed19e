//! The metadata of an issuer.

use super::super::client::Limits;
use super::super::source::Source;
use super::server::{Server, ok, status};
use super::{KEY, OTHER_KEY, content, fetch, problem, set};
use crate::config::FetchKind;

/// The issuer at `path` of `server`.
fn source(server: &Server, path: &str, issuer: &str) -> Source {
    let mut fetch = fetch(&server.url(path));
    fetch.kind = FetchKind::Discovery {
        issuer: issuer.to_owned(),
    };
    Source::new(fetch, Limits::default(), None)
}

fn metadata(issuer: &str, keys: &str) -> String {
    serde_json::json!({"issuer": issuer, "jwks_uri": keys}).to_string()
}

#[tokio::test]
async fn the_keys_of_an_issuer_are_where_its_metadata_say() {
    let server = Server::start(|_, _| status(404)).await;
    let keys = server.url("/keys");
    for (place, asked) in [
        (
            "/a/.well-known/openid-configuration",
            &["/a/.well-known/openid-configuration", "/keys"][..],
        ),
        (
            "/.well-known/oauth-authorization-server/a",
            &[
                "/a/.well-known/openid-configuration",
                "/.well-known/oauth-authorization-server/a",
                "/keys",
            ],
        ),
    ] {
        let before = server.asked().len();
        let keys = keys.clone();
        server.answer(move |path, _| match path {
            "/keys" => ok(&set(&[KEY])),
            path if path == place => ok(&metadata("the issuer", &keys)),
            _ => status(404),
        });
        let mut source = source(&server, "/a/", "the issuer");
        assert_eq!(content(source.attempt().await), set(&[KEY]));
        assert_eq!(server.asked()[before..], *asked);
        // Where they are is known for a while.
        assert!(source.attempt().await.unwrap().content.is_none());
        assert_eq!(server.asked()[before + asked.len()..], ["/keys"]);
    }
}

#[tokio::test]
async fn after_a_failure_the_metadata_are_asked_again() {
    let server = Server::start(|_, _| status(404)).await;
    let (old, new) = (server.url("/old"), server.url("/new"));
    server.answer(move |path, _| match path {
        "/old" => ok(&set(&[KEY])),
        _ => ok(&metadata("a", &old)),
    });
    let mut source = source(&server, "", "a");
    content(source.attempt().await);
    server.answer(move |path, _| match path {
        "/old" => status(404),
        "/new" => ok(&set(&[OTHER_KEY])),
        _ => ok(&metadata("a", &new)),
    });
    assert!(problem(source.attempt().await).contains("/old`: it answers 404"));
    assert_eq!(content(source.attempt().await), set(&[OTHER_KEY]));
}

#[tokio::test]
async fn metadata_of_another_issuer_and_keys_of_another_place_are_refused() {
    let server = Server::start(|_, _| status(404)).await;
    let keys = server.url("/keys");
    for (issuer, keys, reason) in [
        (
            "b",
            keys.as_str(),
            "the metadata are those of `b`, not of `a`",
        ),
        ("a/", &keys, "the metadata are those of `a/`, not of `a`"),
        ("a", "http://169.254.169.254/", "is neither `https` nor"),
        ("a", "http://other.example/", "is neither `https` nor"),
        ("a", "https://169.254.169.254/", "is a link-local address"),
        ("a", "/keys", "is neither `https` nor"),
    ] {
        let text = metadata(issuer, keys);
        server.answer(move |path, _| match path {
            "/keys" => ok(&set(&[KEY])),
            _ => ok(&text),
        });
        let problem = problem(source(&server, "", "a").attempt().await);
        assert!(problem.contains(reason), "{problem}");
    }
    server.answer(|_, _| ok("{}"));
    let problem_found = problem(source(&server, "", "a").attempt().await);
    assert!(
        problem_found.contains("missing field `issuer`"),
        "{problem_found}"
    );
    // Only what is not there may be elsewhere.
    server.answer(|path, _| status(if path.contains("openid") { 500 } else { 200 }));
    let problem = problem(source(&server, "", "a").attempt().await);
    assert!(problem.contains("it answers 500"), "{problem}");
}
