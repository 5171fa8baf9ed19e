//! The content of a file as that of an answer (ASGI, "Path Send"): read on threads of tokio, no faster than the client takes it.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use bytes::Bytes;
use destrier::sys::file::open_regular;
use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use tokio::task::spawn_blocking;

use super::Shared;
use super::call::error_of;
use super::exchange::Exchange;
use crate::answer::{PIECE, Pieces};

/// Answers with the head that was given and this file.
pub(super) fn send(shared: &Shared, exchange: &Exchange, path: &Path) -> PyResult<()> {
    let named = |error: std::io::Error| {
        let path = path.display();
        PyOSError::new_err(format!("http.response.pathsend: `{path}`: {error}"))
    };
    // Before the head goes out: the application can still answer something else.
    let file = open_regular(path).map_err(|error| {
        named(if error.kind() == std::io::ErrorKind::NotFound {
            std::io::Error::other("no regular file is there")
        } else {
            error
        })
    })?;
    let metadata = file.metadata().map_err(named)?;
    let Some(mut head) = exchange.take_head().map_err(error_of)? else {
        return Ok(());
    };
    head.set_default_length(metadata.len());
    let left = head.length().unwrap_or_default();
    let (pieces, body) = Pieces::new();
    exchange.answer(head.with(body));
    if let Some(runtime) = shared.runtime() {
        drop(runtime.spawn(read(file, left, pieces)));
    }
    Ok(())
}

/// Reads so many bytes. Where there are fewer the client sees a cut.
async fn read(mut file: File, mut left: u64, pieces: Pieces) {
    while left > 0 {
        let wanted = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
        let reading = spawn_blocking(move || {
            let mut piece = vec![0; wanted];
            let count = file.read(&mut piece)?;
            piece.truncate(count);
            Ok::<_, std::io::Error>((file, Bytes::from(piece)))
        });
        let Ok(Ok((same, piece))) = reading.await else {
            tracing::error!("a file that the application sent could not be read to its end");
            return;
        };
        file = same;
        let count = piece.len() as u64;
        let sender = pieces.sender();
        if count == 0 || sender.send(piece).await.is_err() {
            return;
        }
        left = left.saturating_sub(count);
    }
    pieces.complete();
}
