//! An answer on its way to the client, on a stream of its own.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, SendStream};
use http::header::{CONNECTION, CONTENT_LENGTH, DATE, TE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use http_body::{Body, Frame};

use super::super::date;
use crate::app::BoxError;

/// So much of an answer goes out at once: a client that takes less of it in the time that it has takes too little.
const PIECE: usize = 16 * 1024;

/// Fields of one connection of HTTP/1.1, which HTTP/2 does not know (RFC 9113 section 8.2.2).
const OF_CONNECTIONS: [HeaderName; 5] = [
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Why an answer was not sent whole.
#[derive(Debug, thiserror::Error)]
pub enum Unsent {
    /// For too long.
    #[error("the client takes nothing of it")]
    Stalled,
    /// By its client or by the end of the connection.
    #[error("its stream has ended")]
    Ended(#[from] h2::Error),
    /// Its stream is reset, so that what there is does not look whole.
    #[error("its body broke off")]
    Body(#[source] BoxError),
}

/// Sends an answer. Its client may take `limit` for each 16 KiB of it.
///
/// # Errors
/// Why it was not sent whole. Where it stalls the stream is reset as soon as `respond` and the body of the request are let go of.
pub(super) async fn send<B>(
    answer: Response<B>,
    respond: &mut SendResponse<Bytes>,
    limit: Duration,
) -> Result<(), Unsent>
where
    B: Body<Data = Bytes, Error: Into<BoxError>>,
{
    let (mut head, body) = answer.into_parts();
    let mut body = pin!(body);
    let is_end = body.is_end_stream();
    remove_connection_fields(&mut head.headers);
    if !head.headers.contains_key(DATE)
        && let Some(date) = date::now()
    {
        head.headers.insert(DATE, date);
    }
    if !is_end && let Some(length) = body.size_hint().exact() {
        let length = || HeaderValue::from(length);
        head.headers.entry(CONTENT_LENGTH).or_insert_with(length);
    }
    let mut stream = match respond.send_response(Response::from_parts(head, ()), is_end) {
        Ok(stream) => stream,
        Err(error) => {
            respond.send_reset(Reason::INTERNAL_ERROR);
            return Err(error.into());
        }
    };
    if is_end {
        return Ok(());
    }
    loop {
        match next_frame(&mut stream, body.as_mut()).await? {
            None => return Ok(stream.send_data(Bytes::new(), true)?),
            Some(Err(error)) => {
                stream.send_reset(Reason::INTERNAL_ERROR);
                return Err(Unsent::Body(error.into()));
            }
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) if body.is_end_stream() => {
                    return send_data(&mut stream, data, true, limit).await;
                }
                Ok(data) => send_data(&mut stream, data, false, limit).await?,
                Err(frame) => {
                    if let Ok(mut trailers) = frame.into_trailers() {
                        remove_connection_fields(&mut trailers);
                        return Ok(stream.send_trailers(trailers)?);
                    }
                }
            },
        }
    }
}

/// What comes next of `body`, unless its client is gone before that.
async fn next_frame<B: Body>(
    stream: &mut SendStream<Bytes>,
    mut body: Pin<&mut B>,
) -> Result<Option<Result<Frame<B::Data>, B::Error>>, h2::Error> {
    poll_fn(|context| {
        // Nobody is asked while there is something to send: it cannot be sent to one who is gone.
        if let Poll::Ready(frame) = body.as_mut().poll_frame(context) {
            return Poll::Ready(Ok(frame));
        }
        stream.poll_reset(context).map(|reset| Err(ended_by(reset)))
    })
    .await
}

/// Why a stream has ended that was reset, or whose connection has.
pub(super) fn ended_by(reset: Result<Reason, h2::Error>) -> h2::Error {
    reset.map_or_else(|error| error, h2::Error::from)
}

/// Sends `data`, which may be nothing, of each piece of which its client takes some time at most.
async fn send_data(
    stream: &mut SendStream<Bytes>,
    mut data: Bytes,
    is_last: bool,
    limit: Duration,
) -> Result<(), Unsent> {
    if data.is_empty() && is_last {
        stream.send_data(data, true)?;
        return Ok(());
    }
    while !data.is_empty() {
        let piece = data.split_to(data.len().min(PIECE));
        let is_last = is_last && data.is_empty();
        stream.reserve_capacity(piece.len());
        if stream.capacity() >= piece.len() {
            stream.send_data(piece, is_last)?;
        } else {
            let sending = send_as_room_comes(stream, piece, is_last);
            let sent = tokio::time::timeout(limit, sending).await;
            sent.map_err(|_| Unsent::Stalled)??;
        }
    }
    Ok(())
}

/// Sends `piece`, for which room was asked, as its client makes room. The codec keeps it whole, for it would keep as many frames as the client makes
/// room for it in steps; all but its last byte, so that it is known when there was room for the rest.
async fn send_as_room_comes(
    stream: &mut SendStream<Bytes>,
    mut piece: Bytes,
    is_last: bool,
) -> Result<(), h2::Error> {
    let last = piece.split_off(piece.len().saturating_sub(1));
    for (part, is_last) in [(piece, false), (last, is_last)] {
        if part.is_empty() {
            continue;
        }
        stream.reserve_capacity(1);
        while stream.capacity() == 0 {
            let room = poll_fn(|context| stream.poll_capacity(context)).await;
            // None: the client has ended it.
            room.unwrap_or_else(|| Err(Reason::CANCEL.into()))?;
        }
        stream.send_data(part, is_last)?;
    }
    Ok(())
}

/// Removes what only connections of HTTP/1.1 know, and the codec would refuse.
fn remove_connection_fields(headers: &mut HeaderMap) {
    for name in OF_CONNECTIONS {
        headers.remove(name);
    }
    if !headers.contains_key(CONNECTION) {
        return;
    }
    // What else is of this connection only (RFC 9110 section 7.6.1).
    let options: Vec<_> = headers.get_all(CONNECTION).iter().cloned().collect();
    headers.remove(CONNECTION);
    for option in &options {
        let names = option.to_str().unwrap_or_default().split(',');
        for name in names.map(str::trim) {
            headers.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::convert::Infallible;
    use std::io;
    use std::task::Context;

    use h2::client::ResponseFuture;
    use h2::{client, server};
    use http::header::ETAG;
    use http::{Request, Version};
    use http_body_util::{Full, StreamBody};
    use tokio::io::duplex;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    /// A request of a client with this window, as its client and as its server see it.
    async fn asked(window: u32) -> (ResponseFuture, SendResponse<Bytes>) {
        let (near, far) = duplex(1 << 16);
        let serving = tokio::spawn(async move {
            let mut connection = server::handshake(far).await.unwrap();
            let (_, respond) = connection.accept().await.unwrap().unwrap();
            tokio::spawn(async move { connection.accept().await.is_some() });
            respond
        });
        let mut builder = client::Builder::new();
        builder.initial_window_size(window);
        let (mut sender, connection) = builder.handshake::<_, Bytes>(near).await.unwrap();
        tokio::spawn(connection);
        let request = Request::get("http://a.example/").version(Version::HTTP_2);
        let (answer, _) = sender
            .send_request(request.body(()).unwrap(), true)
            .unwrap();
        (answer, serving.await.unwrap())
    }

    /// What the client gets, where it makes room for what it got.
    async fn whole(answer: ResponseFuture) -> Result<(HeaderMap, Vec<u8>), h2::Error> {
        let (head, mut body) = answer.await?.into_parts();
        let mut content = Vec::new();
        while let Some(data) = body.data().await.transpose()? {
            body.flow_control().release_capacity(data.len())?;
            content.extend(data);
        }
        Ok((head.headers, content))
    }

    #[tokio::test]
    async fn an_answer_arrives_whole_in_the_form_of_http_2() {
        for (length, window) in [
            (0, 65_535),
            (5, 65_535),
            (200_000, 65_535),
            (20_000, 100),
            (1, 1),
            (1_000, 1),
        ] {
            let content = b"0123456789".repeat(length / 10 + 1)[..length].to_vec();
            let (answer, mut respond) = asked(window).await;
            let response = Response::builder()
                .header("connection", "close, x-of-this-connection")
                .header("connection", "x-of-it-too")
                .header("x-of-this-connection", "1")
                .header("x-of-it-too", "1")
                .header("keep-alive", "1")
                .header("x", "y");
            let body = Full::new(Bytes::from(content.clone()));
            let response = response.body(body).unwrap();
            let (sent, got) = tokio::join!(send(response, &mut respond, LIMIT), whole(answer));
            sent.unwrap();
            let (fields, got) = got.unwrap();
            assert_eq!(got, content);
            let mut names: Vec<_> = fields.keys().map(HeaderName::as_str).collect();
            names.sort_unstable();
            let expected = ["content-length", "date", "x"];
            assert_eq!(
                names,
                if length > 0 {
                    &expected[..]
                } else {
                    &expected[1..]
                }
            );
        }
    }

    #[tokio::test]
    async fn one_whose_client_takes_nothing_is_given_up() {
        let (answer, mut respond) = asked(0).await;
        let response = Response::new(Full::new(Bytes::from_static(b"a")));
        let sent = send(response, &mut respond, Duration::from_millis(20)).await;
        assert!(matches!(sent, Err(Unsent::Stalled)), "{sent:?}");
        drop(respond);
        let reason = whole(answer).await.unwrap_err().reason();
        assert_eq!(reason, Some(Reason::CANCEL));
    }

    #[tokio::test]
    async fn an_application_that_takes_long_is_no_client_that_does() {
        let (answer, mut respond) = asked(0).await;
        let never = futures_util::stream::pending::<Result<Frame<Bytes>, Infallible>>();
        let response = Response::new(StreamBody::new(never));
        let sending = send(response, &mut respond, Duration::ZERO);
        let given_up = tokio::time::timeout(Duration::from_millis(50), sending).await;
        assert!(given_up.is_err());
        assert_eq!(answer.await.unwrap().status(), 200);
    }

    #[tokio::test]
    async fn an_answer_that_breaks_off_does_not_look_whole() {
        let (answer, mut respond) = asked(65_535).await;
        let data = Ok(Frame::data(Bytes::from_static(b"a")));
        let broken = Err(io::Error::other("broken"));
        let body = StreamBody::new(futures_util::stream::iter([data, broken]));
        let sent = send(Response::new(body), &mut respond, LIMIT).await;
        assert!(matches!(sent, Err(Unsent::Body(_))), "{sent:?}");
        let reason = whole(answer).await.unwrap_err().reason();
        assert_eq!(reason, Some(Reason::INTERNAL_ERROR));
    }

    /// As where it comes from another server over HTTP/2.
    #[tokio::test]
    async fn an_answer_whose_last_piece_is_empty_is_whole() {
        struct Pieces(VecDeque<Bytes>);
        impl Body for Pieces {
            type Data = Bytes;
            type Error = Infallible;
            fn poll_frame(
                mut self: Pin<&mut Self>,
                _: &mut Context<'_>,
            ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
                Poll::Ready(self.0.pop_front().map(Frame::data).map(Ok))
            }
            fn is_end_stream(&self) -> bool {
                self.0.is_empty()
            }
        }
        let (answer, mut respond) = asked(65_535).await;
        let pieces = ["", "abc", "", "d", ""].map(Bytes::from);
        let response = Response::new(Pieces(pieces.into()));
        send(response, &mut respond, LIMIT).await.unwrap();
        drop(respond);
        assert_eq!(whole(answer).await.unwrap().1, b"abcd");
    }

    #[tokio::test]
    async fn trailers_follow_the_content() {
        let (answer, mut respond) = asked(65_535).await;
        let value = HeaderValue::from_static("x");
        let given = [(ETAG, value.clone()), (TE, value.clone())];
        let frames = [
            Frame::data(Bytes::from_static(b"a")),
            Frame::trailers(HeaderMap::from_iter(given)),
        ];
        let body = StreamBody::new(futures_util::stream::iter(frames.map(Ok::<_, Infallible>)));
        send(Response::new(body), &mut respond, LIMIT)
            .await
            .unwrap();
        let mut body = answer.await.unwrap().into_body();
        assert_eq!(body.data().await.unwrap().unwrap(), "a");
        assert!(body.data().await.is_none());
        let trailers = body.trailers().await.unwrap();
        assert_eq!(trailers, Some(HeaderMap::from_iter([(ETAG, value)])));
    }
}
