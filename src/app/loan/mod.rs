//! The event loop, lent to a thread of the application, which turns it between its calls: what comes is then read, worked on and
//! answered on one thread, and nobody has to be woken for it. The thread that the event loop belongs to watches meanwhile, and takes it back
//! where a call lasts: then nothing waits for that call but what needs its thread.

mod density;
mod pace;
mod ready;

use std::future::{Future, poll_fn};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, ThreadId};
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::Notify;

use crate::sys::clock;

pub use density::Density;
pub use pace::CallPace;
pub use ready::{ReadyTasks, spawn_counted};

/// How often the owner looks how far the borrower is, as long as that has something to do.
const TICK: Duration = Duration::from_millis(2);

/// So often the system is asked for news before the application has its turn.
const ROUNDS: u32 = 4;

/// What is left of what there was to do at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// All tasks that are [counted](spawn_counted) wait for something.
    Nothing,
    /// Some are ready: nothing will say so, it is to be turned once more.
    More,
}

/// An event loop that can be lent, and who has it.
#[derive(Debug, Clone, Default)]
pub struct Loan(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// For the owner, where it does not turn the event loop.
    changed: Condvar,
    /// For the owner, where it does.
    called: Notify,
    /// For the borrower, until it has it.
    handed_over: Condvar,
    /// And where it turns it.
    back: Notify,
    taken_back: Notify,
    /// What the state says too.
    is_lent: AtomicBool,
    /// Those that must have had their turn when the borrower leaves; none where it turns the event loop until something comes.
    ready: Option<ReadyTasks>,
}

#[derive(Debug, Default)]
struct State {
    /// While there is one.
    runtime: Option<Arc<Runtime>>,
    /// What it waits with.
    descriptor: Option<OwnedFd>,
    holder: Holder,
    /// Who has asked for it; none where the owner has it.
    borrower: Option<ThreadId>,
    /// The borrower turns it; else it is in the application.
    is_inside: bool,
    /// How often the borrower has come.
    visits: u64,
    /// The owner waits until it is told that the borrower is in the application.
    owner_sleeps: bool,
    /// What the owner lives for can go on.
    is_called: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Holder {
    #[default]
    Owner,
    /// The owner has not seen yet that another thread wants it.
    Asked,
    Borrower,
}

impl Loan {
    /// One that can be [turned briefly](Self::turn_briefly) too.
    #[must_use]
    pub fn for_another_event_loop() -> Self {
        Self(Arc::new(Shared {
            ready: Some(ReadyTasks::default()),
            ..Shared::default()
        }))
    }

    /// Turns `runtime` on this thread, which owns it, or has it turned by another, until `life` is over, which runs on this thread always.
    /// `descriptor` is what that waits with.
    pub(crate) fn live<T>(
        &self,
        (runtime, descriptor): (Runtime, Option<OwnedFd>),
        life: impl Future<Output = T>,
    ) -> T {
        let runtime = Arc::new(runtime);
        {
            let mut state = self.0.state();
            state.runtime = Some(Arc::clone(&runtime));
            state.descriptor = descriptor;
            // It begins.
            state.is_called = true;
        }
        let mut life = Life {
            waker: Waker::from(Arc::clone(&self.0)),
            future: pin!(life),
        };
        // Also where it panics.
        let ending = Ending(&self.0);
        let outcome = loop {
            if let Some(outcome) = self.0.own(&runtime, &mut life) {
                break outcome;
            }
            self.0.hand_over();
            if let Some(outcome) = self.0.watch(&runtime, &mut life) {
                break outcome;
            }
        };
        drop(ending);
        if let Some(runtime) = Arc::into_inner(runtime) {
            // What the application does on threads of its own could go on for ever.
            runtime.shutdown_background();
        }
        outcome
    }

