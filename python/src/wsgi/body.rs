//! The body of a request: read before a thread is taken for it, or, when it is large, while the application reads it.

use std::future::poll_fn;
use std::pin::Pin;

use bytes::{Bytes, BytesMut};
use destrier::BoxError;
use http_body::{Body, Frame};
use tokio::sync::mpsc;

use crate::beside::Bringing;

/// A body of at most so many bytes is read first, so that a slow client holds no thread.
const READ_FIRST: usize = 1 << 20;

/// So many pieces of a larger one wait for the application.
const PIECES: usize = 8;

/// Where `wsgi.input` reads.
#[derive(Debug)]
pub(super) enum Source {
    /// All of it.
    Whole(Bytes),
    /// It arrives meanwhile, and an empty piece is its end; what ends in another way is not all of it.
    Arriving(mpsc::Receiver<Result<Bytes, BoxError>>),
}

impl Source {
    /// Of a request without a body.
    pub(super) fn none() -> Self {
        Self::Whole(Bytes::new())
    }

    /// How long it is, where that is known.
    pub(super) fn length(&self) -> Option<usize> {
        match self {
            Self::Whole(bytes) => Some(bytes.len()),
            Self::Arriving(_) => None,
        }
    }
}

/// Reads a body, or the start of a large one; what brings the rest of that as the application reads comes beside it.
///
/// # Errors
/// It does not arrive, or is larger than it may be.
pub(super) async fn take_in<B>(mut body: B) -> Result<(Source, Option<Bringing>), BoxError>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static,
{
    if body.is_end_stream() {
        return Ok(whole(Bytes::new()));
    }
    if body.size_hint().lower() > READ_FIRST as u64 {
        return Ok(arriving(Bytes::new(), body));
    }
    let Some(first) = next(&mut body).await else {
        return Ok(whole(Bytes::new()));
    };
    let first = first?;
    if body.is_end_stream() {
        return Ok(whole(first));
    }
    let mut start = BytesMut::from(first);
    while start.len() <= READ_FIRST {
        match next(&mut body).await {
            Some(piece) => start.extend_from_slice(&piece?),
            None => return Ok(whole(start.freeze())),
        }
    }
    Ok(arriving(start.freeze(), body))
}

/// The next piece that is not empty.
async fn next<B>(body: &mut B) -> Option<Result<Bytes, BoxError>>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
{
    loop {
        let frame = poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await?;
        match frame.map(Frame::into_data) {
            Ok(Ok(data)) if data.is_empty() => {}
            Ok(Ok(data)) => return Some(Ok(data)),
            // WSGI has no place for trailers.
            Ok(Err(_trailers)) => {}
            Err(error) => return Some(Err(error.into())),
        }
    }
}

fn whole(content: Bytes) -> (Source, Option<Bringing>) {
    (Source::Whole(content), None)
}

fn arriving<B>(start: Bytes, mut body: B) -> (Source, Option<Bringing>)
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static,
{
    let (sender, receiver) = mpsc::channel(PIECES);
    let bringing = async move {
        if !start.is_empty() && sender.send(Ok(start)).await.is_err() {
            return;
        }
        loop {
            let piece = tokio::select! {
                piece = next(&mut body) => piece,
                // The call is over; nobody reads the rest.
                () = sender.closed() => return,
            };
            // The end is said: a task that is dropped when the worker exits would look like it.
            let piece = piece.unwrap_or_else(|| Ok(Bytes::new()));
            let is_last = piece.as_ref().map_or(true, Bytes::is_empty);
            if sender.send(piece).await.is_err() || is_last {
                return;
            }
        }
    };
    (Source::Arriving(receiver), Some(Box::pin(bringing)))
}
