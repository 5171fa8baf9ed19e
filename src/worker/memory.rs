//! What a worker holds in memory, when the master asks for it.

use tokio::sync::mpsc;

use crate::channel::ToMaster;
use crate::sys::process_memory;

/// Says what this worker holds in memory. On a thread of its own: the kernel takes tens of milliseconds for a gibibyte, which
/// no request and no order shall wait for; those of the runtime may all be taken by the application.
pub(super) fn tell(words: &mpsc::UnboundedSender<ToMaster>) {
    let words = words.clone();
    let measure = move || {
        let pss = process_memory::own_share().ok();
        // Nobody listens to it any more when the worker is about to exit.
        let _leaving = words.send(ToMaster::Memory { pss });
    };
    let thread = std::thread::Builder::new().name("memory".to_owned());
    if let Err(error) = thread.spawn(measure) {
        tracing::warn!(%error, "cannot start a thread that measures memory");
    }
}
