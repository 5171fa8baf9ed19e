//! One attempt: what is believed, and what is not.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::super::client::Limits;
use super::super::source::Source;
use super::server::{Server, Text, ok, ok_with, redirect, status};
use super::{KEY, OTHER_KEY, content, fetch, problem, set, source};
use crate::config::{Algorithm, FetchKind};

#[tokio::test]
async fn a_key_set_is_fetched_with_what_the_operator_should_know_and_how_long_it_is_fresh() {
    let text = set(&[KEY, r#"{"kty":"oct","k":"AAAA"}"#, r#"{"kty":"new"}"#]);
    let expected = text.clone();
    let server =
        Server::start(move |_, _| ok_with(&text, &[("cache-control", "max-age=600")])).await;
    let mut source = source(&server.url("/keys?tenant=a"));
    let brought = source.attempt().await.unwrap();
    assert_eq!(brought.lifetime, Some(Duration::from_mins(10)));
    assert_eq!(brought.warnings.len(), 2, "{:?}", brought.warnings);
    assert_eq!(content(Ok(brought)), expected);
    assert_eq!(server.asked(), ["/keys?tenant=a"]);
    let fields = server.fields();
    assert!(
        fields["accept"]
            .to_str()
            .unwrap()
            .contains("application/json")
    );
    assert!(
        fields["user-agent"]
            .to_str()
            .unwrap()
            .starts_with("destrier/")
    );
    for field in ["authorization", "cookie", "accept-encoding", "referer"] {
        assert!(!fields.contains_key(field), "{field}");
    }
}

#[tokio::test]
async fn the_server_is_asked_whether_anything_has_changed() {
    let server = Server::start(|_, fields| {
        let is_known = fields
            .get("if-none-match")
            .is_some_and(|tag| tag == "\"one\"")
            && fields.get("if-modified-since").is_some();
        if is_known {
            let mut answer = status(304);
            let age = http::HeaderValue::from_static("max-age=300");
            answer.headers_mut().insert("cache-control", age);
            return answer;
        }
        let modified = ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT");
        ok_with(&set(&[KEY]), &[("etag", "\"one\""), modified])
    })
    .await;
    let mut source = source(&server.url("/"));
    let brought = source.attempt().await.unwrap();
    assert!(brought.content.is_some());
    assert_eq!(brought.lifetime, None);
    for _ in 0..2 {
        let brought = source.attempt().await.unwrap();
        assert!(brought.content.is_none());
        assert_eq!(brought.lifetime, Some(Duration::from_mins(5)));
    }
    server.answer(|_, _| ok(&set(&[KEY, OTHER_KEY])));
    assert_eq!(content(source.attempt().await), set(&[KEY, OTHER_KEY]));
    // What it has no validators of is asked for as a whole, and is known again.
    assert!(source.attempt().await.unwrap().content.is_none());
    assert!(!server.fields().contains_key("if-none-match"));
    // Nobody asked whether anything has changed.
    server.answer(|_, _| status(304));
    assert!(problem(source.attempt().await).ends_with("it answers 304 Not Modified"));
}

#[tokio::test]
async fn what_is_not_good_is_told_and_replaces_nothing() {
    let server = Server::start(|_, _| ok(&set(&[KEY]))).await;
    let mut fetch = fetch(&server.url("/keys?password"));
    fetch.algorithms = vec![Algorithm::Es256];
    let mut source = Source::new(fetch, Limits::default(), None);
    source.attempt().await.unwrap();
    for (answer, reason) in [
        (status(500), "it answers 500"),
        (status(404), "it answers 404"),
        (status(204), "it answers 204"),
        (ok(""), "it is not a JWK or JWK set"),
        (ok("<html></html>"), "it is not a JWK or JWK set"),
        (ok("[]"), "it is not a JWK or JWK set"),
        (ok(&set(&[])), "no key of the set can be used, it is empty"),
        (
            ok(&set(&[r#"{"kty":"oct","k":"AAAA"}"#])),
            "no key of the set can be used",
        ),
        // A key of an algorithm that the issuer may not use is none.
        (
            ok(&set(&[OTHER_KEY])),
            "serves none of the allowed algorithms",
        ),
        (ok(&KEY[..KEY.len() - 1]), "it is not a JWK or JWK set"),
    ] {
        let answer = std::sync::Mutex::new(Some(answer));
        server.answer(move |_, _| answer.lock().unwrap().take().unwrap_or_else(|| status(500)));
        let problem = problem(source.attempt().await);
        assert!(problem.contains(reason), "{problem}");
        assert!(
            problem.starts_with(&format!("`http://{}/keys`: ", server.address)),
            "{problem}"
        );
        assert!(!problem.contains("password"), "{problem}");
    }
    server.answer(|_, _| ok(&set(&[KEY])));
    assert!(source.attempt().await.unwrap().content.is_none());
}

#[tokio::test]
async fn a_deny_list_is_one_or_is_refused() {
    let list = r#"{"revoked":[{"jti":"a"}]}"#;
    let server = Server::start(move |_, _| ok(list)).await;
    let mut fetch = fetch(&server.url("/"));
    fetch.kind = FetchKind::DenyList;
    let mut source = Source::new(fetch, Limits::default(), None);
    assert_eq!(content(source.attempt().await), list);
    // A long one is one too.
    let long = format!("{list}{}", " ".repeat(1 << 20));
    let expected = long.clone();
    server.answer(move |_, _| ok(&long));
    assert_eq!(content(source.attempt().await), expected);
    for bad in [
        "",
        "{}",
        r#"{"revoked":[{}]}"#,
        r#"{"revoked":[{"jti":"a"}]"#,
    ] {
        server.answer(move |_, _| ok(bad));
        problem(source.attempt().await);
    }
}

#[tokio::test]
async fn redirects_are_followed_to_the_same_host_and_three_times_only() {
    let other = Server::start(|_, _| ok(&set(&[KEY]))).await;
    let elsewhere = format!("http://localhost:{}/", other.address.port());
    let server = Server::start(move |path, _| match path {
        "/1" => redirect("/2"),
        "/2" => redirect("3"),
        "/3" => redirect("/4"),
        "/4" => ok(&set(&[KEY])),
        "/0" => redirect("/1"),
        "/elsewhere" => redirect(&elsewhere),
        "/tls" => redirect("https://127.0.0.1/"),
        "/metadata" => redirect("http://169.254.169.254/"),
        _ => redirect("file:///etc/passwd"),
    })
    .await;
    content(source(&server.url("/1")).attempt().await);
    for (path, reason) in [
        ("/0", "it redirects more than 3 times"),
        (
            "/elsewhere",
            "it redirects to `http://localhost`, another host",
        ),
        (
            "/tls",
            "it redirects to `https://127.0.0.1`, another host or scheme",
        ),
        ("/metadata", "it redirects to `http://169.254.169.254`"),
        ("/file", "it answers 302"),
    ] {
        let problem = problem(source(&server.url(path)).attempt().await);
        assert!(problem.contains(reason), "{problem}");
    }
    assert!(other.asked().is_empty());
}

#[tokio::test]
async fn an_answer_that_is_too_long_is_not_read_to_its_end() {
    let most = Limits::default().size;
    let server = Server::start(move |path, _| match path {
        "/just" => ok(&format!(
            "{}{}",
            set(&[KEY]),
            " ".repeat(most - set(&[KEY]).len())
        )),
        "/long" => ok(&format!("{}{}", set(&[KEY]), " ".repeat(most))),
        _ => http::Response::new(Text::endless("                    ")),
    })
    .await;
    content(source(&server.url("/just")).attempt().await);
    for path in ["/long", "/endless"] {
        let problem = problem(source(&server.url(path)).attempt().await);
        assert!(
            problem.ends_with("its answer has more than 1048576 bytes"),
            "{problem}"
        );
    }
}

#[tokio::test]
async fn an_answer_that_takes_too_long_is_not_waited_for() {
    let whole = Duration::from_millis(300);
    let limits = Limits {
        connect: Duration::from_millis(100),
        whole,
        ..Limits::default()
    };
    // One sends its head and a byte and no more, one accepts and says nothing.
    let dripping = Server::start(|_, _| http::Response::new(Text::never_ending("{"))).await;
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let of_silent = format!("http://{}/", silent.local_addr().unwrap());
    for url in [dripping.url("/"), of_silent.clone()] {
        let problem = problem(
            Source::new(fetch(&url), limits.clone(), None)
                .attempt()
                .await,
        );
        assert!(
            problem.ends_with("no whole answer within 300ms"),
            "{problem}"
        );
    }
    // One that says nothing where TLS should be set up.
    let url = of_silent.replace("http:", "https:");
    let problem = problem(Source::new(fetch(&url), limits, None).attempt().await);
    assert!(problem.contains("no connection within"), "{problem}");
}

#[tokio::test]
async fn a_server_that_is_away_is_told() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    drop(listener);
    let problem = problem(source(&url).attempt().await);
    assert!(problem.contains("refused"), "{problem}");
}

/// Names of the tests.
struct Names(BTreeMap<&'static str, Vec<SocketAddr>>);

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        let found = self.0.get(name.as_str()).cloned().unwrap_or_default();
        Box::pin(async move { Ok(Box::new(found.into_iter()) as Addrs) })
    }
}

#[tokio::test]
async fn nothing_is_fetched_from_link_local_addresses_whatever_leads_there() {
    let server = Server::start(|_, _| ok(&set(&[KEY]))).await;
    let port = server.address.port();
    let address = |text: &str| -> SocketAddr { format!("{text}:{port}").parse().unwrap() };
    let names = BTreeMap::from([
        (
            "bad.example",
            vec![address("169.254.169.254"), address("[fe80::1]")],
        ),
        ("mapped.example", vec![address("[::ffff:169.254.169.254]")]),
        // What is left is connected to.
        (
            "both.example",
            vec![address("169.254.169.254"), address("127.0.0.1")],
        ),
    ]);
    let limits = Limits {
        connect: Duration::from_millis(100),
        whole: Duration::from_millis(500),
        resolver: Arc::new(Names(names)),
        ..Limits::default()
    };
    for host in [
        "169.254.169.254",
        "[fe80::1]",
        "[::ffff:169.254.169.254]",
        // The same, as browsers and the like read it.
        "2852039166",
        "0xa9fea9fe",
        "bad.example",
        "mapped.example",
    ] {
        let url = format!("http://{host}:{port}/");
        let mut fetch = fetch(&url);
        let refused = problem(
            Source::new(fetch.clone(), limits.clone(), None)
                .attempt()
                .await,
        );
        assert!(refused.contains("link-local"), "{refused}");
        fetch.allow_link_local = true;
        let failed = problem(Source::new(fetch, limits.clone(), None).attempt().await);
        assert!(!failed.contains("link-local"), "{failed}");
    }
    let url = format!("http://both.example:{port}/");
    content(Source::new(fetch(&url), limits, None).attempt().await);
}
