//! The deny list in the token database: the agent reads it for all workers, commands write to it.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::thread;

use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use super::rotation::Millis;
use super::service::open;
use super::store::{ONE_CONNECTION, Password, Store};
use crate::auth::{DenyListText, Revoked};
use crate::config;
use crate::sys::clock;

/// The list. It is opened with its first use.
#[derive(Debug, Clone)]
pub struct DenyTable {
    tokens: config::Tokens,
    password: Option<Password>,
    reader: Arc<OnceLock<Sender<Answer>>>,
}

/// Where what was read goes.
type Answer = oneshot::Sender<Result<Vec<u8>, String>>;

impl DenyTable {
    /// In the database of a token service.
    pub fn new(tokens: config::Tokens, password: Option<Password>) -> Self {
        Self {
            tokens,
            password,
            reader: Arc::default(),
        }
    }

    /// The list as it is now, as JSON that [`DenyListText::parse`] reads.
    ///
    /// # Errors
    /// The database does not answer; in words, for the operator.
    pub async fn read(&self) -> Result<Vec<u8>, String> {
        let gone = || "the thread that reads the database has ended".to_owned();
        let (answer, answered) = oneshot::channel();
        let reader = self.reader.get_or_init(|| self.start_reader());
        reader.send(answer).map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }

    /// Puts an entry on it. Blocks, for commands.
    ///
    /// # Errors
    /// The database cannot be written; in words, for the operator.
    pub fn add(&self, entry: &Revoked) -> Result<(), String> {
        runtime()?.block_on(async {
            let store = open(&self.tokens, self.password.as_ref(), ONE_CONNECTION).await?;
            let added = store.deny(entry, now()).await;
            // What was written shall stand in the file and not beside it.
            store.close().await;
            added.map_err(|error| error.to_string())
        })
    }

    /// The connection stays on a thread of its own, with an event loop of its own: what it waits for may be for that thread only.
    fn start_reader(&self) -> Sender<Answer> {
        let (asks, asked) = channel();
        let (tokens, password) = (self.tokens.clone(), self.password.clone());
        let thread = thread::Builder::new().name("deny-table".to_owned());
        if let Err(error) = thread.spawn(move || answer_all(&tokens, password.as_ref(), &asked)) {
            // Whoever asks is told that it has ended.
            tracing::error!(%error, "cannot start a thread that reads the deny list");
        }
        asks
    }
}

fn answer_all(tokens: &config::Tokens, password: Option<&Password>, asked: &Receiver<Answer>) {
    let mut store = None;
    let runtime = runtime();
    while let Ok(answer) = asked.recv() {
        let result = match &runtime {
            Ok(runtime) => runtime.block_on(list(tokens, password, &mut store)),
            Err(error) => Err(error.clone()),
        };
        // Whoever asked may have given up.
        let _gone = answer.send(result);
    }
}

async fn list(
    tokens: &config::Tokens,
    password: Option<&Password>,
    store: &mut Option<Store>,
) -> Result<Vec<u8>, String> {
    let opened = match store.take() {
        Some(store) => store,
        None => open(tokens, password, ONE_CONNECTION).await?,
    };
    let revoked = store.insert(opened).revoked(now()).await;
    let revoked = revoked.map_err(|error| error.to_string())?;
    serde_json::to_vec(&DenyListText { revoked }).map_err(|error| error.to_string())
}

pub(super) fn runtime() -> Result<Runtime, String> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().build();
    runtime.map_err(|error| error.to_string())
}

pub(super) fn now() -> i64 {
    Millis::of(clock::unix()).seconds()
}
