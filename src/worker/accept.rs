//! Taking connections from a listening socket, and ending that without losing one.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::unix::{AsyncFd, AsyncFdReadyGuard};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::connection::{self, Client, Serving};
use crate::app::{AppService, spawn_counted};
use crate::channel::ToMaster;
use crate::scoreboard::{ConnectionLimit, SeatWriter};
use crate::sys::clock;
use crate::sys::listener::{self, ListeningSocket};
use crate::sys::poll::{self, Interest};
use crate::sys::readiness;

/// A handshake that was under way when a listener was told to end has this long to arrive in the accept queue: a few
/// round trips of a near client. A SYN that comes later is not answered, so its client tries again.
const HANDSHAKE_GRACE: Duration = Duration::from_millis(100);

/// How long to wait when the process or the system is out of descriptors (accept(2): `EMFILE`, `ENFILE`, `ENOMEM`).
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(50);

/// A worker lets the others go first when it has this many connections more than the least loaded of them.
const SURPLUS_MAX: u64 = 4;

/// For so long: they are awake already, unless they are stuck, and then this worker takes the connection after all.
const TURN: Duration = Duration::from_millis(1);

/// Where all threads of the application are busy here, a worker that has one sooner goes first, for so many turns: unless its
/// event loop hangs it takes the connection in the first one.
const TURNS_MAX: u32 = 500;

/// A listening socket in the event loop.
#[derive(Debug)]
pub(super) struct Listener {
    name: Arc<str>,
    socket: AsyncFd<OwnedFd>,
    /// Whether other workers take connections from it too. All of them wake for one: `EPOLLEXCLUSIVE` chooses a sleeper
    /// only where the socket is in the epoll that sleeps, not in one nested in the event loop's.
    is_shared: bool,
    is_unix: bool,
    is_inherited: bool,
}

/// How taking connections ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// At once: what waits is for the workers that go on.
    Leave,
    /// Nobody comes after: empty the queue, then stop the socket from listening.
    Close,
    /// There is no master any more, and the next one wants the port: stop the socket from listening at once.
    CloseNow,
}

/// A listener that takes connections.
#[derive(Debug)]
pub(super) struct Accepting {
    pub(super) name: Arc<str>,
    /// Somebody outside listens on it too.
    pub(super) is_inherited: bool,
    ending: oneshot::Sender<Ending>,
    task: JoinHandle<()>,
}

impl Accepting {
    /// Takes connections and serves them, until told to end.
    pub(super) fn start<S: AppService>(listener: Listener, serving: Arc<Serving<S>>) -> Self {
        let (name, is_inherited) = (Arc::clone(&listener.name), listener.is_inherited);
        let (ending, told) = oneshot::channel();
        let ready = serving.ready.clone();
        let take = take_connections(listener, serving, told);
        let task = spawn_counted(take, ready.as_ref());
        Self {
            name,
            is_inherited,
            ending,
            task,
        }
    }

    /// Ends it; returns when no connection will come from it any more.
    pub(super) async fn end(self, ending: Ending) {
        // Where the task has ended by itself there is nobody to tell.
        let _ended_before = self.ending.send(ending);
        let _panicked = self.task.await;
    }
}

impl Listener {
    /// Of a socket whose peers may be gone for `dead_peer_timeout` until that is noticed.
    pub(super) fn new(
        socket: ListeningSocket,
        dead_peer_timeout: Option<Duration>,
    ) -> io::Result<Self> {
        let is_unix = listener::local_address(&socket.socket)?.is_none();
        if !is_unix {
            listener::set_dead_peer_timeout(&socket.socket, dead_peer_timeout)?;
        }
        Ok(Self {
            name: socket.name.into(),
            is_unix,
            socket: readiness::readable(socket.socket)?,
            is_shared: socket.shared,
            is_inherited: socket.inherited,
        })
    }

