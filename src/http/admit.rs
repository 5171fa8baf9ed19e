//! Whether a request may pass: what rules and tokens say of it, with a key that has just come and a proof that was not shown before.

use http::request::Parts;

use super::client_certificate::Presented;
use super::track::Track;
use super::{Origin, Pipeline, identity_fields, target};
use crate::app::{AppService, Client};
use crate::auth::{Freshness, Judged, Passed, Refusal, RequestView, UnixTime, Verdict};
use crate::replay::Shown;
use crate::sys::clock;

impl<S: AppService> Pipeline<S> {
    /// Judges a request; of one that may pass, the path becomes the one that was judged, and forged fields go.
    pub(super) async fn admit(
        &self,
        head: &mut Parts,
        (origin, client): (&Origin, Client),
        track: &mut Track,
    ) -> Result<Passed, Refusal> {
        let certificates = &self.settings.client_certificates;
        let certificate = certificates.take(&mut head.headers, origin)?;
        let certificate = certificate.as_ref();
        let mut judged = self.judge(head, certificate, client.is_https);
        if let Some(key) = &judged.wanted
            // Boxed: the memory of every connection would else have room for it.
            && Box::pin(self.fresh_keys.wait_for(key)).await
        {
            judged = self.judge(head, certificate, client.is_https);
        }
        track.decided_by(judged.rule);
        let passed = match self.settle(judged.verdict) {
            Verdict::Pass(passed) => passed,
            Verdict::Refuse(refusal) => return Err(refusal),
        };
        if let Some(uri) = target::canonical(&head.uri)? {
            head.uri = uri;
        }
        // Only now: a token may stand in such a field, as in `X-Auth-Token`.
        identity_fields::replace(
            &mut head.headers,
            self.guard.identity_fields(),
            passed.claims.as_deref(),
        );
        Ok(passed)
    }

    fn judge(&self, head: &Parts, certificate: Option<&Presented<'_>>, is_https: bool) -> Judged {
        let view = RequestView {
            method: head.method.as_str(),
            path: head.uri.path(),
            query: head.uri.query(),
            headers: &head.headers,
            client_certificate: certificate.map(|certificate| &*certificate.der),
            client_names: certificate.map_or(&[], |certificate| &*certificate.names),
            is_https,
        };
        let now = UnixTime(clock::unix().as_secs());
        let judged = self.guard.judge_request(&view, now);
        let (hits, misses) = self.guard.token_counts();
        self.seat.note_tokens(hits, misses);
        judged
    }

    /// The verdict on a request whose proof, where it has one, must not have been shown before, to whichever worker.
    fn settle(&self, verdict: Verdict) -> Verdict {
        let passed = match verdict {
            Verdict::Pass(passed) => passed,
            refused @ Verdict::Refuse(_) => return refused,
        };
        let Some(proof) = &passed.proof else {
            return Verdict::Pass(passed);
        };
        // The master has made the cache where an issuer asks for proofs.
        let shown = self.replay.as_ref().map_or(Shown::Full, |replay| {
            let now = clock::unix().as_secs();
            replay.show(&proof.fingerprint, proof.until.0, now)
        });
        let freshness = match shown {
            Shown::First => Freshness::Fresh,
            Shown::Again => Freshness::Seen,
            Shown::Full => {
                tracing::warn!(
                    "the replay cache is full: too many DPoP proofs within `auth.dpop_window`"
                );
                Freshness::Unknown
            }
        };
        self.guard.settle(passed, freshness)
    }
}
