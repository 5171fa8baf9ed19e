//! The control socket: one JSON object a line, asked by `destrier reload` and its like; anybody may write another client.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::boot::{assert_private, make_folder};
use super::socket_path::{SocketPath, SocketPathError};
use super::{Plan, StacksStatus, Status};
use crate::channel::{self, Decoder};
use crate::supervisor::{Caller, Now};
use crate::sys::listener;
use crate::sys::poll::Interest;
use crate::sys::{identity, socket};

/// Clients at once; those beyond wait in the accept queue.
const CLIENTS_MAX: usize = 64;

/// How soon a client is taken in where there was no descriptor for it.
const ACCEPT_RETRY: Duration = Duration::from_secs(1);

/// A client that does not read its answers is not listened to beyond this many bytes.
const UNSENT_MAX: usize = 1 << 20;

/// What a client asks for. (Braces, for serde would let a variant without them have any fields.)
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// What runs now.
    Status {},
    /// Put the configuration on disk into force; answered when it is, or is not.
    Reload {},
    /// Go on as another program; answered when its workers serve.
    Upgrade {
        /// The file of the program, from the root; the one that runs when absent.
        #[serde(default)]
        program: Option<PathBuf>,
    },
    /// So many workers; answered when they serve.
    Scale {
        /// 1 to 512.
        workers: u16,
    },
    /// End; answered when no worker is left.
    Stop {
        /// Without waiting for requests in flight.
        #[serde(default)]
        fast: bool,
    },
    /// Open the log files anew.
    Reopen {},
    /// What a reload would do; does nothing of it.
    Plan {},
    /// What every thread of every worker does; answered within some seconds.
    Stacks {},
}

/// What came of it. Exactly one of the two is there.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// It was done; what was done, in words.
    Done(String),
    /// It was not done; why.
    Failed(String),
    /// What runs now.
    Status(Box<Status>),
    /// What a reload would do.
    Plan(Box<Plan>),
    /// What every thread of every worker does.
    Stacks(Box<StacksStatus>),
}

/// A master that cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody listens.
    #[error("no master runs with this configuration (nobody listens on `{0}`)")]
    NotRunning(String),
    /// The socket is somebody else's.
    #[error("cannot reach the master on `{0}`: {1}")]
    Unreachable(String, io::Error),
    /// It ended before it answered.
    #[error("the master ended before it answered")]
    Gone,
    /// It does not answer in time.
    #[error("the master has not answered in time")]
    Silent,
    /// Its answer is not understood.
    #[error("the master's answer is not understood: {0}")]
    Garbled(serde_json::Error),
}

/// Asks the master on the socket `path` and waits for its answer.
///
/// # Errors
/// It is not there, or does not answer. That it did not do what was asked is an answer.
pub fn ask(path: &Path, request: &Request) -> Result<Answer, AskError> {
    ask_within(path, request, None)
}

/// As [`ask`], and waits no longer than `patience`.
///
/// # Errors
/// As [`ask`]; and it has not answered in time.
pub fn ask_within(
    path: &Path,
    request: &Request,
    patience: Option<Duration>,
) -> Result<Answer, AskError> {
    let name = path.display().to_string();
    let mut stream = UnixStream::connect(path).map_err(|error| {
        let nobody = [io::ErrorKind::NotFound, io::ErrorKind::ConnectionRefused];
        if nobody.contains(&error.kind()) {
            AskError::NotRunning(name.clone())
        } else {
            AskError::Unreachable(name.clone(), error)
        }
    })?;
    stream
        .set_read_timeout(patience)
        .and_then(|()| stream.write_all(&channel::encode(request)))
        .map_err(|error| AskError::Unreachable(name.clone(), error))?;
    let mut line = String::new();
    match BufReader::new(stream).read_line(&mut line) {
        Ok(0) => Err(AskError::Gone),
        Ok(_) => serde_json::from_str(&line).map_err(AskError::Garbled),
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Err(AskError::Gone),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(AskError::Silent),
        Err(error) => Err(AskError::Unreachable(name, error)),
    }
}

/// The master's side.
#[derive(Debug)]
pub(super) struct ControlServer {
    /// With its place in the file system, until the end.
    pub(super) listener: Option<(UnixListener, SocketPath)>,
    pub(super) clients: BTreeMap<Caller, Client>,
    pub(super) last_caller: Caller,
    pub(super) path: PathBuf,
    /// Until then nobody is taken in: there was no descriptor left for it.
    pub(super) pause: Option<Now>,
}

#[derive(Debug)]
pub(super) struct Client {
    pub(super) stream: UnixStream,
    pub(super) incoming: Decoder<Request>,
    pub(super) outgoing: Vec<u8>,
    /// Requests whose answer has not been written yet.
    pub(super) unanswered: usize,
    /// It will ask for nothing more: it has closed its side, as `printf ... | nc` does, or is gone.
    pub(super) has_finished: bool,
}

