//! WebSockets of an ASGI application (ASGI 3, "WebSocket"): the server has judged the handshake, and judges every frame.

mod call;
mod conversation;
mod messages;
mod state;
mod talk;

use std::sync::Arc;

use bytes::Bytes;
use destrier::BoxError;
use destrier::app::spawn_counted;
use http::header::{
    CONNECTION, CONTENT_LENGTH, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, UPGRADE,
};
use http::{Response, StatusCode, request};
use hyper::upgrade::OnUpgrade;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

pub(super) use call::SocketCall;
pub(super) use conversation::Conversation;

use super::Shared;
use super::queue::Event;
use super::service::outcome;
use crate::answer::AnswerBody;
use state::{Accept, Answer};

/// Has the application decide about a handshake. Where it opens the WebSocket the messages are carried from then on.
pub(super) async fn open(
    shared: &Arc<Shared>,
    request: request::Parts,
    upgrade: OnUpgrade,
) -> Result<Response<AnswerBody>, BoxError> {
    let key = request.headers.get(SEC_WEBSOCKET_KEY).cloned();
    let conversation = Arc::new(Conversation::new(shared, request));
    shared.push(Event::Connect(Arc::clone(&conversation)));
    let answer = outcome(
        |context| conversation.poll_answer(context),
        || conversation.leave(),
    );
    match answer.await {
        Answer::Accept(accept) => {
            let mut response = accepted(accept, key.as_ref())?;
            let in_hand = conversation.in_hand().clone();
            response.extensions_mut().insert(in_hand);
            let talk = talk::talk(upgrade, Arc::clone(&conversation));
            drop(spawn_counted(talk, shared.loan.ready()));
            Ok(response)
        }
        Answer::Deny(head, content) => Ok(head.with(AnswerBody::Whole(content))),
        Answer::Failed(failure) => Err(failure.into_error()),
    }
}

/// The answer that opens it (RFC 6455 section 4.2.2).
fn accepted(
    Accept { subprotocol, head }: Accept,
    key: Option<&HeaderValue>,
) -> Result<Response<AnswerBody>, BoxError> {
    let mut response = head.with(AnswerBody::Whole(Bytes::new()));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    // RFC 9110 section 8.6.
    headers.remove(CONTENT_LENGTH);
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    let key = derive_accept_key(key.map_or(&[], HeaderValue::as_bytes));
    headers.insert(SEC_WEBSOCKET_ACCEPT, HeaderValue::try_from(key)?);
    if let Some(subprotocol) = subprotocol {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::try_from(subprotocol)?);
    }
    Ok(response)
}