    fn socket(&self) -> BorrowedFd<'_> {
        self.socket.get_ref().as_fd()
    }

    /// As [`Self::accept`], but where others take connections from the same socket they go first while this worker has
    /// many more than they, or has to wait for a thread of the application longer than they: every worker is woken, and one that is
    /// awake already would take a whole burst.
    async fn accept_in_turn(&self, seat: &SeatWriter) -> io::Result<(OwnedFd, Option<SocketAddr>)> {
        if !self.is_shared {
            return self.accept().await;
        }
        loop {
            let mut ready = self.socket.readable().await?;
            if seat.surplus() > SURPLUS_MAX {
                tokio::time::sleep(TURN).await;
            }
            if self.others_have_taken(seat).await {
                ready.clear_ready();
                continue;
            }
            if let Some(accepted) = self.try_accept(&mut ready) {
                return accepted;
            }
        }
    }

    /// Leaves what waits to others while they have threads sooner. True: somebody has taken it. What comes after that is not for
    /// this worker to take before it has looked again.
    async fn others_have_taken(&self, seat: &SeatWriter) -> bool {
        for _ in 0..TURNS_MAX {
            if !seat.threads_are_busy() {
                return false;
            }
            // Before the others are looked at: whoever has just taken it is busy with it, and would look as if it had no thread. By the time
            // its client is answered and connects again, that thread is free.
            if self.is_empty() {
                return true;
            }
            if !seat.others_have_threads(clock::monotonic()) {
                return false;
            }
            tokio::time::sleep(TURN).await;
        }
        false
    }

    /// Nothing waits.
    fn is_empty(&self) -> bool {
        let ready = poll::wait(&[(self.socket(), Interest::Read)], Some(Duration::ZERO));
        ready.is_ok_and(|ready| ready.is_empty())
    }

    async fn accept(&self) -> io::Result<(OwnedFd, Option<SocketAddr>)> {
        loop {
            let mut ready = self.socket.readable().await?;
            if let Some(accepted) = self.try_accept(&mut ready) {
                return accepted;
            }
        }
    }

    /// None: nothing waits any more.
    fn try_accept(
        &self,
        ready: &mut AsyncFdReadyGuard<'_, OwnedFd>,
    ) -> Option<io::Result<(OwnedFd, Option<SocketAddr>)>> {
        match listener::accept(self.socket()) {
            // Another worker has stopped a Unix socket that both share from listening. accept(2) says no more than that
            // nothing waits, and the readiness is for good: to try again would be to try for ever.
            Err(error)
                if error.kind() == io::ErrorKind::WouldBlock && ready.ready().is_read_closed() =>
            {
                Some(Err(io::ErrorKind::InvalidInput.into()))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                ready.clear_ready();
                None
            }
            result => Some(result),
        }
    }
}

async fn take_connections<S: AppService>(
    listener: Listener,
    serving: Arc<Serving<S>>,
    mut told: oneshot::Receiver<Ending>,
) {
    let mut pause = Pause::default();
    // Why no connection is taken for want of descriptors.
    let mut short: Option<String> = None;
    let ending = loop {
        let next = async {
            while let Some(reason) = &short {
                let limit = ConnectionLimit::Descriptors;
                pause.begin(&listener.name, (limit, reason), &serving.seat);
                tokio::time::sleep(EXHAUSTED_PAUSE).await;
                if serving.descriptors.suffice(listener.socket()) {
                    short = None;
                }
                // Another worker may have taken what waited.
                if listener.is_empty() {
                    pause.end(&listener.name, &serving.seat);
                }
            }
            if !serving.open.has_room() {
                let limit = ConnectionLimit::Connections;
                let reason = "the worker has `http.max_connections`";
                pause.begin(&listener.name, (limit, &reason), &serving.seat);
                serving.open.room().await;
                serving.seat.have_connections_wait(None);
            }
            listener.accept_in_turn(&serving.seat).await
        };
        tokio::select! {
            biased;
            ending = &mut told => break ending.unwrap_or(Ending::Leave),
            accepted = next => match accepted {
                Err(error) if listener::is_exhausted(&error) => short = Some(error.to_string()),
                accepted => {
                    if let Ok((socket, _)) = &accepted {
                        pause.end(&listener.name, &serving.seat);
                        if !serving.descriptors.suffice_after(socket) {
                            short = Some(serving.descriptors.to_string());
                        }
                    }
                    if take(&listener, accepted, &serving).await.is_err() {
                        return;
                    }
                }
            }
        }
    };
    serving.seat.have_connections_wait(None);
    match ending {
        Ending::Leave => {}
        Ending::Close => empty(&listener, &serving).await,
        Ending::CloseNow => stop(&listener, &serving),
    }
}

/// No connections are taken for now: they wait in the accept queue. It is told when that begins and when it ends, once a minute
/// where it begins and ends all the time.
#[derive(Debug, Default)]
struct Pause {
    has_begun: bool,
    is_told: bool,
    told_at: Option<Duration>,
}

impl Pause {
    fn begin(
        &mut self,
        listener: &str,
        (limit, reason): (ConnectionLimit, &dyn fmt::Display),
        seat: &SeatWriter,
    ) {
        const SELDOM: Duration = Duration::from_mins(1);
        if !std::mem::replace(&mut self.has_begun, true) {
            seat.limited(limit);
        }
        seat.have_connections_wait(Some(limit));
        let now = clock::monotonic();
        if self.is_told || self.told_at.is_some_and(|at| now < at + SELDOM) {
            return;
        }
        tracing::warn!(listener, %reason, "new connections wait");
        (self.is_told, self.told_at) = (true, Some(now));
    }

