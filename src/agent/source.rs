//! One feed: where it is, what was fetched last, and whether what comes is good.

use std::fmt;
use std::time::Duration;

use http::{HeaderMap, StatusCode, header};
use reqwest::Client;
use serde::Deserialize;
use url::Url;

use super::client::{self, Answer, Limits, Problem};
use super::freshness::lifetime;
use super::schedule::bounded;
use crate::auth::{DenyList, DenyListError, IssuerKeys, KeyError};
use crate::channel::Fingerprint;
use crate::config::{Fetch, FetchKind, is_trusted};
use crate::logging;
use crate::sys::clock;
use crate::tokens::DenyTable;

/// What is fetched, with what is remembered from one attempt to the next.
pub(super) struct Source {
    fetch: Fetch,
    limits: Limits,
    table: Option<DenyTable>,
    /// What the workers have.
    content: Option<Fingerprint>,
    /// Made anew after each failure, and so is what it knows of authorities.
    client: Option<Client>,
    /// Where the metadata say that the keys are, and until when since the machine booted that is believed.
    discovered: Option<(Url, Duration)>,
    last: Option<Last>,
}

/// The last good answer.
struct Last {
    url: Url,
    /// Its own, and of those that confirmed it.
    fields: HeaderMap,
}

/// What an attempt brought.
#[derive(Debug)]
pub(super) struct Brought {
    /// Another content than last time.
    pub(super) content: Option<Vec<u8>>,
    /// What it is, also where it is the same.
    pub(super) fingerprint: Fingerprint,
    /// What the operator should know about it.
    pub(super) warnings: Vec<String>,
    /// How long it is fresh, if its server says so.
    pub(super) lifetime: Option<Duration>,
}

/// An attempt that brought nothing.
#[derive(Debug, thiserror::Error)]
#[error("`{url}`: {reason}")]
pub(super) struct Failure {
    url: String,
    reason: Reason,
}

#[derive(Debug, thiserror::Error)]
enum Reason {
    #[error("it is not an address")]
    Address,
    #[error("{0}")]
    Problem(#[from] Problem),
    #[error("{0}")]
    Keys(#[from] KeyError),
    #[error("{0}")]
    DenyList(#[from] DenyListError),
    #[error("it is not the metadata of an issuer: {0}")]
    Metadata(serde_json::Error),
    #[error("the metadata are those of `{found}`, not of `{wanted}`")]
    OtherIssuer { found: String, wanted: String },
    #[error("{0}")]
    Table(String),
    #[error("its `jwks_uri` `{0}` is neither `https` nor at the place that was asked")]
    JwksUri(String),
}

/// What is needed of the metadata of an issuer (`OpenID` Connect Discovery 1.0 section 3, RFC 8414 section 2).
#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    jwks_uri: String,
}

impl fmt::Debug for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Source").finish_non_exhaustive()
    }
}

impl Source {
    pub(super) fn new(fetch: Fetch, limits: Limits, table: Option<DenyTable>) -> Self {
        Self {
            fetch,
            limits,
            table,
            content: None,
            client: None,
            discovered: None,
            last: None,
        }
    }

    /// The workers have this already.
    pub(super) fn knows(&mut self, content: Fingerprint) {
        self.content = Some(content);
    }

    /// Fetches once. A failure forgets nothing that is known, only how it came about.
    pub(super) async fn attempt(&mut self) -> Result<Brought, Failure> {
        let whole = self.limits.whole;
        let result = match tokio::time::timeout(whole, self.fetch()).await {
            Ok(result) => result,
            Err(_) => Err(Failure::of(&self.fetch.url, Problem::TimeOut(whole))),
        };
        if result.is_err() {
            self.client = None;
            self.discovered = None;
        }
        result
    }

