//! Who may pass: token + keys + rules + the time -> claims or a refusal. Reads no clock, no file and no socket.

pub mod algorithm;
mod authority;
mod bearer;
mod binding;
mod certificate;
mod challenge;
mod claims;
mod credentials;
mod csrf;
mod deny_list;
mod dpop;
#[cfg(test)]
mod fixtures;
mod guard;
mod header;
mod identity_fields;
mod json;
mod jwk;
mod key_set;
mod keys;
mod material;
mod path;
mod published;
mod refusals;
mod resource;
mod revocation;
mod rules;
mod secret;
mod signing;
mod token;
mod verified;

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use http::header::HOST;

use crate::config::{Binding, FeedPurpose};
use crate::refusal_class::RefusalClass;

pub use authority::is_host_of;
pub use challenge::challenge;
pub use claims::{ClaimError, Claims};
pub use deny_list::{DenyList, DenyListError, DenyListText, Revoked};
pub use guard::{Guard, GuardError};
pub use key_set::KeySet;
pub use keys::{IssuerKeys, KeyError};
pub use path::{PathError, canonical as canonical_path};
pub use rules::RuleError;
pub use signing::{SignError, SigningKey};
pub use token::{MAX_TOKEN, TokenError, Unverified, inspect};

/// Seconds since 1970, UTC (the `NumericDate` of RFC 7519 section 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnixTime(pub u64);

/// What of a request is judged.
#[derive(Debug, Clone, Copy)]
pub struct RequestView<'a> {
    /// The method, as received.
    pub method: &'a str,
    /// The path of the request target, as received (percent-encoded), without the query.
    pub path: &'a str,
    /// What stands after the `?`, as received.
    pub query: Option<&'a str>,
    /// Its fields.
    pub headers: &'a HeaderMap,
    /// The certificate that the client has proved to be its own, in DER; absent where it has shown none.
    pub client_certificate: Option<&'a [u8]>,
    /// Its alternative names, each after its kind (`DNS:robot.example`), where a rule may ask for them.
    pub client_names: &'a [String],
    /// Whether it is certain that the client asked by `https`; else whoever ends TLS before this server knows.
    pub is_https: bool,
}

impl<'a> RequestView<'a> {
    /// Whether the client may have asked by this scheme, which is in lower case.
    fn may_have_scheme(&self, scheme: &str) -> bool {
        scheme == "https" || (scheme == "http" && !self.is_https)
    }

    /// The Host field, where it is text.
    fn host(&self) -> Option<&'a str> {
        self.headers.get(HOST).and_then(|host| host.to_str().ok())
    }
}

/// What came of a request.
#[derive(Debug, Clone)]
pub enum Verdict {
    /// It may pass.
    Pass(Passed),
    /// It may not.
    Refuse(Refusal),
}

/// What came of a request, and how.
#[derive(Debug, Clone)]
pub struct Judged {
    /// Whether it may pass.
    pub verdict: Verdict,
    /// What to wait for where a key or a list is missing that may be there by now: then it can be judged again.
    pub wanted: Option<Wanted>,
    /// The place of the rule that decided, from 0, as in the configuration; absent when none is for the request.
    pub rule: Option<usize>,
}

/// A request that may pass.
#[derive(Debug, Clone, Default)]
pub struct Passed {
    /// What its token says; absent where none was needed or looked at.
    pub claims: Option<Arc<Claims>>,
    /// The proof that came with the token, where the token needed one: see [`Guard::settle`].
    pub proof: Option<Proof>,
    /// Why the rule, which is an audit, would have refused it.
    pub audited: Option<Refusal>,
    /// How long its answer may be waited for, as its rule says; absent: for ever.
    pub request_timeout: Option<Duration>,
    /// How many bytes its body may have, as its rule says; absent where none decided.
    pub max_body: Option<u64>,
    /// The place of the rule that decided, from 0; absent where none did.
    pub rule: Option<usize>,
}

/// A DPoP proof that is right (RFC 9449 section 4.3). Whether it was shown before, only a memory can tell that all workers
/// share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// Of its key, `jti` and `htu`: no two proofs have the same (section 11.1).
    pub fingerprint: [u8; 32],
    /// The last second in which it is accepted.
    pub until: UnixTime,
    /// Whether the rule that decided only says what it would refuse.
    is_audit: bool,
}

/// What a memory says of a proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// It was not shown before, and will be known from now on.
    Fresh,
    /// It was shown before.
    Seen,
    /// It cannot be told: there is no room to remember it.
    Unknown,
}

/// How a verdict came about.
#[derive(Debug, Clone)]
pub struct Explanation {
    /// The path that was judged: decoded. Absent when it has more than one reading.
    pub path: Option<String>,
    /// The place of the rule that decided, from 0, as in the configuration; absent when none is for the request.
    pub rule: Option<usize>,
    /// What came of it.
    pub verdict: Verdict,
    /// What the request would have to prove besides, which was not looked at.
    pub unproven: Option<Binding>,
}

/// Why a request may not pass: what its client is told and what the log is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// 400, 401, 403, 414 or 431; 503 when this server lacks something to judge by.
    pub status: u16,
    /// The value of `WWW-Authenticate` (RFC 6750 section 3, RFC 9449 section 7.1); for 401, 403 and a 400 about the token.
    pub challenge: Option<String>,
    /// `detail` of the JSON body.
    pub detail: &'static str,
    /// `code` of the JSON body.
    pub code: &'static str,
    /// For monitoring.
    pub class: RefusalClass,
    /// For the log only.
    pub reason: String,
}

/// What is fetched and may be there by now, without which a token cannot be judged.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Wanted {
    /// Keys of an issuer, or a deny list.
    pub feed: FeedPurpose,
    /// The name of the key; absent where no key of the issuer is known at all, and for a list.
    pub kid: Option<String>,
}

/// Text from outside as a log may hold it: quoted, escaped and cut.
fn shown(text: &str) -> String {
    const LONGEST: usize = 64;
    let mut characters = text.chars();
    let start: String = characters.by_ref().take(LONGEST).collect();
    let more = if characters.next().is_some() {
        "…"
    } else {
        ""
    };
    format!("`{}{more}`", start.escape_debug())
}
