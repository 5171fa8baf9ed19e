//! A stream of events that goes on until its client, its worker or somebody on the way has enough.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response};
use http_body::Frame;
use http_body_util::BodyExt;
use tokio::time::Interval;

use super::answers::Body;
use crate::app::{BoxError, Draining};

/// An event every `every`, and a last one when the worker goes. A deaf stream is not told of that.
pub(super) fn stream(every: Duration, draining: Option<Draining>) -> Response<Body> {
    let told: Told = match draining {
        Some(draining) => Box::pin(async move { draining.begun().await }),
        None => Box::pin(std::future::pending()),
    };
    let events = Events {
        ticks: tokio::time::interval(every.max(Duration::from_millis(1))),
        told,
        sent: 0,
        has_ended: false,
    };
    let mut response = Response::new(events.boxed_unsync());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

type Told = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Events as a browser's `EventSource` reads them (HTML Standard, section 9.2).
struct Events {
    ticks: Interval,
    told: Told,
    sent: u64,
    has_ended: bool,
}

impl http_body::Body for Events {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.has_ended {
            return Poll::Ready(None);
        }
        let event = if self.told.as_mut().poll(context).is_ready() {
            self.has_ended = true;
            "event: end\ndata: this worker goes, connect again\n\n".to_owned()
        } else {
            ready!(self.ticks.poll_tick(context));
            self.sent += 1;
            format!("data: {}\n\n", self.sent)
        };
        Poll::Ready(Some(Ok(Frame::data(Bytes::from(event)))))
    }
}
