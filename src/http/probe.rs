//! The probe: a request of the server's own to the application, which shows whether it can answer. It goes neither through the rules nor
//! through the limits of clients, and is counted nowhere.

use std::future::poll_fn;
use std::pin::pin;
use std::time::Duration;

use http::header::{ACCEPT, CONTENT_TYPE, HOST, USER_AGENT};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri};
use http_body::Body;

use super::call::poll_app;
use super::{Pipeline, stream};
use crate::app::{AppService, BoxError, Client, Overloaded, RequestBody};
use crate::config;
use crate::scoreboard::RequestId;

/// Of an answer whose body is larger the rest is not read.
const BODY_MAX: usize = 64 << 10;

/// So much of a body the operator is told.
const SAID_MAX: usize = 120;

/// Who asks.
const NAME: &str = concat!("destrier-probe/", env!("CARGO_PKG_VERSION"));

/// The request.
#[derive(Debug, Clone)]
pub struct Probe {
    target: Uri,
    fields: HeaderMap,
    timeout: Duration,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probed {
    /// The application has answered with 2xx or 3xx.
    Good,
    /// It was not asked, for it works on as many requests as it may: that says nothing of its health.
    Busy,
    /// It has answered otherwise, or not at all; for the operator.
    Bad(String),
}

impl Probe {
    /// As the configuration says.
    pub fn new(config: &config::Probe) -> Self {
        // `config` lets no other path and no other name through.
        let target = config.path.parse::<PathAndQuery>();
        let host = HeaderValue::from_str(&config.host);
        let mut fields = HeaderMap::new();
        fields.extend(host.ok().map(|host| (HOST, host)));
        fields.insert(USER_AGENT, HeaderValue::from_static(NAME));
        fields.insert(ACCEPT, HeaderValue::from_static("*/*"));
        Self {
            target: target.map(Uri::from).unwrap_or_default(),
            fields,
            timeout: config.timeout,
        }
    }
}

impl<S: AppService> Pipeline<S> {
    /// Asks the application, as it is asked for a request of a client that has passed.
    pub async fn probe(&self, probe: &Probe) -> Probed {
        let Some(_place) = self.places.free() else {
            return Probed::Busy;
        };
        let mut request = Request::new(RequestBody::empty());
        request.uri_mut().clone_from(&probe.target);
        request.headers_mut().clone_from(&probe.fields);
        let extensions = request.extensions_mut();
        self.told.begin(extensions);
        // Not one of those that are counted, and without random numbers the same for all.
        let id = RequestId::new(getrandom::u64().unwrap_or_default(), 0);
        extensions.insert(id);
        extensions.insert(Client::at(None, false));
        let mut asking = pin!(async {
            let mut app = self.app.clone();
            poll_fn(|context| app.poll_ready(context))
                .await
                .map_err(Into::into)?;
            read(app.call(request).await.map_err(Into::into)?).await
        });
        let asked = poll_fn(|context| poll_app(asking.as_mut(), context));
        let answer: Result<Answer, BoxError> =
            match tokio::time::timeout(probe.timeout, asked).await {
                Err(_) => {
                    let timeout = humantime::format_duration(probe.timeout);
                    return probe.bad(&format!("no answer within {timeout}"));
                }
                Ok(None) => return probe.bad("the application panicked"),
                Ok(Some(answer)) => answer,
            };
        match answer {
            Ok(answer) if answer.status.is_success() || answer.status.is_redirection() => {
                Probed::Good
            }
            Ok(Answer { status, said: None }) => probe.bad(&format!("answered {status}")),
            Ok(Answer {
                status,
                said: Some(said),
            }) => probe.bad(&format!("answered {status}: {said}")),
            // It was not called, for all its threads are busy.
            Err(error) if error.is::<Overloaded>() => Probed::Busy,
            Err(error) => probe.bad(&format!("the application failed: {error}")),
        }
    }
}

impl Probe {
    fn bad(&self, why: &str) -> Probed {
        Probed::Bad(format!("the probe of `{}` failed: {why}", self.target))
    }
}

/// What is told of an answer.
struct Answer {
    status: StatusCode,
    said: Option<String>,
}

/// Reads an answer to its end: an application may fail as late as there.
async fn read<B>(response: Response<B>) -> Result<Answer, BoxError>
where
    B: Body<Data = bytes::Bytes, Error: Into<BoxError>>,
{
    let status = response.status();
    let may_be_told = is_plain(response.headers());
    let mut start = Vec::new();
    if !stream::is_lasting(status, stream::is_event_stream(response.headers())) {
        let mut body = pin!(response.into_body());
        while start.len() < BODY_MAX
            && let Some(frame) = poll_fn(|context| body.as_mut().poll_frame(context)).await
        {
            let frame = frame.map_err(Into::into)?;
            start.extend_from_slice(frame.data_ref().map_or(&[], |data| &**data));
        }
    }
    let said = told(&start).filter(|_| may_be_told);
    Ok(Answer { status, said })
}

/// Whether it is written for those who ask for the state of a server. A page is not: one that shows an error may show secrets, too.
fn is_plain(fields: &HeaderMap) -> bool {
    let media_type = fields
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let essence = media_type.and_then(|media_type| media_type.split(';').next());
    essence.is_some_and(|essence| {
        let essence = essence.trim().to_ascii_lowercase();
        essence == "text/plain" || essence == "application/json" || essence.ends_with("+json")
    })
}

/// The start of a text on one line.
fn told(text: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(text);
    let words = text
        .split(|character: char| character.is_whitespace() || character.is_control())
        .filter(|word| !word.is_empty());
    let line = words.collect::<Vec<_>>().join(" ");
    let start = line.get(..line.floor_char_boundary(SAID_MAX))?;
    (!start.is_empty()).then(|| start.to_owned())
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use http::header::CONTENT_TYPE;

    use super::*;

    #[test]
    fn only_what_is_no_page_is_told_and_on_one_line() {
        let plain = |media_type: &'static str| {
            let value = HeaderValue::from_static(media_type);
            is_plain(&HeaderMap::from_iter([(CONTENT_TYPE, value)]))
        };
        assert!(plain("text/plain; charset=utf-8"));
        assert!(plain("Application/JSON"));
        assert!(plain("application/problem+json"));
        assert!(!plain("text/html"));
        assert!(!is_plain(&HeaderMap::new()));
        assert_eq!(
            told(b"database\r\n  is \x1b down").unwrap(),
            "database is down"
        );
        assert_eq!(told(b" \n"), None);
        assert_eq!(
            told("\u{e9}".repeat(100).as_bytes())
                .unwrap()
                .chars()
                .count(),
            60
        );
    }
}
