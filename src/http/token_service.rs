//! A request to the token service: its body is read here, bounded in size and time; the rest is the service's.

use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http::request::Parts;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};

use super::reply;
use crate::app::{Client, RequestBody};
use crate::scoreboard::RequestId;
use crate::tokens::{BODY_MAX, Call, Endpoint, Service};

/// Until the whole body has arrived.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// What is asked, by whom.
pub(super) struct Asked {
    pub(super) endpoint: Endpoint,
    pub(super) head: Parts,
    pub(super) id: RequestId,
    pub(super) client: Client,
}

/// The answer of the service.
pub(super) async fn answer(service: &Service, asked: Asked, body: RequestBody) -> Response<Bytes> {
    let reading = Limited::new(body, BODY_MAX).collect();
    let body = match tokio::time::timeout(BODY_TIMEOUT, reading).await {
        Ok(Ok(body)) => Some(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => None,
        // Its client is gone, or as good as gone.
        Ok(Err(_)) | Err(_) => return reply::body_timeout(),
    };
    let call = Call {
        endpoint: asked.endpoint,
        head: &asked.head,
        body,
        request: asked.id.to_string(),
        trace_id: asked.id.trace_id(),
        client: asked.client.address,
    };
    service.answer(call).await
}