    /// Turns the event loop on this thread until `until` is over; none: it is wanted back, another thread has it, or there is none any more.
    pub fn turn<T>(&self, until: impl Future<Output = T>) -> Option<T> {
        let runtime = {
            let mut state = self.0.state();
            if state.holder == Holder::Owner && state.runtime.is_some() {
                state.holder = Holder::Asked;
                state.borrower = Some(thread::current().id());
                self.0.is_lent.store(true, SeqCst);
                self.0.called.notify_one();
            }
            if !state.is_of_this_thread() {
                return None;
            }
            while state.holder == Holder::Asked && state.runtime.is_some() {
                let waited = self.0.handed_over.wait(state);
                state = waited.unwrap_or_else(PoisonError::into_inner);
            }
            state.is_inside = true;
            state.visits = state.visits.wrapping_add(1);
            state.runtime.clone()
        };
        let _inside = Inside(&self.0);
        let runtime = runtime?;
        let turned = runtime.block_on(async {
            tokio::select! {
                biased;
                () = self.0.back.notified() => None,
                outcome = until => Some(outcome),
            }
        });
        // Before it is said that this thread has left: the owner ends it.
        drop(runtime);
        turned
    }

    /// Does `first` in the event loop, and turns it on this thread as long as there is something to do at once, or for some rounds: there could be
    /// for ever. None: as above.
    pub fn turn_briefly(&self, first: impl FnOnce()) -> Option<Left> {
        let mut first = Some(first);
        let mut rounds = 0;
        self.turn(poll_fn(move |context| {
            // The system is asked for news before this is called again, so what that has made ready must have its turn too.
            let is_first = first.take().map(|first| first()).is_some();
            if !is_first && self.ready().is_none_or(ReadyTasks::are_none) {
                return Poll::Ready(Left::Nothing);
            }
            if rounds == ROUNDS {
                return Poll::Ready(Left::More);
            }
            rounds += 1;
            context.waker().wake_by_ref();
            Poll::Pending
        }))
    }

    /// What becomes readable when there is something to do in the event loop; none where that cannot be told. For a library of another
    /// language, which must not close it, nor use it when this is gone.
    #[must_use]
    pub fn descriptor(&self) -> Option<RawFd> {
        let state = self.0.state();
        state.descriptor.as_ref().map(AsRawFd::as_raw_fd)
    }

    /// Who counts tasks; none where nobody has to.
    #[must_use]
    pub fn ready(&self) -> Option<&ReadyTasks> {
        self.0.ready.as_ref()
    }

    /// This thread gives it back, before a call that lasts, where it has it.
    pub fn give_back(&self) {
        if !self.is_lent() {
            return;
        }
        let mut state = self.0.state();
        if state.is_of_this_thread() && !state.is_inside {
            self.0.belongs_to_owner(&mut state);
            drop(state);
            self.0.changed.notify_one();
        }
    }

    /// Whether a thread of the application has it, or has asked for it.
    #[must_use]
    pub fn is_lent(&self) -> bool {
        self.0.is_lent.load(SeqCst)
    }

    /// Whether this thread has it and is in the application: it sees what there is to do when it comes back, or the owner does.
    #[must_use]
    pub fn is_held_here(&self) -> bool {
        if !self.is_lent() {
            return false;
        }
        let state = self.0.state();
        state.is_of_this_thread() && !state.is_inside
    }

