//! The event loop of a worker, and who turns it.

use std::io;

use tokio::runtime::{Builder, Runtime};

use crate::app::Loan;
use crate::logging;
use crate::scoreboard::SeatWriter;
use crate::sys::{clock, event_poll};

/// What `life` comes to in an event loop of its own, which may be lent.
pub(super) fn turned<T>(
    seat: &SeatWriter,
    loan: Option<Loan>,
    life: impl Future<Output = T>,
) -> io::Result<T> {
    if let Some(loan) = loan {
        let (runtime, descriptor) = match loan.ready() {
            Some(_) => event_poll::made_by(|| new(seat)),
            // Nothing else waits for it.
            None => (new(seat), None),
        };
        return Ok(loan.live((runtime?, descriptor), life));
    }
    let runtime = new(seat)?;
    let outcome = runtime.block_on(life);
    // What the application does on threads of its own could go on for ever.
    runtime.shutdown_background();
    Ok(outcome)
}

/// The event loop. It notes when it begins to wait and when it has something to do again, so that the master sees one that
/// does not turn any more without ever waking one that waits.
fn new(seat: &SeatWriter) -> io::Result<Runtime> {
    let (waits, turns) = (seat.clone(), seat.clone());
    seat.turns(clock::monotonic_coarse());
    Builder::new_current_thread()
        .enable_all()
        .on_thread_park(move || {
            logging::access_waits();
            waits.waits();
        })
        .on_thread_unpark(move || turns.turns(clock::monotonic_coarse()))
        .build()
}
