//! An HTTP client that names what went wrong: refused, reset, cut off, not 2xx, too slow.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::CONNECTION;
use hyper::{HeaderMap, Request};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use super::tls;

/// Longer than any answer takes that a test waits for.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
    Tls(SocketAddr, tls::Client),
    /// Each connection begins with a PROXY header.
    Announced(SocketAddr),
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

/// Why a request got no good answer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Failure {
    /// Nobody listened.
    Refused,
    /// The connection was reset, or could not be written to.
    Reset,
    /// The connection ended after the request and before its answer was complete.
    CutOff,
    /// The connection had ended before the request was sent: no request was lost.
    ClosedWhileIdle,
    /// An answer, but not 2xx.
    NotSuccess(u16),
    /// No answer in time.
    TimedOut,
    /// Something else.
    Other(String),
}

/// An answer with 2xx.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    /// Whether it ends its connection.
    pub(crate) fn closes(&self) -> bool {
        self.headers
            .get(CONNECTION)
            .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"close"))
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// Who answered `/pid`.
    pub(crate) fn pid(&self) -> Option<u32> {
        let body: serde_json::Value = serde_json::from_slice(&self.body).ok()?;
        body.get("pid")?.as_u64()?.try_into().ok()
    }
}

/// A connection to a server; HTTP/1.1, one request after the other.
#[derive(Debug)]
pub(crate) struct Connection {
    sender: SendRequest<Empty<Bytes>>,
    /// Whether it has carried an answer. A server that closes one which has not, has lost a client.
    used: bool,
}

impl Connection {
    pub(crate) async fn open(address: &Address) -> Result<Self, Failure> {
        let connecting = async {
            match address {
                Address::Tcp(address) => {
                    let stream = TcpStream::connect(address)
                        .await
                        .map_err(|error| of_io(&error))?;
                    stream.set_nodelay(true).map_err(|error| of_io(&error))?;
                    Self::over(TokioIo::new(stream)).await
                }
                Address::Tls(address, client) => {
                    let stream = TcpStream::connect(address)
                        .await
                        .map_err(|error| of_io(&error))?;
                    let name = ServerName::try_from(client.name.clone()).unwrap();
                    let connector = TlsConnector::from(Arc::clone(&client.config));
                    let stream = connector.connect(name, stream).await;
                    Self::over(TokioIo::new(stream.map_err(|error| of_io(&error))?)).await
                }
                Address::Announced(address) => {
                    let stream = TcpStream::connect(address).await;
                    let mut stream = stream.map_err(|error| of_io(&error))?;
                    let header = b"PROXY TCP4 192.0.2.7 10.0.0.1 4660 443\r\n";
                    let sent = stream.write_all(header).await;
                    sent.map_err(|error| of_io(&error))?;
                    Self::over(TokioIo::new(stream)).await
                }
                Address::Unix(path) => {
                    Self::over(TokioIo::new(
                        UnixStream::connect(path)
                            .await
                            .map_err(|error| of_io(&error))?,
                    ))
                    .await
                }
            }
        };
        in_time(connecting).await
    }

    async fn over(
        stream: impl hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    ) -> Result<Self, Failure> {
        let (sender, connection) = http1::handshake(stream)
            .await
            .map_err(|error| of_hyper(&error))?;
        tokio::spawn(connection);
        Ok(Self {
            sender,
            used: false,
        })
    }

    /// As [`Self::send`]; an answer without success is a failure.
    pub(crate) async fn get(&mut self, path: &str) -> Result<Answer, Failure> {
        let request = Request::get(path).header("host", "test");
        let answer = self.send(request.body(Empty::new()).unwrap()).await?;
        if (200..300).contains(&answer.status) {
            Ok(answer)
        } else {
            Err(Failure::NotSuccess(answer.status))
        }
    }

    /// Sends `request` and takes its answer, whatever it says.
    pub(crate) async fn send(&mut self, request: Request<Empty<Bytes>>) -> Result<Answer, Failure> {
        let answering = async {
            self.sender
                .ready()
                .await
                .map_err(|error| of_hyper(&error))?;
            let response = self.sender.send_request(request).await;
            let (head, body) = response.map_err(|error| of_hyper(&error))?.into_parts();
            let body = body.collect().await.map_err(|_| Failure::CutOff)?;
            Ok(Answer {
                status: head.status.as_u16(),
                headers: head.headers,
                body: body.to_bytes(),
            })
        };
        let answer: Answer = in_time(answering).await.map_err(|failure| {
            if failure == Failure::ClosedWhileIdle && !self.used {
                Failure::CutOff
            } else {
                failure
            }
        })?;
        self.used = true;
        Ok(answer)
    }
}

async fn in_time<T>(doing: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::time::timeout(ANSWER_TIMEOUT, doing)
        .await
        .unwrap_or(Err(Failure::TimedOut))
}

fn of_io(error: &io::Error) -> Failure {
    let is = |kinds: [io::ErrorKind; 2]| kinds.contains(&error.kind());
    if is([io::ErrorKind::ConnectionRefused, io::ErrorKind::NotFound]) {
        Failure::Refused
    } else if is([io::ErrorKind::ConnectionReset, io::ErrorKind::BrokenPipe]) {
        Failure::Reset
    } else {
        Failure::Other(error.to_string())
    }
}

fn of_hyper(error: &hyper::Error) -> Failure {
    let cause =
        std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<io::Error>());
    if error.is_canceled() || error.is_closed() {
        Failure::ClosedWhileIdle
    } else if error.is_incomplete_message() {
        Failure::CutOff
    } else if let Some(cause) = cause {
        of_io(cause)
    } else {
        Failure::Other(error.to_string())
    }
}

/// A connection for a test that does one thing after the other.
#[derive(Debug)]
pub(crate) struct Blocking {
    runtime: tokio::runtime::Runtime,
    connection: Connection,
}

impl Blocking {
    pub(crate) fn open(address: &Address) -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let connection = runtime.block_on(Connection::open(address))?;
        Ok(Self {
            runtime,
            connection,
        })
    }

    pub(crate) fn get(&mut self, path: &str) -> Result<Answer, Failure> {
        self.runtime.block_on(self.connection.get(path))
    }

    pub(crate) fn send(&mut self, request: Request<Empty<Bytes>>) -> Result<Answer, Failure> {
        self.runtime.block_on(self.connection.send(request))
    }
}

/// One request on a connection of its own.
pub(crate) fn get(address: &Address, path: &str) -> Result<Answer, Failure> {
    Blocking::open(address)?.get(path)
}

/// The same, while the test goes on.
pub(crate) fn get_meanwhile(address: &Address, path: &str) -> JoinHandle<Result<Answer, Failure>> {
    let (address, path) = (address.clone(), path.to_owned());
    thread::spawn(move || get(&address, &path))
}
