//! A server of the tests: it answers as it is told, and remembers what it was asked.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::{Body, Frame};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// What a path is answered with.
type Answers = dyn Fn(&str, &HeaderMap) -> Response<Text> + Send + Sync;

/// A server on a port of its own, until it is dropped.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    asked: Arc<Mutex<Vec<(String, HeaderMap)>>>,
    answers: Arc<Mutex<Arc<Answers>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    pub(super) async fn start(
        answers: impl Fn(&str, &HeaderMap) -> Response<Text> + Send + Sync + 'static,
    ) -> Self {
        Self::start_with(None, answers).await
    }

    pub(super) async fn start_with(
        tls: Option<TlsAcceptor>,
        answers: impl Fn(&str, &HeaderMap) -> Response<Text> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let answers: Arc<Answers> = Arc::new(answers);
        let answers = Arc::new(Mutex::new(answers));
        let (asked_here, answers_here) = (Arc::clone(&asked), Arc::clone(&answers));
        let task = tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let (asked, answers) = (Arc::clone(&asked_here), Arc::clone(&answers_here));
                let service = service_fn(move |request: Request<Incoming>| {
                    let path = request.uri().to_string();
                    let fields = request.headers().clone();
                    let answer = Arc::clone(&answers.lock().unwrap());
                    let answer = answer(&path, &fields);
                    asked.lock().unwrap().push((path, fields));
                    async { Ok::<_, Infallible>(answer) }
                });
                let tls = tls.clone();
                tokio::spawn(async move {
                    let http = hyper::server::conn::http1::Builder::new();
                    // What is wrong is judged at the other end.
                    if let Some(tls) = tls {
                        if let Ok(socket) = tls.accept(socket).await {
                            drop(http.serve_connection(TokioIo::new(socket), service).await);
                        }
                    } else {
                        drop(http.serve_connection(TokioIo::new(socket), service).await);
                    }
                });
            }
        });
        Self {
            address,
            asked,
            answers,
            task,
        }
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Answers otherwise from now on.
    pub(super) fn answer(
        &self,
        answers: impl Fn(&str, &HeaderMap) -> Response<Text> + Send + Sync + 'static,
    ) {
        *self.answers.lock().unwrap() = Arc::new(answers);
    }

    /// The paths that it was asked for so far.
    pub(super) fn asked(&self) -> Vec<String> {
        let asked = self.asked.lock().unwrap();
        asked.iter().map(|(path, _)| path.clone()).collect()
    }

    /// The fields of the last request.
    pub(super) fn fields(&self) -> HeaderMap {
        self.asked.lock().unwrap().last().unwrap().1.clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A body that is there, or one that never ends.
pub(super) struct Text {
    text: Option<Bytes>,
    then: Then,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    End,
    Wait,
    Again,
}

impl Text {
    /// Sends `text` and then nothing.
    pub(super) fn never_ending(text: &str) -> Self {
        Self {
            text: Some(Bytes::copy_from_slice(text.as_bytes())),
            then: Then::Wait,
        }
    }

    /// Sends `text` again and again.
    pub(super) fn endless(text: &str) -> Self {
        Self {
            text: Some(Bytes::copy_from_slice(text.as_bytes())),
            then: Then::Again,
        }
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self {
            text: Some(text.into()),
            then: Then::End,
        }
    }
}

impl Body for Text {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let text = match self.then {
            Then::Again => self.text.clone(),
            Then::End | Then::Wait => self.text.take(),
        };
        match (text, self.then) {
            (Some(text), _) => Poll::Ready(Some(Ok(Frame::data(text)))),
            (None, Then::End | Then::Again) => Poll::Ready(None),
            (None, Then::Wait) => Poll::Pending,
        }
    }
}

pub(super) fn ok(text: &str) -> Response<Text> {
    Response::new(text.to_owned().into())
}

/// As [`ok`], with fields.
pub(super) fn ok_with(text: &str, fields: &[(&'static str, &'static str)]) -> Response<Text> {
    let mut answer = ok(text);
    for (name, value) in fields {
        answer
            .headers_mut()
            .insert(*name, http::HeaderValue::from_static(value));
    }
    answer
}

pub(super) fn status(code: u16) -> Response<Text> {
    let mut answer = ok("");
    *answer.status_mut() = StatusCode::from_u16(code).unwrap();
    answer
}

pub(super) fn redirect(to: &str) -> Response<Text> {
    let mut answer = status(302);
    let to = to.parse().unwrap();
    answer.headers_mut().insert("location", to);
    answer
}
