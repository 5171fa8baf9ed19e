//! What monitoring is answered: probes for those who decide about the server, metrics for those who watch it, a page for people. In the
//! agent, so that nothing that is asked here costs a worker or the master more than a message.

mod access;
mod beside;
mod callers;
mod dashboard;
mod metrics;
mod openmetrics;
mod orders;
mod page;
mod probes;
mod processes;
mod recent;
mod routes;
mod sample;
mod server;
mod timeline;

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;

use dashboard::Dashboard;
pub use orders::{ORDER_PLACES, Ordered};
use recent::Recent;
pub use timeline::Timeline;

use crate::auth::Guard;
use crate::master::Status;
use crate::scoreboard::Scoreboard;

/// The master waits for nothing but its events: one that says nothing for so long hangs.
const ANSWER_MAX: Duration = Duration::from_secs(1);

/// Questions that wait to be passed on to the master, no more than there are connections.
const QUESTIONS_MAX: usize = server::CONNECTIONS_MAX;

/// What is needed to answer.
#[derive(Debug)]
pub struct Setting {
    /// Where it is asked.
    pub sockets: Vec<Socket>,
    /// What the workers do.
    pub scoreboard: Arc<Scoreboard>,
    /// The server is ready while at least so many workers take connections.
    pub ready_min: u16,
    /// What requests over TCP are judged by; absent: who reads needs no token, and nobody may give orders.
    pub guards: Option<Guards>,
    /// Whose orders are taken on Unix sockets besides those of root.
    pub owner: u32,
    /// What has happened last, oldest first: the JSON of events of `destrier status`.
    pub events: Vec<String>,
}

/// What requests over TCP are judged by.
#[derive(Debug, Clone)]
pub struct Guards {
    /// Those for the metrics and for what the page shows.
    pub read: Arc<Guard>,
    /// Orders; absent: nobody may give any.
    pub control: Option<Arc<Guard>>,
}

/// A socket that listens, non-blocking.
#[derive(Debug)]
pub struct Socket {
    /// Whether it is one of TCP.
    pub is_tcp: bool,
    /// The socket.
    pub socket: OwnedFd,
}

/// Somebody wants to know what the master knows: the JSON of its status. Whoever passes questions on may answer several with one
/// answer of the master.
pub type Question = oneshot::Sender<Arc<str>>;

/// Something for the master.
#[derive(Debug)]
pub enum Asked {
    /// What it knows.
    Status(Question),
    /// An order of somebody who may.
    Order(Ordered),
}

/// What goes on while questions are answered.
#[derive(Debug)]
pub struct Opened {
    /// The questions for the master, and orders.
    pub asked: mpsc::Receiver<Asked>,
    /// All of its permits are there when what became of each order has been written to whoever gave it.
    pub orders: Arc<Semaphore>,
    /// Where what has happened is put up.
    pub timeline: Timeline,
    /// Those who listen, which end when this is dropped.
    pub listeners: JoinSet<()>,
}

/// Begins to answer, within a runtime of tokio.
///
/// # Errors
/// A socket that cannot be used.
pub fn start(setting: Setting) -> io::Result<Opened> {
    let (questions, asked) = mpsc::channel(QUESTIONS_MAX);
    let orders = Arc::new(Semaphore::new(ORDER_PLACES as usize));
    let timeline = Timeline::new(setting.events);
    // Its descriptor was closed after the fork, so it must never be let go.
    let scoreboard: &'static Scoreboard = Box::leak(Box::new(setting.scoreboard));
    let desk = Arc::new(Desk {
        questions,
        scoreboard,
        ready_min: setting.ready_min,
        guards: setting.guards,
        owner: setting.owner,
        orders: Arc::clone(&orders),
        processes: Recent::default(),
        beside: Recent::default(),
        dashboard: Dashboard::new(timeline.clone()),
    });
    let mut listeners = JoinSet::new();
    for Socket { is_tcp, socket } in setting.sockets {
        let listener = server::Listener::new(socket, is_tcp)?;
        listeners.spawn(server::serve(listener, routes::router(&desk, is_tcp)));
    }
    Ok(Opened {
        asked,
        orders,
        timeline,
        listeners,
    })
}

/// Where every request comes to.
#[derive(Debug)]
struct Desk {
    questions: mpsc::Sender<Asked>,
    scoreboard: &'static Scoreboard,
    ready_min: u16,
    guards: Option<Guards>,
    owner: u32,
    /// One place for each order whose giver waits for what becomes of it.
    orders: Arc<Semaphore>,
    processes: Recent<processes::Usage>,
    beside: Recent<beside::Usage>,
    dashboard: Dashboard,
}

impl Desk {
    /// What the master knows now; `None` where it does not say so in time.
    async fn ask(&self) -> Option<Status> {
        let (question, answer) = oneshot::channel();
        let asked = async {
            self.questions.send(Asked::Status(question)).await.ok()?;
            answer.await.ok()
        };
        let document = tokio::time::timeout(ANSWER_MAX, asked).await.ok()??;
        serde_json::from_str(&document)
            .inspect_err(|error| tracing::error!(%error, "the master's status is not understood"))
            .ok()
    }
}
