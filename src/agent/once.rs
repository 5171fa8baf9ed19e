//! One attempt at each of several feeds, for commands that judge as a worker would: the same client, the same bounds.

use std::io;

use tokio::task::JoinSet;

use super::client::Limits;
use super::source::Source;
use crate::config::Fetch;
use crate::tokens::DenyTable;

/// What there is of each, judged and found good, or in words why there is nothing; all are fetched at once. Blocks, for as long
/// as the agent would try.
///
/// # Errors
/// There is no event loop to be had.
pub fn fetch_once(
    fetches: &[Fetch],
    table: Option<&DenyTable>,
) -> io::Result<Vec<Result<Vec<u8>, String>>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let fetched = runtime.block_on(async {
        let mut attempts = JoinSet::new();
        for (place, fetch) in fetches.iter().enumerate() {
            let limits = Limits::default();
            let mut source = Source::new(fetch.clone(), limits, table.cloned());
            attempts.spawn(async move { (place, source.attempt().await) });
        }
        let nothing = || Err("nothing came of it".to_owned());
        let mut fetched: Vec<Result<Vec<u8>, String>> = fetches.iter().map(|_| nothing()).collect();
        while let Some(ended) = attempts.join_next().await {
            let (place, result) = ended.map_err(io::Error::other)?;
            if let Some(fetched) = fetched.get_mut(place) {
                *fetched = match result {
                    Ok(brought) => brought.content.map_or_else(nothing, Ok),
                    Err(failure) => Err(failure.to_string()),
                };
            }
        }
        Ok(fetched)
    });
    // A name may still be looked up on a thread of its own.
    runtime.shutdown_background();
    fetched
}
