//! The agent against real servers: one attempt after the other, then the whole loop over its channel.

mod attempts;
mod discovery;
mod feeds;
mod proxy;
mod server;
mod tls;

use std::time::Duration;

use super::client::Limits;
use super::source::{Brought, Failure, Source};
use crate::config::{Fetch, FetchKind};

/// A key of RFC 7517 appendix A.1.
const KEY: &str = r#"{"kty":"EC","crv":"P-256","kid":"1","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}"#;

/// The key of RFC 8037 appendix A.2.
const OTHER_KEY: &str =
    r#"{"kty":"OKP","crv":"Ed25519","kid":"2","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;

fn set(keys: &[&str]) -> String {
    format!(r#"{{"keys":[{}]}}"#, keys.join(","))
}

fn fetch(url: &str) -> Fetch {
    Fetch {
        url: url.to_owned(),
        kind: FetchKind::Jwks,
        algorithms: Vec::new(),
        ca_file: None,
        allow_link_local: false,
        refresh: Duration::from_mins(15),
        stale_max: Duration::from_hours(24),
    }
}

fn source(url: &str) -> Source {
    Source::new(fetch(url), Limits::default(), None)
}

/// The content of an attempt that brought another one.
fn content(result: Result<Brought, Failure>) -> String {
    let brought = result.expect("it is good");
    String::from_utf8(brought.content.expect("it is new")).expect("JSON")
}

/// Why an attempt brought nothing.
fn problem(result: Result<Brought, Failure>) -> String {
    result.expect_err("it is refused").to_string()
}
