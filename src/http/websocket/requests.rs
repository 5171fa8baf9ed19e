//! A request that asks for a WebSocket, before and after the application is called.

use bytes::Bytes;
use http::request::Parts;
use http::{Response, StatusCode};
use hyper::upgrade::OnUpgrade;

use super::handshake::{BadAnswer, Handshake};
use super::{Terms, Upgrade};
use crate::app::{AppService, InHand};
use crate::http::{Pipeline, reply};
use crate::scoreboard::RequestId;

impl<S: AppService> Pipeline<S> {
    /// Of a request that may pass, notes what it asks for. No other may become anything but an answer.
    pub(in super::super) fn ask_upgrade(&self, head: &mut Parts, upgrade: &Upgrade) {
        let is_token = |protocol: &str| self.guard.is_token_protocol(&head.headers, protocol);
        match Handshake::of(head, is_token) {
            Some(handshake) => {
                head.extensions.insert(handshake.subprotocols());
                upgrade.ask(handshake);
            }
            None => {
                head.extensions.remove::<OnUpgrade>();
            }
        }
    }

    /// Judges an answer that opens a WebSocket; any other is passed on.
    #[expect(clippy::result_large_err, reason = "the error is an answer too")]
    pub(in super::super) fn answer_upgrade(
        &self,
        answer: Result<Response<S::Body>, Response<Bytes>>,
        upgrade: &Upgrade,
        id: &RequestId,
    ) -> Result<Response<S::Body>, Response<Bytes>> {
        let asked = upgrade.take_asked();
        let response = answer?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Ok(response);
        }
        let judged = asked.map_or(Err(BadAnswer::NotAsked), |handshake| {
            handshake.judge(response.headers())
        });
        match judged {
            Ok(may_compress) => {
                let in_hand = response.extensions().get::<InHand>().cloned();
                upgrade.accept(Terms {
                    id: *id,
                    max_message: self.settings.max_message,
                    may_compress,
                    draining: self.draining.clone(),
                    grace: self.settings.stream_grace,
                    in_hand: in_hand.unwrap_or_default(),
                });
                Ok(response)
            }
            Err(error) => {
                tracing::error!(request = %id, trace_id = id.trace_id(), %error, "the application failed");
                Err(reply::application_failed())
            }
        }
    }
}
