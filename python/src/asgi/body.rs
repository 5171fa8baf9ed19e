//! Brings the content of a request to its exchange, no faster than the application takes it.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use destrier::BoxError;
use http_body::{Body, Frame};

use super::exchange::Exchange;

/// Reads until the end, or until nobody will ask for more. `is_optional`: not before the application asks.
pub(super) async fn bring<B>(mut body: B, exchange: Arc<Exchange>, is_optional: bool)
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static,
{
    poll_fn(|context| {
        loop {
            match exchange.poll_wants(is_optional, context) {
                None => return Poll::Ready(()),
                Some(false) => return Poll::Pending,
                Some(true) => {}
            }
            let Poll::Ready(polled) = Pin::new(&mut body).poll_frame(context) else {
                return Poll::Pending;
            };
            match polled.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(piece))) => {
                    let is_end = body.is_end_stream();
                    if !piece.is_empty() {
                        exchange.arrive(Some(piece));
                    }
                    if !is_end {
                        continue;
                    }
                    exchange.arrive(None);
                }
                // ASGI has no place for trailers of a request.
                Some(Ok(Err(_trailers))) => continue,
                None => exchange.arrive(None),
                // Half a request is none.
                Some(Err(_)) => exchange.leave(),
            }
            return Poll::Ready(());
        }
    })
    .await;
}