    /// Reads the deny list of the token database.
    async fn read_table(&mut self) -> Result<Brought, Failure> {
        let read = match &self.table {
            Some(table) => table.read().await,
            None => Err("another generation has it".to_owned()),
        };
        let list = read.map_err(|error| Failure::of(&self.fetch.url, Reason::Table(error)))?;
        let most = usize::try_from(self.fetch.size_max()).unwrap_or(usize::MAX);
        if list.len() > most {
            let error = Reason::Table(format!("the list has more than {most} bytes"));
            return Err(Failure::of(&self.fetch.url, error));
        }
        self.brought(list, |_, _| Ok(Vec::new()))
            .map_err(|reason| Failure::of(&self.fetch.url, reason))
    }

    async fn fetch(&mut self) -> Result<Brought, Failure> {
        if self.fetch.kind == FetchKind::TokenDatabase {
            return self.read_table().await;
        }
        let at = |reason: Reason| Failure::of(&self.fetch.url, reason);
        let url = Url::parse(&self.fetch.url).map_err(|_| at(Reason::Address))?;
        let client = match self.client.clone() {
            Some(client) => client,
            None => client::client(&self.fetch, &url, &self.limits)
                .map_err(|problem| at(problem.into()))?,
        };
        self.client = Some(client.clone());
        let url = match &self.fetch.kind {
            FetchKind::Jwks | FetchKind::DenyList | FetchKind::TokenDatabase => url,
            FetchKind::Discovery { issuer } => match self.discovered.clone() {
                Some((url, until)) if clock::monotonic() < until => url,
                Some(_) | None => {
                    let (url, lifetime) = self.discover(&client, &url, issuer).await?;
                    self.discovered = Some((url.clone(), clock::monotonic() + lifetime));
                    url
                }
            },
        };
        let validators = self.validators(&url);
        let answer = self.get(&client, &url, validators).await?;
        self.take(url, answer)
    }

    async fn get(
        &self,
        client: &Client,
        url: &Url,
        validators: HeaderMap,
    ) -> Result<Answer, Failure> {
        let answer = client::get(client, url, validators, (&self.fetch, &self.limits)).await;
        answer.map_err(|problem| Failure::of(url.as_str(), problem))
    }

    /// What asks whether that which was fetched last from there is still so.
    fn validators(&self, url: &Url) -> HeaderMap {
        let mut validators = HeaderMap::new();
        let last = self.last.as_ref().filter(|last| last.url == *url);
        for (field, validator) in [
            (header::ETAG, header::IF_NONE_MATCH),
            (header::LAST_MODIFIED, header::IF_MODIFIED_SINCE),
        ] {
            if let Some(value) = last.and_then(|last| last.fields.get(field)) {
                validators.insert(validator, value.clone());
            }
        }
        validators
    }

    /// Where the keys of `issuer` are, and how long that is believed.
    async fn discover(
        &self,
        client: &Client,
        address: &Url,
        issuer: &str,
    ) -> Result<(Url, Duration), Failure> {
        let [of_openid, of_oauth] = metadata_urls(address);
        let (url, answer) = match self.get(client, &of_openid, HeaderMap::new()).await {
            Err(failure) if failure.is_not_found() => {
                let answer = self.get(client, &of_oauth, HeaderMap::new()).await?;
                (of_oauth, answer)
            }
            answer => (of_openid, answer?),
        };
        let (fields, json) = match answer {
            Answer::Content { fields, body } => (fields, body),
            // Nobody asked for that.
            Answer::NotModified { .. } => {
                return Err(Failure::of(
                    url.as_str(),
                    Problem::Status(StatusCode::NOT_MODIFIED),
                ));
            }
        };
        let keys =
            keys_of(&json, issuer, address).map_err(|reason| Failure::of(url.as_str(), reason))?;
        let lifetime = bounded(lifetime(&fields, clock::unix()));
        Ok((keys, lifetime.unwrap_or(self.fetch.refresh)))
    }

