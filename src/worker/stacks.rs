//! What the threads of the application do, for the master.

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::app::{Threads, Witness};
use crate::channel::{Stacks, ThreadStack, ToMaster};

/// So many bytes of stacks are told.
const STACKS_MAX: usize = 256 << 10;

/// Says so as soon as it is known, on `words`.
pub(super) fn tell(
    words: &mpsc::UnboundedSender<ToMaster>,
    witness: Option<&Arc<dyn Witness>>,
    question: u64,
) {
    let (words, witness) = (words.clone(), witness.cloned());
    drop(tokio::spawn(async move {
        // Nobody listens to it any more when the worker is about to exit.
        let _leaving = words.send(answer(witness.as_ref(), question).await);
    }));
}

/// What is said.
pub(super) async fn answer(witness: Option<&Arc<dyn Witness>>, question: u64) -> ToMaster {
    let stacks = match witness {
        Some(witness) => Some(bounded(witness.sight_all().await)),
        None => None,
    };
    ToMaster::Stacks { question, stacks }
}

fn bounded(seen: Threads) -> Stacks {
    let mut room = STACKS_MAX;
    let mut left_out = seen.left_out;
    let mut threads = Vec::new();
    for thread in seen.threads {
        let Some(rest) = room.checked_sub(thread.stack.len()) else {
            left_out += 1;
            continue;
        };
        room = rest;
        threads.push(ThreadStack {
            name: thread.name,
            request: thread.request.map(|request| request.to_string()),
            milliseconds: thread
                .busy_for
                .map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
            stack: thread.stack,
        });
    }
    Stacks {
        interpreter_is_held: seen.interpreter_is_held,
        threads,
        left_out,
    }
}