    /// One was taken.
    fn end(&mut self, listener: &str, seat: &SeatWriter) {
        if std::mem::take(&mut self.has_begun) {
            seat.have_connections_wait(None);
        }
        if std::mem::take(&mut self.is_told) {
            tracing::info!(listener, "new connections are taken again");
        }
    }
}

/// The socket listens no longer: another worker that shares it has closed it.
struct NotListening;

async fn take<S: AppService>(
    listener: &Listener,
    accepted: io::Result<(OwnedFd, Option<SocketAddr>)>,
    serving: &Arc<Serving<S>>,
) -> Result<(), NotListening> {
    match accepted {
        Ok((socket, peer)) => {
            start(listener, socket, peer, serving);
            if listener.is_shared {
                // Let the connection begin, and another worker have the next one.
                tokio::task::yield_now().await;
            }
        }
        // Gone before it was taken.
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted
            ) => {}
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => return Err(NotListening),
        Err(error) => {
            tracing::warn!(listener = &*listener.name, %error, "cannot take a connection, trying again");
            tokio::time::sleep(EXHAUSTED_PAUSE).await;
        }
    }
    Ok(())
}

fn start<S: AppService>(
    listener: &Listener,
    socket: OwnedFd,
    peer: Option<SocketAddr>,
    serving: &Arc<Serving<S>>,
) {
    let serving = Arc::clone(serving);
    let Some(counted) = serving.enter_at(&listener.name, peer) else {
        return;
    };
    let origin = Client {
        peer,
        announced: None,
        listener: Arc::clone(&listener.name),
        counted,
        agreed: None,
    };
    let result = if listener.is_unix {
        UnixStream::from_std(StdUnixStream::from(socket))
            .map(|stream| connection::start(stream, origin, serving))
    } else {
        TcpStream::from_std(std::net::TcpStream::from(socket))
            .map(|stream| connection::start(stream, origin, serving))
    };
    if let Err(error) = result {
        tracing::warn!(listener = &*listener.name, %error, "cannot serve a connection");
    }
}

/// Serves what waits in the queue of a slot whose worker has died, and what is about to arrive there; the next worker of the
/// slot may be at it too, and goes on alone.
pub(super) fn take_over<S: AppService>(listener: Listener, slot: u16, serving: Arc<Serving<S>>) {
    // A drain that begins meanwhile waits for it.
    let entered = serving.open.enter();
    drop(tokio::spawn(async move {
        let taking = async {
            while take(&listener, listener.accept().await, &serving)
                .await
                .is_ok()
            {}
        };
        let _that_was_all = tokio::time::timeout(HANDSHAKE_GRACE, taking).await;
        let _leaving = serving.words.send(ToMaster::TookOver {
            listener: listener.name.to_string(),
            slot,
        });
        drop(entered);
    }));
}

/// Nobody takes over: everything that waits, or is about to, is taken; then the master is told, which stops the socket
/// from listening. Until it has, whatever arrives all the same is taken too.
async fn empty<S: AppService>(listener: &Listener, serving: &Arc<Serving<S>>) {
    if !listener.is_unix
        && let Err(error) = listener::refuse_new(listener.socket())
    {
        tracing::warn!(listener = &*listener.name, %error, "cannot refuse new connections before closing");
    }
    let until_it_listens_no_longer = async {
        loop {
            let accepted = listener.accept().await;
            if take(listener, accepted, serving).await.is_err() {
                return;
            }
        }
    };
    let mut taking = pin!(until_it_listens_no_longer);
    if tokio::time::timeout(HANDSHAKE_GRACE, &mut taking)
        .await
        .is_ok()
    {
        return;
    }
    // Nobody listens to it any more when the worker is about to exit.
    let _leaving = serving.words.send(ToMaster::Emptied {
        listener: listener.name.to_string(),
    });
    taking.await;
}

/// Stops the socket from listening, in every process, and takes what waited before.
fn stop<S: AppService>(listener: &Listener, serving: &Arc<Serving<S>>) {
    while let Ok((socket, peer)) = listener::accept(listener.socket()) {
        start(listener, socket, peer, serving);
    }
    if let Err(error) = listener::stop_listening(listener.socket()) {
        tracing::debug!(listener = &*listener.name, %error, "was stopped by another worker");
    }
}