    /// Judges an answer and remembers a good one.
    fn take(&mut self, url: Url, answer: Answer) -> Result<Brought, Failure> {
        let mut brought = match (answer, &mut self.last, &self.content) {
            (Answer::Content { fields, body }, _, _) => {
                let brought = self.brought(body, judge);
                let brought = brought.map_err(|reason| Failure::of(url.as_str(), reason))?;
                self.last = Some(Last { url, fields });
                brought
            }
            (Answer::NotModified { fields }, Some(last), Some(content)) => {
                for (name, value) in &fields {
                    last.fields.insert(name, value.clone());
                }
                Brought {
                    content: None,
                    fingerprint: content.clone(),
                    warnings: Vec::new(),
                    lifetime: None,
                }
            }
            (Answer::NotModified { .. }, _, _) => {
                return Err(Failure::of(
                    url.as_str(),
                    Problem::Status(StatusCode::NOT_MODIFIED),
                ));
            }
        };
        let fields = self.last.as_ref().map(|last| &last.fields);
        brought.lifetime = match self.fetch.kind {
            FetchKind::Jwks | FetchKind::Discovery { .. } => {
                fields.and_then(|fields| lifetime(fields, clock::unix()))
            }
            // What was revoked counts now, whatever caches may do with the list.
            FetchKind::DenyList | FetchKind::TokenDatabase => None,
        };
        Ok(brought)
    }

    /// What came, if it is something else than the workers have, and good.
    fn brought(
        &mut self,
        content: Vec<u8>,
        judge: impl Fn(&Fetch, &[u8]) -> Result<Vec<String>, Reason>,
    ) -> Result<Brought, Reason> {
        let fingerprint = Fingerprint::of(&content);
        let is_new = self.content.as_ref() != Some(&fingerprint);
        let warnings = if is_new {
            judge(&self.fetch, &content)?
        } else {
            Vec::new()
        };
        self.content = Some(fingerprint.clone());
        Ok(Brought {
            content: is_new.then_some(content),
            fingerprint,
            warnings,
            lifetime: None,
        })
    }
}

impl Failure {
    fn of(url: &str, reason: impl Into<Reason>) -> Self {
        Self {
            url: shown(url),
            reason: reason.into(),
        }
    }

    fn is_not_found(&self) -> bool {
        matches!(
            self.reason,
            Reason::Problem(Problem::Status(StatusCode::NOT_FOUND))
        )
    }
}

/// Whether what was fetched can be used, and what the operator should know about it.
fn judge(fetch: &Fetch, content: &[u8]) -> Result<Vec<String>, Reason> {
    match fetch.kind {
        FetchKind::Jwks | FetchKind::Discovery { .. } => {
            let keys = IssuerKeys::from_fetched_jwks(content, &fetch.algorithms)?;
            Ok(keys.warnings().to_vec())
        }
        FetchKind::DenyList | FetchKind::TokenDatabase => {
            DenyList::check(content)?;
            Ok(Vec::new())
        }
    }
}

/// Where the metadata of an issuer may be: `OpenID` Connect Discovery 1.0 section 4 puts its name behind the address, RFC 8414
/// section 3 before the path.
fn metadata_urls(issuer: &Url) -> [Url; 2] {
    let path = issuer.path().trim_end_matches('/').to_owned();
    let with_path = |path: &str| {
        let mut url = issuer.clone();
        url.set_path(path);
        url
    };
    [
        with_path(&format!("{path}/.well-known/openid-configuration")),
        with_path(&format!("/.well-known/oauth-authorization-server{path}")),
    ]
}

/// The address of the keys, when the metadata are those of `issuer`: else somebody could answer for another one.
fn keys_of(json: &[u8], issuer: &str, address: &Url) -> Result<Url, Reason> {
    let metadata: Metadata = serde_json::from_slice(json).map_err(Reason::Metadata)?;
    if metadata.issuer != issuer {
        return Err(Reason::OtherIssuer {
            found: logging::cut(&metadata.issuer).to_owned(),
            wanted: issuer.to_owned(),
        });
    }
    let is_allowed = |url: &Url| {
        let is_same_place = (url.scheme(), url.host()) == (address.scheme(), address.host());
        is_trusted(url) && (url.scheme() == "https" || is_same_place)
    };
    Url::parse(&metadata.jwks_uri)
        .ok()
        .filter(is_allowed)
        .ok_or_else(|| Reason::JwksUri(shown(&metadata.jwks_uri)))
}

