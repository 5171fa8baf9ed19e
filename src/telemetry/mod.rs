//! Spans: what a collector of traces (OpenTelemetry) is told of each request. What one is, who takes it, and whether this program can
//! export any: only with the feature `otlp`.

#[cfg(feature = "otlp")]
mod otlp;
#[cfg(feature = "otlp")]
mod outgoing;

use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Method, Version};
use rustls::pki_types::CertificateDer;

use crate::config::Config;
use crate::scoreboard::SeatWriter;

/// One request, from its head to the end of its answer, as it is told. Never its query, its fields but those named here, or its body.
#[derive(Debug)]
pub struct Span {
    /// The trace that it belongs to.
    pub trace_id: u128,
    /// What it is called in it.
    pub span_id: u64,
    /// What whoever sent the request is called in it; none where the trace begins here.
    pub parent_id: Option<u64>,
    /// The flags of its `traceparent` (W3C Trace Context section 3.2.2.5).
    pub flags: u8,
    /// When its head was complete, since 1970.
    pub began: Duration,
    /// From then to the end of its answer.
    pub took: Duration,
    /// The method.
    pub method: Method,
    /// The path as it was sent.
    pub path: String,
    /// The version of HTTP.
    pub version: Version,
    /// Whether it was asked for by `https`.
    pub is_https: bool,
    /// Whom it was for: the `Host` field or `:authority`.
    pub host: Option<String>,
    /// Whose it is; nobody has an address on a Unix socket.
    pub client: Option<IpAddr>,
    /// The `User-Agent` field.
    pub user_agent: Option<String>,
    /// The place of the rule that decided about it.
    pub rule: Option<usize>,
    /// The status of its answer; none where its client was gone before.
    pub status: Option<u16>,
    /// What went wrong where the status does not say it: `client_gone`, `broke_off`.
    pub error: Option<&'static str>,
}

/// Who takes spans. Nothing of it waits.
pub trait Recorder: fmt::Debug + Send + Sync {
    /// Whether a trace that begins here is recorded.
    fn samples(&self, trace_id: u128) -> bool;

    /// Takes one; where too many wait already it is lost, and counted.
    fn record(&self, span: Span);

    /// Sends off what waits. It takes a second at most; what is left then is lost, and counted.
    fn finish(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// What files say of the way to a collector.
#[derive(Debug, Clone, Default)]
pub struct CollectorAccess {
    /// Of each request to it.
    pub fields: CollectorFields,
    /// That its certificate may come from; none are those of the system.
    pub authorities: Vec<CertificateDer<'static>>,
}

/// Fields for the requests to the collector, which nobody is shown.
#[derive(Debug, Clone, Default)]
pub struct CollectorFields(HeaderMap);

/// Why a file with such fields cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("it must have fields of HTTP, one a line, such as `Authorization: Bearer ...`")]
pub struct BadFields;

/// So many fields may there be.
const FIELDS_MAX: usize = 32;

impl CollectorFields {
    /// Reads them as HTTP has them (RFC 9112 section 5), but for the end of the last line, which may be missing.
    ///
    /// # Errors
    /// It is anything else; what it holds is not told.
    pub fn read(text: &[u8]) -> Result<Self, BadFields> {
        let mut head = text.trim_ascii().to_vec();
        head.extend(b"\r\n\r\n");
        let mut room = [httparse::EMPTY_HEADER; FIELDS_MAX];
        let (length, parsed) = match httparse::parse_headers(&head, &mut room) {
            Ok(httparse::Status::Complete(complete)) => complete,
            Ok(httparse::Status::Partial) | Err(_) => return Err(BadFields),
        };
        if length != head.len() || parsed.is_empty() {
            return Err(BadFields);
        }
        let mut fields = HeaderMap::new();
        for field in parsed {
            let name = http::HeaderName::from_bytes(field.name.as_bytes());
            let value = http::HeaderValue::from_bytes(field.value);
            let (Ok(name), Ok(mut value)) = (name, value) else {
                return Err(BadFields);
            };
            // No `Debug` shows it, and HTTP/2 does not compress it.
            value.set_sensitive(true);
            fields.append(name, value);
        }
        Ok(Self(fields))
    }

    /// For the requests themselves; each value is marked as sensitive.
    pub fn fields(&self) -> &HeaderMap {
        &self.0
    }
}

/// The exporter of a worker, where its configuration has one: on a thread of its own, so that whatever becomes of the collector costs
/// requests nothing. In the process that serves, after the fork.
///
/// # Errors
/// It cannot be started; fit for an operator.
#[cfg(feature = "otlp")]
pub fn start(
    config: &Config,
    access: &CollectorAccess,
    seat: SeatWriter,
    worker: u64,
) -> Result<Option<Arc<dyn Recorder>>, String> {
    let Some(setting) = &config.telemetry else {
        return Ok(None);
    };
    let rules = config.auth.rules.iter();
    let routes = rules.map(|rule| rule.path.clone()).collect();
    let teller = otlp::Teller::new(setting, routes);
    let exporter = otlp::Exporter::new(setting, access)?;
    let outgoing = outgoing::start(setting.sampling_ratio, (teller, exporter), seat, worker)?;
    Ok(Some(Arc::new(outgoing)))
}

/// None: this program was built without the feature, and refuses the configuration that asks for it.
///
/// # Errors
/// None.
#[cfg(not(feature = "otlp"))]
pub fn start(
    _: &Config,
    _: &CollectorAccess,
    _: SeatWriter,
    _: u64,
) -> Result<Option<Arc<dyn Recorder>>, String> {
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::CollectorFields;

    #[test]
    fn fields_are_read_as_http_has_them_and_shown_to_nobody() {
        let text = b"Authorization: Bearer secret\nX-Scope-OrgID: 7\n";
        let fields = CollectorFields::read(text).unwrap();
        assert_eq!(fields.0["authorization"], "Bearer secret");
        assert_eq!(fields.0["x-scope-orgid"], "7");
        assert!(!format!("{fields:?}").contains("secret"), "{fields:?}");
        for bad in [
            "",
            "secret",
            "a: b\n\nc: d",
            "GET / HTTP/1.1\r\na: b",
            "a b: c",
        ] {
            let error = CollectorFields::read(bad.as_bytes()).unwrap_err();
            assert!(!error.to_string().contains("secret"), "{bad}");
        }
    }
}
