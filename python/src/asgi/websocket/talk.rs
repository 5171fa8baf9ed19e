//! Carries the messages of an open WebSocket between its client and its conversation.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::{Sink as _, Stream as _};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::conversation::Conversation;
use super::state::Frame;

/// What a client that gives no code closes with (RFC 6455 section 7.1.5).
const NO_STATUS: u16 = 1005;

type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// Does so until one of them ends it. The server closes the connection as it should be when this is over.
pub(super) async fn talk(upgrade: OnUpgrade, conversation: Arc<Conversation>) {
    // Else its client has gone before it was open.
    if let Ok(upgraded) = upgrade.await {
        // How long a message may be, the server judges.
        let config = WebSocketConfig::default()
            .read_buffer_size(8 << 10)
            .max_message_size(None)
            .max_frame_size(None);
        let stream = TokioIo::new(upgraded);
        let mut socket = Socket::from_raw_socket(stream, Role::Server, Some(config)).await;
        // An error is the client's: it went away.
        let _gone: Result<(), Error> =
            poll_fn(|context| poll_talk(Pin::new(&mut socket), &conversation, context)).await;
    }
    conversation.leave();
}

fn poll_talk(
    mut socket: Pin<&mut Socket>,
    conversation: &Arc<Conversation>,
    context: &mut Context<'_>,
) -> Poll<Result<(), Error>> {
    loop {
        let mut has_moved = false;
        // Before it is looked for answers: those to what it had in hand are there when it has nothing.
        let has_in_hand = conversation.has_in_hand();
        let mut is_sent = false;
        while socket.as_mut().poll_ready(context)?.is_ready() {
            let Some(frame) = conversation.next_leaving(context) else {
                is_sent = true;
                break;
            };
            match socket.as_mut().start_send(message_of(frame)) {
                // After its Close frame nothing is sent, and the client is still heard.
                Err(Error::ConnectionClosed | Error::Protocol(_)) | Ok(()) => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
            has_moved = true;
        }
        let flushed = socket.as_mut().poll_flush(context);
        if conversation.is_done() {
            return match flushed {
                Poll::Ready(flushed) => Poll::Ready(flushed),
                Poll::Pending => Poll::Pending,
            };
        }
        let in_hand = conversation.in_hand();
        in_hand.set(has_in_hand || !is_sent || flushed.is_pending());
        if conversation.has_room(context) {
            match socket.as_mut().poll_next(context)? {
                Poll::Ready(Some(message)) => {
                    if let Some(frame) = frame_of(message) {
                        in_hand.set(true);
                        conversation.arrive(frame);
                    }
                    has_moved = true;
                }
                Poll::Ready(None) => return Poll::Ready(Ok(())),
                Poll::Pending => {}
            }
        }
        // It may have dealt with everything since it was looked, and not have known that somebody waits for that.
        let is_news = has_in_hand && in_hand.is_awaited() && !conversation.has_in_hand();
        if !has_moved && !is_news {
            return Poll::Pending;
        }
    }
}

fn message_of(frame: Frame) -> Message {
    match frame {
        Frame::Text(text) => Message::text(text),
        Frame::Binary(bytes) => Message::binary(bytes),
        Frame::Close(code, reason) => Message::Close(Some(CloseFrame {
            code: code.into(),
            reason: reason.into(),
        })),
    }
}

/// What the application is told; of pings and their answers it is not.
fn frame_of(message: Message) -> Option<Frame> {
    match message {
        Message::Text(text) => Some(Frame::Text(text.as_str().to_owned())),
        Message::Binary(bytes) => Some(Frame::Binary(bytes)),
        Message::Close(Some(close)) => Some(Frame::Close(
            close.code.into(),
            close.reason.as_str().to_owned(),
        )),
        Message::Close(None) => Some(Frame::Close(NO_STATUS, String::new())),
        Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => None,
    }
}
