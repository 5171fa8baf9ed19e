//! What has expired is taken out of the token database from time to time, by one process for all workers.

use super::deny_table::{now, runtime};
use super::service::open;
use super::store::{ONE_CONNECTION, Password};
use crate::config;

/// The database of a token service, of which rows are taken out.
#[derive(Debug, Clone)]
pub struct Flush {
    tokens: config::Tokens,
    password: Option<Password>,
}

impl Flush {
    /// Of this service.
    pub fn new(tokens: config::Tokens, password: Option<Password>) -> Self {
        Self { tokens, password }
    }

    /// Takes out what has expired; how many rows there were. The database is opened for it and closed again, for an hour may pass
    /// until the next time.
    ///
    /// # Errors
    /// It does not answer; in words, for the operator.
    pub async fn run(&self) -> Result<u64, String> {
        let Self { tokens, password } = self.clone();
        // What waits for the database waits there, on an event loop of its own.
        let flushing = tokio::task::spawn_blocking(move || {
            runtime()?.block_on(async {
                let store = open(&tokens, password.as_ref(), ONE_CONNECTION).await?;
                let flushed = store.flush(now()).await;
                store.close().await;
                flushed.map_err(|error| error.to_string())
            })
        });
        flushing.await.map_err(|error| error.to_string())?
    }
}
