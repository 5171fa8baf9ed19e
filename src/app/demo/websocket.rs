//! WebSocket: what each route says on one, once it is open.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::answers::{self, BODY_MAX, Body};
use crate::app::{Draining, RequestBody};

type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// What is said on a WebSocket that has opened.
#[derive(Debug)]
pub(super) enum Talk {
    /// Each message back.
    Echo,
    /// What arrived of the request.
    Headers(String),
    /// A Close frame.
    Close(Close),
    /// So many bytes.
    Big(usize),
    /// A number at intervals, until the worker goes where it is told of that.
    Events(Duration, Option<Draining>),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Close {
    code: u16,
    reason: String,
}

impl Default for Close {
    fn default() -> Self {
        Self {
            code: 1000,
            reason: String::new(),
        }
    }
}

impl Talk {
    /// Of a request whose fields shall be shown.
    pub(super) fn headers(request: &Request<RequestBody>) -> Self {
        Self::Headers(answers::seen(request).to_string())
    }

    /// A message of zeros, where it is not too long.
    pub(super) fn big(bytes: usize) -> Option<Self> {
        (bytes <= BODY_MAX).then_some(Self::Big(bytes))
    }
}

/// Opens a WebSocket, with the first subprotocol that the client offers. The server has judged the request.
pub(super) fn open(mut request: Request<RequestBody>, talk: Talk) -> Response<Body> {
    let upgrade = request.extensions_mut().remove::<OnUpgrade>();
    let key = request.headers().get(SEC_WEBSOCKET_KEY);
    let (Some(upgrade), Some(key)) = (upgrade, key) else {
        return upgrade_required();
    };
    let mut response = Response::new(empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    if let Ok(accept) = HeaderValue::try_from(derive_accept_key(key.as_bytes())) {
        headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    }
    if let Some(protocol) = first_protocol(request.headers()) {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    tokio::spawn(async move {
        // Else its client has gone before it was open.
        if let Ok(upgraded) = upgrade.await {
            // How long a message may be, the server judges.
            let config = WebSocketConfig::default()
                .read_buffer_size(8 << 10)
                .max_message_size(None)
                .max_frame_size(None);
            let stream = TokioIo::new(upgraded);
            let mut socket =
                WebSocketStream::from_raw_socket(stream, Role::Server, Some(config)).await;
            // An error is the client's: it went away.
            let _gone = talk.hold(&mut socket).await;
        }
    });
    response
}

impl Talk {
    async fn hold(self, socket: &mut Socket) -> Result<(), Error> {
        match self {
            Self::Echo => return echo(socket).await,
            Self::Headers(text) => {
                socket.send(Message::text(text)).await?;
                socket.close(None).await?;
            }
            Self::Close(Close { code, reason }) => {
                socket
                    .send(Message::Close(Some(frame(code, reason))))
                    .await?;
            }
            Self::Big(bytes) => {
                let message = Message::binary(Bytes::from(vec![0; bytes]));
                socket.send(message).await?;
                socket.close(None).await?;
            }
            Self::Events(every, draining) => return events(socket, every, draining).await,
        }
        end(socket).await
    }
}

async fn echo(socket: &mut Socket) -> Result<(), Error> {
    while let Some(message) = socket.next().await {
        let message = message?;
        if message.is_text() || message.is_binary() {
            socket.send(message).await?;
        }
    }
    Ok(())
}

async fn events(
    socket: &mut Socket,
    every: Duration,
    draining: Option<Draining>,
) -> Result<(), Error> {
    let mut ticks = tokio::time::interval(every.max(Duration::from_millis(1)));
    let mut sent: u64 = 0;
    let told = async {
        match draining {
            Some(draining) => draining.begun().await,
            None => std::future::pending().await,
        }
    };
    let mut told = std::pin::pin!(told);
    loop {
        tokio::select! {
            _ = ticks.tick() => {
                sent += 1;
                socket.send(Message::text(sent.to_string())).await?;
            }
            message = socket.next() => match message {
                Some(message) => drop(message?),
                None => return Ok(()),
            },
            () = &mut told => {
                let reason = "this worker goes, connect again".to_owned();
                socket.send(Message::Close(Some(frame(1001, reason)))).await?;
                return end(socket).await;
            }
        }
    }
}

/// Listens until the client has closed it too.
async fn end(socket: &mut Socket) -> Result<(), Error> {
    while let Some(message) = socket.next().await {
        drop(message?);
    }
    Ok(())
}

fn frame(code: u16, reason: String) -> CloseFrame {
    CloseFrame {
        code: code.into(),
        reason: reason.into(),
    }
}

fn first_protocol(headers: &HeaderMap) -> Option<HeaderValue> {
    let offered = headers.get(SEC_WEBSOCKET_PROTOCOL)?.to_str().ok()?;
    let mut offered = offered.split(',').map(str::trim);
    let first = offered.find(|protocol| !protocol.is_empty())?;
    HeaderValue::from_str(first).ok()
}

fn upgrade_required() -> Response<Body> {
    let mut response = answers::json(
        StatusCode::UPGRADE_REQUIRED,
        &serde_json::json!({ "detail": "A WebSocket is spoken here.", "code": "upgrade_required" }),
    );
    let headers = response.headers_mut();
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    response
}

fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}
