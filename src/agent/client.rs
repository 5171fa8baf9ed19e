//! One GET over HTTP, with everything that bounds it: certificates, addresses, redirects, time, size.

use std::error::Error;
use std::fs::File;
use std::io::Read;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, StatusCode, header};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::{Attempt, Policy};
use reqwest::{Certificate, Client, ClientBuilder, Response};
use url::{Host, Url};

use super::link_local::is_link_local;
use crate::config::{DENY_LIST_MAX, Fetch, FetchKind, KEYS_MAX, is_loopback};

/// A redirect is followed so many times, and to the host that was asked only.
const REDIRECTS_MAX: usize = 3;

/// The largest file with authorities that is read, in bytes. That of a system has about 250 KiB.
const CA_FILE_MAX: u64 = 8 * 1024 * 1024;

const BOTH_FORMS: HeaderValue =
    HeaderValue::from_static("application/jwk-set+json, application/json");

/// What an attempt may take, and how names become addresses.
#[derive(Clone)]
pub(super) struct Limits {
    /// Until a connection is there, TLS included.
    pub(super) connect: Duration,
    /// Until the answer is whole, with all redirects and the metadata.
    pub(super) whole: Duration,
    /// Bytes of a key set or of metadata.
    pub(super) size: usize,
    /// Bytes of a deny list.
    pub(super) list_size: usize,
    /// Names.
    pub(super) resolver: Arc<dyn Resolve>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            whole: Duration::from_secs(10),
            size: usize::try_from(KEYS_MAX).unwrap_or(usize::MAX),
            list_size: usize::try_from(DENY_LIST_MAX).unwrap_or(usize::MAX),
            resolver: Arc::new(System),
        }
    }
}

/// Why nothing was fetched. Whose address it was says whoever tells it.
#[derive(Debug, thiserror::Error)]
pub(super) enum Problem {
    /// Its file cannot be read.
    #[error("cannot read `ca_file` `{}`: {}", .0.display(), .1)]
    CaFile(PathBuf, std::io::Error),
    /// Its file is of another kind.
    #[error("`ca_file` `{}` holds no certificate in PEM", .0.display())]
    NoCertificate(PathBuf),
    /// TLS cannot be set up.
    #[error("cannot set up the client: {0}")]
    Client(String),
    /// Told not to.
    #[error("`{0}` is a link-local address, which is fetched from with `allow_link_local` only")]
    LinkLocal(String),
    /// No connection, no TLS, or not HTTP.
    #[error("{0}")]
    Transport(String),
    /// It takes its time.
    #[error("no whole answer within {}", humantime::format_duration(*.0))]
    TimeOut(Duration),
    /// Another answer than 200.
    #[error("it answers {0}")]
    Status(StatusCode),
    /// Nothing of the kind is so long.
    #[error("its answer has more than {0} bytes")]
    TooLong(usize),
}

/// What came of a GET.
#[derive(Debug)]
pub(super) enum Answer {
    /// 200, whole.
    Content {
        /// Its fields.
        fields: HeaderMap,
        /// Its body.
        body: Vec<u8>,
    },
    /// 304: what the validators are of is still so.
    NotModified {
        /// Its fields, which replace those of before (RFC 9111 section 4.3.4).
        fields: HeaderMap,
    },
}

