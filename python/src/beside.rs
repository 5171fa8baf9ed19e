//! The content of a request, which is brought to the application while its answer is waited for.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};

/// Brings content until there is no more, or nobody wants it.
pub(crate) type Bringing = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What `waiting` comes to, and `bringing` beside it. Whether that goes on afterwards `is_wanted` says; else it is dropped here, with the
/// content, before the server sees the answer: that says whether the connection can go on.
pub(crate) async fn beside<T>(
    bringing: Option<Bringing>,
    waiting: impl Future<Output = T>,
    is_wanted: impl FnOnce(&T) -> bool,
) -> T {
    let mut bringing = bringing;
    let mut waiting = pin!(waiting);
    let outcome = poll_fn(|context| {
        bringing.take_if(|content| content.as_mut().poll(context).is_ready());
        waiting.as_mut().poll(context)
    })
    .await;
    if let Some(bringing) = bringing
        && is_wanted(&outcome)
    {
        drop(tokio::spawn(bringing));
    }
    outcome
}
