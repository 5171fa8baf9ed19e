//! Idle connections that go on in another worker, so that a reload closes none: both ends of the socket between the two.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::{TcpStream, UnixStream};

use super::addresses::Counted;
use super::connection::{self, Client, Serving};
use super::proxy_header::Announced;
use crate::app::AppService;
use crate::channel::{self, Decoder, PASSED_MAX, Passed};
use crate::http::activity::BetweenRequests;
use crate::sys::{listener, readiness, socket};

/// An heir that takes no connection for so long will take none: its event loop hangs.
const PATIENCE: Duration = Duration::from_secs(1);

/// The worker that goes on with the connections of this one, which drains.
#[derive(Debug)]
pub(super) struct Heir {
    channel: AsyncFd<OwnedFd>,
    /// Where it serves too.
    listeners: BTreeSet<String>,
    /// It drains itself, is gone, or hangs.
    is_gone: AtomicBool,
}

impl Heir {
    /// At the other end of `channel`.
    pub(super) fn new(channel: OwnedFd, listeners: Vec<String>) -> io::Result<Self> {
        Ok(Self {
            channel: readiness::writable(channel)?,
            listeners: listeners.into_iter().collect(),
            is_gone: AtomicBool::new(false),
        })
    }

    /// Whether it goes on with a connection of `listener`.
    pub(super) fn takes(&self, listener: &str) -> bool {
        !self.is_gone.load(Relaxed) && self.listeners.contains(listener)
    }

    /// Sends it `stream`. When that fails it takes none any more, and the connection stays here, as it was.
    pub(super) async fn pass(
        &self,
        stream: &impl AsFd,
        client: &Client,
        between: BetweenRequests,
    ) -> bool {
        let packet = channel::encode(&Passed {
            listener: client.listener.to_string(),
            announced: client.announced.map(Announced::to_pass),
            is_fresh: between.is_fresh,
            since: between.since,
        });
        // The kernel takes a whole packet or nothing of it, so to give up in between loses nothing.
        let send = |heir: &OwnedFd| socket::send_with(heir, &packet, stream);
        let sending = self.channel.async_io(Interest::WRITABLE, send);
        match tokio::time::timeout(PATIENCE, sending).await {
            Ok(Ok(_)) => return true,
            Ok(Err(error)) => tracing::debug!(%error, "connections are not passed on any more"),
            Err(_) => tracing::warn!("the worker that connections are passed on to takes none"),
        }
        self.is_gone.store(true, Relaxed);
        false
    }
}

/// Notes who is at the other end of `channel`. Without an heir connections are let go.
pub(super) fn note<S>(channel: Option<OwnedFd>, pass: Vec<String>, serving: &Serving<S>) {
    let Some(channel) = channel else {
        return;
    };
    match Heir::new(channel, pass) {
        // A worker is told to drain once.
        Ok(heir) => drop(serving.heir.set(heir)),
        Err(error) => tracing::warn!(%error, "cannot pass connections on"),
    }
}

/// Goes on with the connections that come through `channel`, until the worker at the other end is done or this one drains.
pub(super) fn adopt<S: AppService>(channel: OwnedFd, serving: Arc<Serving<S>>) {
    let channel = match readiness::readable(channel) {
        Ok(channel) => channel,
        Err(error) => {
            tracing::warn!(%error, "cannot go on with connections of another worker");
            return;
        }
    };
    // A drain that begins meanwhile waits for what has been sent.
    let entered = serving.open.enter();
    drop(tokio::spawn(async move {
        let taking = async {
            while let Ok(Some(passed)) = channel.async_io(Interest::READABLE, receive).await {
                go_on_with(passed, &serving);
            }
        };
        tokio::select! {
            () = taking => {}
            () = serving.pipeline.draining().begun() => {
                // What is not sent yet stays where it is.
                if let Err(error) = socket::stop_receiving(&channel) {
                    tracing::debug!(%error, "nobody sends connections any more");
                }
                while let Ok(Some(passed)) = receive(channel.get_ref()) {
                    go_on_with(passed, &serving);
                }
            }
        }
        drop(entered);
    }));
}

/// What came as a packet, and the connection where it could be received.
type Received = (Passed, Option<OwnedFd>);

/// The next connection; `None` when there will be none any more.
fn receive(channel: &OwnedFd) -> io::Result<Option<Received>> {
    let mut bytes = [0; PASSED_MAX];
    let (count, along) = socket::receive_with(channel, &mut bytes)?;
    if count == 0 {
        return Ok(None);
    }
    let mut decoder = Decoder::default();
    decoder.push(bytes.get(..count).unwrap_or_default());
    match decoder.next_message() {
        Some(Ok(passed)) => Ok(Some((passed, along.received().flatten()))),
        Some(Err(error)) => Err(io::Error::other(error)),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

fn go_on_with<S: AppService>((passed, stream): Received, serving: &Arc<Serving<S>>) {
    let Some(stream) = stream else {
        tracing::warn!("no descriptor is left for a connection of another worker, it is closed");
        return;
    };
    if let Err(error) = resume(&passed, stream, serving) {
        tracing::debug!(%error, "a connection ended on its way from another worker");
    }
}

fn resume<S: AppService>(
    passed: &Passed,
    stream: OwnedFd,
    serving: &Arc<Serving<S>>,
) -> io::Result<()> {
    let between = BetweenRequests {
        is_fresh: passed.is_fresh,
        since: passed.since,
    };
    let serving = Arc::clone(serving);
    let announced = passed.announced.as_ref();
    let announced = announced.map(Announced::of_passed).transpose()?;
    let client = |peer| {
        let mut client = Client {
            peer,
            announced,
            listener: passed.listener.as_str().into(),
            counted: Counted::default(),
            agreed: None,
        };
        // It was taken before: the address has no more than it had.
        client.counted = serving.addresses.enter(client.source()).unwrap_or_default();
        client
    };
    if listener::local_address(&stream)?.is_none() {
        let stream = UnixStream::from_std(StdUnixStream::from(stream))?;
        connection::resume(stream, client(None), between, serving);
    } else {
        let stream = TcpStream::from_std(std::net::TcpStream::from(stream))?;
        let peer = stream.peer_addr()?;
        connection::resume(stream, client(Some(peer)), between, serving);
    }
    Ok(())
}