/// A client for what `fetch` describes.
pub(super) fn client(fetch: &Fetch, url: &Url, limits: &Limits) -> Result<Client, Problem> {
    let resolver = Filter {
        resolver: Arc::clone(&limits.resolver),
        allow_link_local: fetch.allow_link_local,
    };
    let mut builder = ClientBuilder::new()
        .user_agent(concat!("destrier/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(limits.connect)
        .redirect(Policy::custom(redirect))
        .dns_resolver(Arc::new(resolver))
        .referer(false)
        // Minutes pass between two requests.
        .pool_max_idle_per_host(0);
    if is_loopback(url) {
        // A proxy has another idea of what this machine is.
        builder = builder.no_proxy();
    }
    if let Some(file) = &fetch.ca_file {
        builder = builder.tls_certs_only(authorities(file)?);
    }
    builder
        .build()
        .map_err(|error| Problem::Client(with_causes(&error)))
}

/// Gets what is at `url`. With `validators`, those fields make the request conditional (RFC 9110 section 13).
pub(super) async fn get(
    client: &Client,
    url: &Url,
    validators: HeaderMap,
    (fetch, limits): (&Fetch, &Limits),
) -> Result<Answer, Problem> {
    // The resolver is not asked about addresses.
    if let Some(address) = literal(url).filter(|address| is_link_local(*address))
        && !fetch.allow_link_local
    {
        return Err(Problem::LinkLocal(address.to_string()));
    }
    let is_conditional = !validators.is_empty();
    let request = client
        .get(url.clone())
        .header(header::ACCEPT, BOTH_FORMS)
        .headers(validators);
    let mut answer = request.send().await.map_err(transport)?;
    match answer.status() {
        StatusCode::OK => {
            let most = match fetch.kind {
                FetchKind::Jwks | FetchKind::Discovery { .. } => limits.size,
                FetchKind::DenyList | FetchKind::TokenDatabase => limits.list_size,
            };
            let body = body(&mut answer, most).await?;
            let fields = std::mem::take(answer.headers_mut());
            Ok(Answer::Content { fields, body })
        }
        StatusCode::NOT_MODIFIED if is_conditional => {
            let fields = std::mem::take(answer.headers_mut());
            Ok(Answer::NotModified { fields })
        }
        other => Err(Problem::Status(other)),
    }
}

async fn body(answer: &mut Response, most: usize) -> Result<Vec<u8>, Problem> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(transport)? {
        if body.len() + chunk.len() > most {
            return Err(Problem::TooLong(most));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Somebody else's host is not who was asked, and with another scheme whoever is on the way could answer.
fn redirect(attempt: Attempt<'_>) -> reqwest::redirect::Action {
    let first = attempt.previous().first();
    let is_same = first.is_some_and(|first| {
        (first.scheme(), first.host()) == (attempt.url().scheme(), attempt.url().host())
    });
    if !is_same {
        let host = attempt.url().host_str().unwrap_or_default().to_owned();
        let scheme = attempt.url().scheme().to_owned();
        return attempt.error(format!(
            "it redirects to `{scheme}://{host}`, another host or scheme, which is not followed"
        ));
    }
    if attempt.previous().len() > REDIRECTS_MAX {
        return attempt.error(format!("it redirects more than {REDIRECTS_MAX} times"));
    }
    attempt.follow()
}

fn literal(url: &Url) -> Option<IpAddr> {
    match url.host()? {
        Host::Domain(_) => None,
        Host::Ipv4(address) => Some(address.into()),
        Host::Ipv6(address) => Some(address.into()),
    }
}

fn authorities(file: &Path) -> Result<Vec<Certificate>, Problem> {
    let mut pem = Vec::new();
    File::open(file)
        .and_then(|file| file.take(CA_FILE_MAX).read_to_end(&mut pem))
        .map_err(|error| Problem::CaFile(file.to_owned(), error))?;
    let certificates = Certificate::from_pem_bundle(&pem).unwrap_or_default();
    if certificates.is_empty() {
        return Err(Problem::NoCertificate(file.to_owned()));
    }
    Ok(certificates)
}

/// The address, which may hold a secret in its query, is told without it elsewhere.
fn transport(error: reqwest::Error) -> Problem {
    let error = error.without_url();
    if error.is_timeout() && error.is_connect() {
        return Problem::Transport("no connection within the time that one may take".to_owned());
    }
    Problem::Transport(with_causes(&error))
}

fn with_causes(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| (*error).source());
    let mut texts: Vec<String> = causes.map(ToString::to_string).collect();
    // The crates that a request passes through repeat each other, and only what is below them says what is wrong.
    texts.dedup();
    let below = texts.len().saturating_sub(2);
    texts.split_off(below).join(": ")
}

/// The names that the system knows.
struct System;

impl Resolve for System {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let addresses: Vec<SocketAddr> = found.collect();
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

/// Names, without the addresses that are not connected to. What is judged is what is connected to: a name that is looked up once
/// more could have another address.
struct Filter {
    resolver: Arc<dyn Resolve>,
    allow_link_local: bool,
}

impl Resolve for Filter {
    fn resolve(&self, name: Name) -> Resolving {
        let allow_link_local = self.allow_link_local;
        let text = name.as_str().to_owned();
        let found = self.resolver.resolve(name);
        Box::pin(async move {
            let addresses: Vec<SocketAddr> = found.await?.collect();
            let is_allowed =
                |address: &SocketAddr| allow_link_local || !is_link_local(address.ip());
            let allowed: Vec<SocketAddr> = addresses.iter().copied().filter(is_allowed).collect();
            match addresses.first() {
                Some(first) if allowed.is_empty() => {
                    let shown = format!("{text}, {}", first.ip());
                    Err(Box::new(Problem::LinkLocal(shown)) as Box<dyn Error + Send + Sync>)
                }
                Some(_) | None => Ok(Box::new(allowed.into_iter()) as Addrs),
            }
        })
    }
}