    /// Returns when the owner has it again, since this returned last.
    pub async fn taken_back(&self) {
        self.0.taken_back.notified().await;
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The owner turns it; none: another thread wants it.
    fn own<T>(&self, runtime: &Runtime, life: &mut Life<'_, impl Future<Output = T>>) -> Option<T> {
        runtime.block_on(async {
            loop {
                let mut called = pin!(self.called.notified());
                let outcome = poll_fn(|context| {
                    if let Poll::Ready(outcome) = self.live_on(life) {
                        return Poll::Ready(Some(outcome));
                    }
                    called.as_mut().poll(context).map(|()| None)
                })
                .await;
                if outcome.is_some() || self.state().holder == Holder::Asked {
                    return outcome;
                }
            }
        })
    }

    /// The owner does not turn it any more.
    fn hand_over(&self) {
        {
            let mut state = self.state();
            state.holder = Holder::Borrower;
            // It may take until that has a processor.
            state.is_inside = true;
        }
        self.handed_over.notify_one();
    }

    /// The owner looks what the borrower does, until it has it again; none where it has.
    fn watch<T>(
        &self,
        runtime: &Runtime,
        life: &mut Life<'_, impl Future<Output = T>>,
    ) -> Option<T> {
        let _context = runtime.enter();
        let mut seen = (None, clock::monotonic());
        loop {
            if let Poll::Ready(outcome) = self.live_on(life) {
                return Some(outcome);
            }
            let mut state = self.state();
            if state.is_called {
                continue;
            }
            if state.holder == Holder::Owner {
                return None;
            }
            let now = Some((state.is_inside, state.visits));
            if seen.0 != now {
                seen = (now, clock::monotonic());
            }
            let left = TICK.saturating_sub(clock::monotonic().saturating_sub(seen.1));
            if !left.is_zero() {
                drop(self.changed.wait_timeout(state, left));
                continue;
            }
            if !state.is_inside {
                self.belongs_to_owner(&mut state);
                return None;
            }
            // Nothing has come for a while.
            state.owner_sleeps = true;
            let mut state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
            state.owner_sleeps = false;
            seen.0 = None;
        }
    }

    fn belongs_to_owner(&self, state: &mut State) {
        state.holder = Holder::Owner;
        state.borrower = None;
        self.is_lent.store(false, SeqCst);
        self.taken_back.notify_one();
    }

    fn live_on<T>(&self, life: &mut Life<'_, impl Future<Output = T>>) -> Poll<T> {
        if std::mem::take(&mut self.state().is_called) {
            life.go_on()
        } else {
            Poll::Pending
        }
    }

    /// Nobody turns it any more when this returns.
    fn end(&self) {
        let mut state = self.state();
        drop(state.runtime.take());
        self.is_lent.store(false, SeqCst);
        self.handed_over.notify_one();
        while state.is_inside {
            self.back.notify_one();
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl State {
    fn is_of_this_thread(&self) -> bool {
        self.borrower == Some(thread::current().id())
    }
}

/// The event loop is not lent any more when this is dropped.
struct Ending<'a>(&'a Shared);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// The borrower turns the event loop, until this is dropped.
struct Inside<'a>(&'a Shared);

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.is_inside = false;
        let tells = state.owner_sleeps || state.runtime.is_none();
        drop(state);
        if tells {
            self.0.changed.notify_one();
        }
    }
}

/// What the owner lives for.
struct Life<'a, F> {
    /// Wakes the owner, whatever that does.
    waker: Waker,
    future: Pin<&'a mut F>,
}

impl<T, F: Future<Output = T>> Life<'_, F> {
    fn go_on(&mut self) -> Poll<T> {
        let mut context = Context::from_waker(&self.waker);
        self.future.as_mut().poll(&mut context)
    }
}

impl Wake for Shared {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.state().is_called = true;
        self.called.notify_one();
        self.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use tokio::runtime::Handle;
    use tokio::sync::oneshot;

    use super::*;

    /// A loan whose owner lives until told, and a way into its event loop.
    struct Owned {
        loan: Loan,
        event_loop: Handle,
        end: oneshot::Sender<()>,
        owner: thread::JoinHandle<()>,
    }

    impl Owned {
        fn new() -> Self {
            let loan = Loan::for_another_event_loop();
            let (end, ended) = oneshot::channel();
            let (tell, told) = mpsc::channel();
            let lent = loan.clone();
            let owner = thread::spawn(move || {
                let mut builder = tokio::runtime::Builder::new_current_thread();
                let runtime = builder.enable_all().build().unwrap();
                lent.live((runtime, None), async {
                    tell.send(Handle::current()).unwrap();
                    ended.await.unwrap();
                });
            });
            Self {
                loan,
                event_loop: told.recv().unwrap(),
                end,
                owner,
            }
        }

