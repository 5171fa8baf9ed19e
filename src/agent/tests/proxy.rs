//! Proxies that the environment names. A test cannot change its own environment, so another process of it runs.

use std::process::{Command, Stdio};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

use super::super::client::Limits;
use super::super::source::Source;
use super::server::{Server, ok};
use super::{KEY, content, fetch, problem, set};

#[tokio::test]
async fn the_proxy_of_the_environment_is_asked_for_other_machines_but_not_for_this_one() {
    let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", proxy.local_addr().unwrap());
    let name = "agent::tests::proxy::in_an_environment_with_a_proxy";
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--ignored"])
        .env("HTTPS_PROXY", &address)
        .env("HTTP_PROXY", &address)
        .env_remove("NO_PROXY")
        .env_remove("no_proxy")
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    // Whatever comes here comes from the child: the first is asked for another machine.
    let (socket, _) = proxy.accept().await.unwrap();
    let mut socket = BufReader::new(socket);
    let mut line = String::new();
    socket.read_line(&mut line).await.unwrap();
    assert_eq!(line, "CONNECT login.example.com:443 HTTP/1.1\r\n");
    while line != "\r\n" {
        line.clear();
        socket.read_line(&mut line).await.unwrap();
    }
    let refusal = b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n";
    socket.write_all(refusal).await.unwrap();
    let status = tokio::task::spawn_blocking(move || child.wait().unwrap());
    assert!(status.await.unwrap().success());
}

#[tokio::test]
#[ignore = "the test above runs it"]
async fn in_an_environment_with_a_proxy() {
    let server = Server::start(|_, _| ok(&set(&[KEY]))).await;
    let mut own = Source::new(fetch(&server.url("/")), Limits::default(), None);
    content(own.attempt().await);
    let url = "https://login.example.com/jwks.json";
    let mut other = Source::new(fetch(url), Limits::default(), None);
    let problem = problem(other.attempt().await);
    assert!(problem.contains("tunnel"), "{problem}");
}