impl ControlServer {
    /// Listens on `path`, for its owner only.
    pub(super) fn open(path: &Path) -> Result<Self, SocketPathError> {
        let failed = |error| SocketPathError::Io {
            path: path.to_owned(),
            error,
        };
        if let Some(folder) = path.parent() {
            make_folder(folder)
                .and_then(|()| assert_private(folder))
                .map_err(failed)?;
        }
        let mut claimed = SocketPath::claim(path)?;
        let socket: OwnedFd = listener::listen_unix(path, 64, 0o600, None, None).map_err(failed)?;
        claimed.made();
        Ok(Self {
            listener: Some((UnixListener::from(socket), claimed)),
            clients: BTreeMap::new(),
            last_caller: Caller(0),
            path: path.to_owned(),
            pause: None,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Lets no more clients in.
    pub(super) fn stop_listening(&mut self) {
        self.listener = None;
    }

    /// The listener, unless there are enough clients, or as many as can be for the moment.
    pub(super) fn descriptor(&self, now: Now) -> Option<BorrowedFd<'_>> {
        let (listener, _) = self.listener.as_ref()?;
        let takes_more = self.clients.len() < CLIENTS_MAX && self.end_of_pause(now).is_none();
        takes_more.then(|| listener.as_fd())
    }

    /// When those who wait shall be looked at again, if that is not now.
    pub(super) fn end_of_pause(&self, now: Now) -> Option<Now> {
        self.pause.filter(|end| *end > now)
    }

    pub(super) fn clients(&self) -> impl Iterator<Item = (Caller, BorrowedFd<'_>, Interest)> {
        self.clients.iter().filter_map(|(caller, client)| {
            let interest = match (client.has_finished, client.outgoing.len()) {
                // Its end of the stream would wake the master for ever.
                (true, 0) => return None,
                (false, 0) => Interest::Read,
                (false, 1..=UNSENT_MAX) => Interest::Both,
                (true | false, _) => Interest::Write,
            };
            Some((*caller, client.stream.as_fd(), interest))
        })
    }

    /// Takes a client in, if it is root or of this process's own user: the mode of the socket says so, this proves it.
    pub(super) fn accept(&mut self, now: Now) {
        let Some((listener, _)) = &self.listener else {
            return;
        };
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) => return self.wait_after(&error, now),
        };
        let allowed = socket::peer_credentials(&stream)
            .is_ok_and(|peer| peer.is_root_or(identity::effective_user()));
        if !allowed || stream.set_nonblocking(true).is_err() {
            tracing::warn!("a client of the control socket was turned away: it is of another user");
            return;
        }
        let caller = self.next_caller();
        let client = Client {
            stream,
            incoming: Decoder::default(),
            outgoing: Vec::new(),
            unanswered: 0,
            has_finished: false,
        };
        self.clients.insert(caller, client);
    }

    /// A name for one more who asks for something, here or elsewhere.
    pub(super) fn next_caller(&mut self) -> Caller {
        self.last_caller = Caller(self.last_caller.0 + 1);
        self.last_caller
    }

    /// A client that has left again is nothing; one for which there is no descriptor would wake the master for ever.
    fn wait_after(&mut self, error: &io::Error, now: Now) {
        let nothing = [io::ErrorKind::WouldBlock, io::ErrorKind::ConnectionAborted];
        if !nothing.contains(&error.kind()) {
            tracing::warn!(%error, "cannot take in a client of the control socket, tried again in a moment");
            self.pause = Some(now + ACCEPT_RETRY);
        }
    }

    /// Sends and receives; returns what the client asks for.
    pub(super) fn serve(&mut self, caller: Caller) -> Vec<Request> {
        let Some(client) = self.clients.get_mut(&caller) else {
            return Vec::new();
        };
        let mut requests = Vec::new();
        let still_there =
            client.send() && (client.reads_too_little() || client.receive(&mut requests));
        client.unanswered += requests.len();
        if !still_there || client.is_done() {
            self.clients.remove(&caller);
        }
        requests
    }

    /// Tells the caller what came of its request. One that has gone misses it.
    pub(super) fn answer(&mut self, caller: Caller, outcome: Result<String, String>) {
        self.send(
            caller,
            &match outcome {
                Ok(done) => Answer::Done(done),
                Err(reason) => Answer::Failed(reason),
            },
        );
    }

    pub(super) fn send(&mut self, caller: Caller, answer: &Answer) {
        if let Some(client) = self.clients.get_mut(&caller) {
            client.outgoing.extend(channel::encode(answer));
            client.unanswered = client.unanswered.saturating_sub(1);
            if !client.send() || client.is_done() {
                self.clients.remove(&caller);
            }
        }
    }
}

impl Client {
    /// Nothing is left to say to it, and it has nothing more to say.
    fn is_done(&self) -> bool {
        self.has_finished && self.unanswered == 0 && self.outgoing.is_empty()
    }

    /// What it asks for waits until it has read what it asked for before.
    fn reads_too_little(&self) -> bool {
        self.outgoing.len() > UNSENT_MAX
    }

    /// Sends what there is room for; returns whether the client is still there.
    fn send(&mut self) -> bool {
        while !self.outgoing.is_empty() {
            match self.stream.write(&self.outgoing) {
                Ok(written) => drop(self.outgoing.drain(..written)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                Err(_) => return false,
            }
        }
        true
    }

    /// Takes in whole requests; returns whether the client is still there.
    fn receive(&mut self, requests: &mut Vec<Request>) -> bool {
        if self.has_finished {
            return true;
        }
        let mut bytes = [0; 1024];
        let still_there = match self.stream.read(&mut bytes) {
            Ok(0) => {
                self.has_finished = true;
                true
            }
            Ok(count) => {
                self.incoming.push(bytes.get(..count).unwrap_or_default());
                true
            }
            Err(error) => matches!(
                error.kind(),
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
            ),
        };
        while let Some(request) = self.incoming.next_message() {
            match request {
                Ok(request) => requests.push(request),
                Err(error) => {
                    self.outgoing
                        .extend(channel::encode(&Answer::Failed(format!(
                            "not a request: {error}"
                        ))));
                    self.send();
                    return false;
                }
            }
        }
        still_there
    }
}
