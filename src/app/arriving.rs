//! The body of a request as it comes in, over either version of HTTP.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::RecvStream;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::BoxError;
use super::interim::Interim;

/// A body that comes in.
#[derive(Debug)]
pub enum Arriving {
    /// With HTTP/1.1 or 1.0.
    Connection(Incoming),
    /// With HTTP/2.
    Stream(Http2Body),
}

/// One that comes in on a stream of HTTP/2.
#[derive(Debug)]
pub struct Http2Body {
    stream: RecvStream,
    /// So much of its Content-Length is still to come, which the codec sees to (RFC 9113 section 8.1.1); none where it has none.
    left: Option<u64>,
    /// Only its trailers can still come.
    has_no_more_data: bool,
    /// Where its client is told that it is wanted, which it waits for.
    waiting: Option<Arc<Interim>>,
}

impl Http2Body {
    /// Of `length` bytes, where that is known.
    pub(crate) fn new(stream: RecvStream, length: Option<u64>) -> Self {
        Self {
            stream,
            left: length,
            has_no_more_data: false,
            waiting: None,
        }
    }

    /// Whose client waits until it is told, through `interim`, that it is wanted (RFC 9110 section 10.1.1).
    pub(crate) fn awaited_through(self, interim: &Arc<Interim>) -> Self {
        let waiting = Some(Arc::clone(interim));
        Self { waiting, ..self }
    }

    fn poll_frame(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        if !self.has_no_more_data {
            let Poll::Ready(data) = self.stream.poll_data(context) else {
                // Where some of it is here its client did not wait.
                if let Some(interim) = self.waiting.take() {
                    interim.go_on();
                }
                return Poll::Pending;
            };
            self.waiting = None;
            if let Some(data) = data.transpose()? {
                // It can only fail where nothing of it is to be given back.
                let _known = self.stream.flow_control().release_capacity(data.len());
                if let Some(left) = &mut self.left {
                    *left = left.saturating_sub(data.len() as u64);
                }
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
            self.has_no_more_data = true;
        }
        let trailers = ready!(self.stream.poll_trailers(context))?;
        Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
    }
}

impl Body for Arriving {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.get_mut() {
            Self::Connection(incoming) => Pin::new(incoming)
                .poll_frame(context)
                .map_err(BoxError::from),
            Self::Stream(body) => body.poll_frame(context).map_err(BoxError::from),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Connection(incoming) => incoming.is_end_stream(),
            Self::Stream(body) => body.stream.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Connection(incoming) => incoming.size_hint(),
            Self::Stream(body) => body.left.map(SizeHint::with_exact).unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use h2::{Reason, SendStream, client, server};
    use http::header::ETAG;
    use http::{HeaderMap, HeaderValue, Request};
    use http_body_util::BodyExt;
    use tokio::io::duplex;

    use super::*;

    /// An upload, as its client and as its server see it.
    async fn upload() -> (SendStream<Bytes>, RecvStream) {
        let (near, far) = duplex(1 << 16);
        let serving = tokio::spawn(async move {
            let mut connection = server::handshake(far).await.unwrap();
            let (request, respond) = connection.accept().await.unwrap().unwrap();
            tokio::spawn(async move {
                let _kept = respond;
                connection.accept().await.is_some()
            });
            request.into_body()
        });
        let (mut sender, connection) = client::handshake(near).await.unwrap();
        tokio::spawn(connection);
        let request = Request::post("http://a.example/").body(()).unwrap();
        let (_, stream) = sender.send_request(request, false).unwrap();
        (stream, serving.await.unwrap())
    }

    fn of(stream: RecvStream, length: Option<u64>) -> Arriving {
        Arriving::Stream(Http2Body::new(stream, length))
    }

    #[tokio::test]
    async fn a_body_of_a_stream_arrives_with_its_trailers() {
        let (mut client, stream) = upload().await;
        let mut body = of(stream, Some(5));
        assert_eq!(body.size_hint().exact(), Some(5));
        client.send_data("abc".into(), false).unwrap();
        assert_eq!(
            body.frame().await.unwrap().unwrap().into_data().unwrap(),
            "abc"
        );
        assert_eq!(body.size_hint().exact(), Some(2));
        client.send_data("de".into(), false).unwrap();
        let trailers = HeaderMap::from_iter([(ETAG, HeaderValue::from_static("y"))]);
        client.send_trailers(trailers.clone()).unwrap();
        let rest = body.collect().await.unwrap();
        assert_eq!(rest.trailers(), Some(&trailers));
        assert_eq!(rest.to_bytes(), "de");
    }

    /// Whatever reason the client gives, that there is none among them.
    #[tokio::test]
    async fn a_body_that_is_taken_back_is_no_whole_one() {
        for reason in [Reason::NO_ERROR, Reason::CANCEL, Reason::INTERNAL_ERROR] {
            let (mut client, stream) = upload().await;
            let mut body = of(stream, None);
            client.send_data("abc".into(), false).unwrap();
            assert!(body.frame().await.unwrap().is_ok());
            client.send_reset(reason);
            assert!(body.frame().await.unwrap().is_err(), "{reason:?}");
            assert!(!body.is_end_stream());
        }
    }

    #[tokio::test]
    async fn a_client_is_told_to_go_on_where_nothing_of_its_body_is_here() {
        for is_here in [false, true] {
            let (mut client, mut stream) = upload().await;
            if is_here {
                client.send_data("abc".into(), true).unwrap();
                while stream.flow_control().used_capacity() == 0 {
                    tokio::task::yield_now().await;
                }
            }
            let interim = Arc::new(Interim::default());
            let body = Http2Body::new(stream, None).awaited_through(&interim);
            let mut body = Arriving::Stream(body);
            let polled = poll_fn(|context| Poll::Ready(Pin::new(&mut body).poll_frame(context)));
            let polled = polled.await;
            assert_eq!(polled.is_ready(), is_here);
            assert_eq!(interim.next().is_some(), !is_here);
        }
    }
}
