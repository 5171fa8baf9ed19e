//! What is fetched over HTTP, for all workers at once: where from, how, and how fresh it is kept.

use std::path::PathBuf;
use std::time::Duration;

use url::{Host, Url};

use super::{Algorithm, DENY_LIST_MAX, KEYS_MAX};

/// Something that the agent fetches and keeps fresh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetch {
    /// Where it is: `https://…`, or `http://…` of this machine. For [`FetchKind::Discovery`] the address of the issuer.
    pub url: String,
    /// What it is.
    pub kind: FetchKind,
    /// Of a key set: what its keys may be used with; when empty, what each is made for.
    pub algorithms: Vec<Algorithm>,
    /// The authorities that the server's certificate may come from, in PEM; absent: those of the system.
    pub ca_file: Option<PathBuf>,
    /// Whether link-local addresses are connected to (RFC 3927, RFC 4291 section 2.5.6): in clouds they hand out credentials.
    pub allow_link_local: bool,
    /// How old it may become before it is fetched anew, where the answer does not say.
    pub refresh: Duration,
    /// How long the last good one is kept while its server cannot be reached, or answers nothing good.
    pub stale_max: Duration,
}

impl Fetch {
    /// The largest content, in bytes.
    pub fn size_max(&self) -> u64 {
        match self.kind {
            FetchKind::Jwks | FetchKind::Discovery { .. } => KEYS_MAX,
            FetchKind::DenyList | FetchKind::TokenDatabase => DENY_LIST_MAX,
        }
    }
}

/// What is fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FetchKind {
    /// A JWK set (RFC 7517 section 5).
    Jwks,
    /// The JWK set that the metadata of an issuer names (`OpenID` Connect Discovery 1.0, RFC 8414).
    Discovery {
        /// What the metadata must say as its `issuer`.
        issuer: String,
    },
    /// A list of tokens that are no longer believed.
    DenyList,
    /// Such a list in the database of the token service; it has no address.
    TokenDatabase,
}

/// Whether what comes from there can be trusted to be what its server sent: over TLS, or from this machine.
pub fn is_trusted(url: &Url) -> bool {
    match url.scheme() {
        "https" => url.host().is_some(),
        "http" => is_loopback(url),
        _ => false,
    }
}

/// Whether the address names this machine.
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// What is wrong with the address of something that is fetched.
pub(super) fn problem(text: &str) -> Option<&'static str> {
    let Ok(url) = Url::parse(text) else {
        return Some("must be an address, such as `https://login.example.com/jwks.json`");
    };
    if !url.username().is_empty() || url.password().is_some() {
        // It would stand in logs.
        return Some("must not hold a user name or password");
    }
    if url.fragment().is_some() {
        return Some("must not have a fragment");
    }
    // With plain HTTP, whoever is on the way decides who may sign.
    (!is_trusted(&url)).then_some("must begin with `https://`, or be `http://` of this machine")
}

#[cfg(test)]
mod tests {
    use super::problem;

    #[test]
    fn what_is_fetched_comes_over_tls_or_from_this_machine() {
        for good in [
            "https://login.example.com/jwks.json",
            "https://login.example.com:8443/jwks.json?tenant=a",
            "http://localhost/jwks.json",
            "http://127.1.2.3:8000/jwks.json",
            "http://[::1]:8000/",
        ] {
            assert_eq!(problem(good), None, "{good}");
        }
        for bad in [
            "",
            "jwks.json",
            "/jwks.json",
            "https://",
            "http://login.example.com/jwks.json",
            "http://localhost.example.com/",
            "http://10.0.0.1/",
            "file:///etc/passwd",
            "https://user:password@login.example.com/",
            "https://user@login.example.com/",
            "https://login.example.com/#keys",
        ] {
            assert!(problem(bad).is_some(), "{bad}");
        }
    }
}
