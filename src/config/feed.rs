//! What changes while a configuration is in force: key files and deny lists are watched or fetched, and replaced without a
//! reload.

use std::path::Path;

use super::{Auth, Bind, ClientAuth, Config, DenyListSource, Fetch, KeySource, TlsCertificate};

/// One thing that changes by itself, and what it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Feed<'a> {
    /// What it is for.
    pub purpose: FeedPurpose,
    /// Where it comes from.
    pub source: FeedSource<'a>,
}

/// What a feed is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FeedPurpose {
    /// The keys of the issuer at this place of `auth.issuers`.
    IssuerKeys(usize),
    /// The key that the token service signs with, where that is not the secret of its issuer.
    SigningKey,
    /// The deny list at this place of `auth.revocation.lists`.
    DenyList(usize),
    /// The certificate at this place of `tls.certificates`, with its key.
    TlsCertificate(usize),
    /// Whose certificates clients may show.
    TlsClients,
}

/// The largest key file or key set, in bytes. A JWK set of 100 keys has about 100 KiB.
pub const KEYS_MAX: u64 = 1024 * 1024;
/// The largest deny list, in bytes: every worker holds what is on it.
pub const DENY_LIST_MAX: u64 = 8 * 1024 * 1024;

impl FeedPurpose {
    /// As commands and the control socket call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::IssuerKeys(_) => "keys",
            Self::SigningKey => "signing-key",
            Self::DenyList(_) => "deny-list",
            Self::TlsCertificate(_) => "certificate",
            Self::TlsClients => "client-authorities",
        }
    }

    /// The largest content, in bytes.
    pub fn size_max(self) -> u64 {
        match self {
            Self::IssuerKeys(_) | Self::SigningKey => KEYS_MAX,
            // A certificate, a key and an OCSP response in base64.
            Self::TlsCertificate(_) => 4 * KEYS_MAX,
            // Authorities beside a revocation list that is as long as one may be.
            Self::TlsClients => 2 * DENY_LIST_MAX,
            Self::DenyList(_) => DENY_LIST_MAX,
        }
    }
}

/// Where a feed comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeedSource<'a> {
    /// A file that is watched.
    File(&'a Path),
    /// A certificate, its key and what else belongs to it: files that are watched, read and judged together.
    Certificate(&'a TlsCertificate),
    /// Authorities and what they have revoked, likewise.
    Clients(&'a ClientAuth),
    /// Fetched by the agent.
    Fetched(&'a Fetch),
}

/// What the file of a feed has come to, judged and found good.
#[derive(Debug)]
pub struct FeedContent {
    /// As the guard, the signer and TLS read it.
    pub bytes: Vec<u8>,
    /// How many keys, or entries of a deny list, there are; none where that says nothing.
    pub entries: Option<usize>,
    /// Of a certificate: when it ends, in seconds since 1970.
    pub not_after: Option<u64>,
    /// SHA-256 of the file; where there are several, of all of them.
    pub digest: Option<[u8; 32]>,
    /// What the operator should know though it is good.
    pub warnings: Vec<String>,
}

impl<'a> FeedSource<'a> {
    /// The files that it is made of; none where it is fetched.
    pub fn files(self) -> Vec<&'a Path> {
        match self {
            Self::File(path) => vec![path],
            Self::Certificate(certificate) => certificate.files(),
            Self::Clients(clients) => clients.files(),
            Self::Fetched(_) => Vec::new(),
        }
    }

    /// The file that it is called by, where it is in files.
    pub fn file(self) -> Option<&'a Path> {
        self.files().first().copied()
    }

    /// What the agent fetches, where it is that.
    pub fn fetch(self) -> Option<&'a Fetch> {
        match self {
            Self::File(_) | Self::Certificate(_) | Self::Clients(_) => None,
            Self::Fetched(fetch) => Some(fetch),
        }
    }
}

impl Config {
    /// Whether TLS is spoken on this address.
    pub fn speaks_tls(&self, bind: &Bind) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.bind.contains(bind))
    }

    /// The feeds of this configuration. Their order is what master and workers number them by.
    pub fn feeds(&self) -> Vec<Feed<'_>> {
        let mut feeds = self.auth.feeds();
        let Some(tls) = &self.tls else {
            return feeds;
        };
        let certificates = tls.certificates.iter().enumerate();
        feeds.extend(certificates.map(|(place, certificate)| Feed {
            purpose: FeedPurpose::TlsCertificate(place),
            source: FeedSource::Certificate(certificate),
        }));
        feeds.extend(tls.client_auth.iter().map(|clients| Feed {
            purpose: FeedPurpose::TlsClients,
            source: FeedSource::Clients(clients),
        }));
        feeds
    }
}

impl Auth {
    /// Those of this section, which come first.
    pub fn feeds(&self) -> Vec<Feed<'_>> {
        let issuers = self.issuers.iter().enumerate();
        let keys = issuers.map(|(place, issuer)| Feed {
            purpose: FeedPurpose::IssuerKeys(place),
            source: match &issuer.keys {
                KeySource::Secret { file, .. }
                | KeySource::PublicKey(file)
                | KeySource::Jwks(file) => FeedSource::File(file),
                KeySource::Remote(fetch) => FeedSource::Fetched(fetch),
            },
        });
        let signing_key = self.tokens.as_ref().and_then(|tokens| {
            let issuer = self.issuers.get(tokens.issuer)?;
            let has_secret = matches!(issuer.keys, KeySource::Secret { .. });
            let file = tokens.signing_key_file.as_ref().filter(|_| !has_secret)?;
            Some(Feed {
                purpose: FeedPurpose::SigningKey,
                source: FeedSource::File(file),
            })
        });
        let lists = self.revocation.lists.iter().enumerate();
        let lists = lists.map(|(place, list)| Feed {
            purpose: FeedPurpose::DenyList(place),
            source: match list {
                DenyListSource::File(file) => FeedSource::File(file),
                DenyListSource::Remote(fetch) => FeedSource::Fetched(fetch),
            },
        });
        // Keys before the key that signs: what it signs must be accepted.
        keys.chain(signing_key).chain(lists).collect()
    }
}
