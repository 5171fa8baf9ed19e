//! Requests of one client that are too many for the rule that let them pass.

use bytes::Bytes;
use http::Response;
use http::request::Parts;

use super::{Pipeline, reply};
use crate::app::{AppService, Client};
use crate::auth::{Claims, Refusal};
use crate::config::RateBy;
use crate::rate_limit::{Requester, TooMany};
use crate::refusal_class::RefusalClass;
use crate::scoreboard::RequestId;

impl<S: AppService> Pipeline<S> {
    /// The answer to a request that is one too many for the rule at this place; none when it may go on.
    pub(super) fn throttled(
        &self,
        rule: Option<usize>,
        claims: Option<&Claims>,
        head: &Parts,
        client: Client,
        id: &RequestId,
    ) -> Option<Response<Bytes>> {
        let (rates, rule) = (self.rates.as_ref()?, rule?);
        let subject = claims.and_then(|claims| Some((claims.issuer(), claims.subject()?)));
        let requester = Requester {
            address: client.address,
            subject,
        };
        let TooMany {
            by,
            wait,
            is_audited,
        } = rates.check(rule, requester).err()?;
        let by = match by {
            RateBy::Address => "address",
            RateBy::Subject => "subject",
        };
        let refusal = Refusal {
            status: 429,
            challenge: None,
            detail: "Request was throttled.",
            code: "throttled",
            class: RefusalClass::Request,
            reason: format!("more than the `rate` of auth.rule[{rule}] for its {by}"),
        };
        if is_audited {
            self.note_audit(&refusal, head, id);
            return None;
        }
        let asked = (head.method.as_str(), head.uri.path());
        Some(self.refuse_with(reply::throttled(wait), &refusal, asked, id))
    }
}