/// An address as logs may have it: without what may be a secret in it.
pub(super) fn shown(url: &str) -> String {
    let without_query = url.split(['?', '#']).next().unwrap_or_default();
    let Ok(mut parsed) = Url::parse(without_query) else {
        return logging::cut(without_query).to_owned();
    };
    // Neither fails where there is a host.
    let _no_host = parsed.set_username("");
    let _no_host = parsed.set_password(None);
    logging::cut(parsed.as_str()).to_owned()
}

#[cfg(test)]
mod tests {
    use url::Url;

    use super::{keys_of, metadata_urls, shown};

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn metadata_are_where_the_specifications_put_them() {
        for (issuer, openid, oauth) in [
            (
                "https://a.example",
                "https://a.example/.well-known/openid-configuration",
                "https://a.example/.well-known/oauth-authorization-server",
            ),
            (
                "https://a.example:8443/realms/one/",
                "https://a.example:8443/realms/one/.well-known/openid-configuration",
                "https://a.example:8443/.well-known/oauth-authorization-server/realms/one",
            ),
            (
                "https://a.example/a%2Fb",
                "https://a.example/a%2Fb/.well-known/openid-configuration",
                "https://a.example/.well-known/oauth-authorization-server/a%2Fb",
            ),
        ] {
            assert_eq!(metadata_urls(&url(issuer)), [url(openid), url(oauth)]);
        }
    }

    #[test]
    fn metadata_are_believed_of_their_own_issuer_only() {
        let json = |issuer: &str, keys: &str| {
            serde_json::json!({"issuer": issuer, "jwks_uri": keys, "other": []}).to_string()
        };
        let issuer = "https://a.example/";
        let found = |json: &str| keys_of(json.as_bytes(), issuer, &url(issuer));
        let keys = "https://keys.example/set?tenant=a";
        assert_eq!(found(&json(issuer, keys)).unwrap(), url(keys));
        for (issuer, keys, problem) in [
            (
                "https://a.example",
                keys,
                "are those of `https://a.example`, not of `https://a.example/`",
            ),
            (
                "https://b.example/",
                keys,
                "are those of `https://b.example/`",
            ),
            (
                issuer,
                "http://a.example/keys",
                "`http://a.example/keys` is neither",
            ),
            (issuer, "http://127.0.0.1/keys", "is neither"),
            (issuer, "file:///etc/passwd", "is neither"),
            (issuer, "keys", "`keys` is neither"),
        ] {
            let error = found(&json(issuer, keys)).unwrap_err().to_string();
            assert!(error.contains(problem), "{error}");
        }
        for json in ["", "{}", "[]", "{\"issuer\":1,\"jwks_uri\":\"\"}"] {
            let error = found(json).unwrap_err().to_string();
            assert!(error.starts_with("it is not the metadata"), "{error}");
        }
    }

    #[test]
    fn plain_http_is_believed_on_this_machine_from_this_machine_only() {
        let json = serde_json::json!({"issuer": "a", "jwks_uri": "http://localhost:2/keys"});
        let found = |address: &str| keys_of(json.to_string().as_bytes(), "a", &url(address));
        assert!(found("http://localhost:1/").is_ok());
        assert!(found("https://localhost:1/").is_err());
        assert!(found("http://127.0.0.1:1/").is_err());
    }

    #[test]
    fn what_may_be_a_secret_is_not_shown() {
        assert_eq!(
            shown("https://user:secret@a.example/keys?api_key=secret#secret"),
            "https://a.example/keys"
        );
    }
}
