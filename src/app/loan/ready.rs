//! Tasks that can go on and have not had their turn: whoever turns the event loop for a moment only must not leave before they had.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{
    AtomicU8, AtomicUsize,
    Ordering::{AcqRel, Acquire, Relaxed},
};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Wake, Waker};

use tokio::task::JoinHandle;

/// How many there are.
#[derive(Debug, Clone, Default)]
pub struct ReadyTasks(Arc<AtomicUsize>);

impl ReadyTasks {
    pub(crate) fn are_none(&self) -> bool {
        self.0.load(Acquire) == 0
    }
}

/// Spawns `task`, which counts among `ready` from now, and from when it is woken, until it runs; where nobody counts, as it is.
pub fn spawn_counted<F>(task: F, ready: Option<&ReadyTasks>) -> JoinHandle<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    let mark = ready.map(|ready| {
        ready.0.fetch_add(1, Relaxed);
        Arc::new(Mark {
            state: AtomicU8::new(IS_READY),
            ready: ready.clone(),
            task: OnceLock::new(),
        })
    });
    tokio::spawn(Counted {
        waker: mark.as_ref().map(|mark| Waker::from(Arc::clone(mark))),
        mark: Over(mark),
        task,
    })
}

/// It waits for something, or runs.
const WAITS: u8 = 0;
/// It was made, or woken.
const IS_READY: u8 = 1;
/// It is over.
const IS_OVER: u8 = 2;

/// What is known of a task.
#[derive(Debug)]
struct Mark {
    state: AtomicU8,
    ready: ReadyTasks,
    /// What wakes it.
    task: OnceLock<Waker>,
}

impl Mark {
    fn note(&self, state: u8) {
        if self.state.swap(state, AcqRel) == IS_READY {
            self.ready.0.fetch_sub(1, Relaxed);
        }
    }
}

impl Wake for Mark {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Counted first: who takes it off sees it.
        self.ready.0.fetch_add(1, Relaxed);
        let woken = self
            .state
            .compare_exchange(WAITS, IS_READY, AcqRel, Relaxed);
        if woken.is_err() {
            self.ready.0.fetch_sub(1, Relaxed);
        }
        if let Some(task) = self.task.get() {
            task.wake_by_ref();
        }
    }
}

pin_project_lite::pin_project! {
    /// A task that is counted while it is ready.
    struct Counted<F> {
        mark: Over,
        waker: Option<Waker>,
        #[pin]
        task: F,
    }
}

impl<F: Future> Future for Counted<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let (Some(mark), Some(waker)) = (&this.mark.0, this.waker) else {
            return this.task.poll(context);
        };
        // The same as long as it lives.
        mark.task.get_or_init(|| context.waker().clone());
        mark.note(WAITS);
        this.task.poll(&mut Context::from_waker(waker))
    }
}

/// Takes the task off when it is dropped.
struct Over(Option<Arc<Mark>>);

impl Drop for Over {
    fn drop(&mut self) {
        if let Some(mark) = &self.0 {
            mark.note(IS_OVER);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::Mutex;

    use tokio::runtime::{Builder, Runtime};

    use super::*;

    /// Where a task leaves what wakes it.
    type Place = Arc<Mutex<Option<Waker>>>;

    /// Is over when told, and leaves what wakes it.
    fn waits(place: &Place) -> impl Future<Output = ()> + Send + 'static {
        let place = Arc::clone(place);
        poll_fn(move |context| {
            let before = place.lock().unwrap().replace(context.waker().clone());
            before.map_or(Poll::Pending, |_| Poll::Ready(()))
        })
    }

    fn runtime() -> Runtime {
        Builder::new_current_thread().build().unwrap()
    }

    fn spawned(runtime: &Runtime, place: &Place, ready: &ReadyTasks) -> JoinHandle<()> {
        let _context = runtime.enter();
        spawn_counted(waits(place), Some(ready))
    }

    #[test]
    fn a_task_is_ready_from_when_it_is_woken_until_it_runs() {
        let (ready, place) = (ReadyTasks::default(), Place::default());
        let runtime = runtime();
        let task = spawned(&runtime, &place, &ready);
        runtime.block_on(tokio::task::yield_now());
        let waker = place.lock().unwrap().clone().unwrap();
        assert!(ready.are_none());
        waker.wake_by_ref();
        waker.wake_by_ref();
        assert!(!ready.are_none());
        runtime.block_on(task).unwrap();
        assert!(ready.are_none());
        waker.wake();
        assert!(ready.are_none(), "one that is over is not ready");
    }

    #[test]
    fn a_task_that_is_dropped_is_not_ready() {
        let (ready, place) = (ReadyTasks::default(), Place::default());
        let runtime = runtime();
        drop(spawned(&runtime, &place, &ready));
        runtime.block_on(tokio::task::yield_now());
        place.lock().unwrap().take().unwrap().wake();
        assert!(!ready.are_none());
        drop(runtime);
        assert!(ready.are_none());
    }
}
