//! Leaving without losing a request.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tokio::sync::Notify;

use super::accept::{Accepting, Ending};
use super::connection::Serving;
use crate::app::AppService;
use crate::channel::ToMaster;

/// How many connections are open, and a way to wait for none.
#[derive(Debug, Clone, Default)]
pub(super) struct Open(Arc<Count>);

#[derive(Debug, Default)]
struct Count {
    open: AtomicUsize,
    none_left: Notify,
    /// So many are enough.
    max: Option<usize>,
    room: Notify,
}

/// An open connection, until dropped.
#[derive(Debug)]
pub(super) struct Entered(Arc<Count>);

impl Open {
    /// Of a worker that takes no more than `max` connections.
    pub(super) fn with_max(max: Option<u32>) -> Self {
        let max = max.map(|max| usize::try_from(max).unwrap_or(usize::MAX));
        Self(Arc::new(Count {
            max,
            ..Count::default()
        }))
    }

    /// Whether there is room for another one.
    pub(super) fn has_room(&self) -> bool {
        self.0.max.is_none_or(|max| self.0.open.load(Relaxed) < max)
    }

    /// Returns when there is.
    pub(super) async fn room(&self) {
        loop {
            let freed = self.0.room.notified();
            if self.has_room() {
                return;
            }
            freed.await;
        }
    }

    pub(super) fn enter(&self) -> Entered {
        self.0.open.fetch_add(1, Relaxed);
        Entered(Arc::clone(&self.0))
    }

    /// Returns when the last connection has ended. Only while no new ones can come.
    async fn none(&self) {
        while self.0.open.load(Relaxed) > 0 {
            self.0.none_left.notified().await;
        }
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let before = self.0.open.fetch_sub(1, Relaxed);
        if before == 1 {
            self.0.none_left.notify_one();
        }
        if Some(before) == self.0.max {
            self.0.room.notify_waiters();
        }
    }
}

/// Finishes everything: each listener of `accepting` ends as `ending` says, answers end their
/// connections, idle connections go after the linger. Returns when nothing is left.
pub(super) async fn drain<S: AppService>(
    accepting: Vec<Accepting>,
    ending: impl Fn(&Accepting) -> Ending,
    serving: &Serving<S>,
) {
    serving.seat.set_accepting(false);
    serving.pipeline.start_draining();
    // All at once: the grace for handshakes passes once, not once for each.
    let mut endings = tokio::task::JoinSet::new();
    let mut left = tokio::task::JoinSet::new();
    for listener in accepting {
        let ending = ending(&listener);
        let endings = match ending {
            Ending::Leave => &mut left,
            Ending::Close | Ending::CloseNow => &mut endings,
        };
        endings.spawn(listener.end(ending));
    }
    while left.join_next().await.is_some() {}
    // A master that is gone need not know.
    let _orphaned = serving.words.send(ToMaster::StoppedAccepting);
    while endings.join_next().await.is_some() {}
    serving.open.none().await;
}