        /// The thread on which a task runs now.
        fn asks(&self) -> oneshot::Receiver<ThreadId> {
            let (tell, told) = oneshot::channel();
            drop(self.event_loop.spawn(async move {
                let _nobody_asks = tell.send(thread::current().id());
            }));
            told
        }

        fn owner(&self) -> ThreadId {
            self.owner.thread().id()
        }

        fn end(self) {
            self.end.send(()).unwrap();
            self.owner.join().unwrap();
        }
    }

    #[test]
    fn whoever_has_it_runs_what_is_ready() {
        let owned = Owned::new();
        assert_eq!(owned.asks().blocking_recv().unwrap(), owned.owner());
        let borrower = thread::current().id();
        let turned = owned.loan.turn(async {
            assert!(owned.loan.is_lent() && !owned.loan.is_held_here());
            owned.asks().await
        });
        assert_eq!(turned, Some(Ok(borrower)));
        owned.loan.give_back();
        assert_eq!(owned.asks().blocking_recv().unwrap(), owned.owner());
        owned.end();
    }

    #[test]
    fn nobody_else_can_turn_it_or_give_it_back_meanwhile() {
        let owned = Owned::new();
        let loan = &owned.loan;
        loan.turn(async {
            thread::scope(|scope| {
                scope.spawn(|| {
                    loan.give_back();
                    assert!(loan.is_lent() && !loan.is_held_here());
                    assert_eq!(loan.turn(std::future::ready(())), None);
                });
            });
        });
        loan.give_back();
        assert!(!loan.is_lent());
        owned.end();
    }

    #[test]
    fn it_is_taken_back_from_one_that_does_not_come() {
        let owned = Owned::new();
        assert!(owned.loan.turn(async { owned.asks().await }).is_some());
        // This thread does nothing for it any more.
        assert_eq!(owned.asks().blocking_recv().unwrap(), owned.owner());
        assert!(!owned.loan.is_lent());
        owned.event_loop.block_on(owned.loan.taken_back());
        owned.end();
    }

    #[test]
    fn the_owner_lives_while_it_is_lent_and_has_it_back_at_its_end() {
        let owned = Owned::new();
        let (loan, end) = (owned.loan.clone(), owned.end);
        let turned = loan.turn(async move {
            end.send(()).unwrap();
            std::future::pending::<()>().await;
        });
        assert_eq!(turned, None);
        owned.owner.join().unwrap();
        assert_eq!(
            loan.turn(std::future::ready(())),
            None,
            "there is none any more"
        );
    }

    #[test]
    fn one_that_turns_it_briefly_leaves_when_what_is_ready_had_its_turn() {
        let owned = Owned::new();
        let ready = owned.loan.ready().cloned();
        let (tell, told) = mpsc::channel();
        let turned = owned.loan.turn_briefly(|| {
            let task = async move {
                tokio::task::yield_now().await;
                tokio::task::yield_now().await;
                tell.send(thread::current().id()).unwrap();
            };
            drop(spawn_counted(task, ready.as_ref()));
        });
        assert_eq!(turned, Some(Left::Nothing));
        assert_eq!(told.try_recv(), Ok(thread::current().id()));
        owned.loan.give_back();
        owned.end();
    }

    #[test]
    fn what_is_always_ready_does_not_keep_one_that_turns_it_briefly() {
        let owned = Owned::new();
        let ready = owned.loan.ready().cloned();
        let turned = owned.loan.turn_briefly(|| {
            let task = poll_fn::<(), _>(|context| {
                context.waker().wake_by_ref();
                Poll::Pending
            });
            drop(spawn_counted(task, ready.as_ref()));
        });
        assert_eq!(turned, Some(Left::More));
        owned.loan.give_back();
        owned.end();
    }
}
