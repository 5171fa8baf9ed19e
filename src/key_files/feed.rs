//! Key files as they change: what they hold now, if it could be put in force.

use super::{Digest, KeyFile, deny_list_file, keys_of, signing_key_in, tls};
use crate::config::{self, Config, FeedContent, FeedPurpose, FeedSource};

/// Reads the files of the feed at this place of `config.feeds()`.
///
/// # Errors
/// It cannot be put in force; the message names the file, what is wrong with it, and what helps.
pub(crate) fn read_feed(config: &Config, place: usize) -> Result<FeedContent, String> {
    let auth = &config.auth;
    let feeds = config.feeds();
    let feed = feeds
        .get(place)
        .ok_or_else(|| format!("there is no feed {place}"))?;
    let path = match feed.source {
        FeedSource::File(path) => path,
        FeedSource::Certificate(files) => {
            return tls::read_certificate(files).map(|(content, _)| content);
        }
        FeedSource::Clients(files) => return tls::read_clients(files).map(|(content, _)| content),
        FeedSource::Fetched(_) => return Err("it is in no file".to_owned()),
    };
    if let FeedPurpose::DenyList(_) = feed.purpose {
        let file = deny_list_file(path).map_err(|error| format!("auth.revocation: {error}"))?;
        return Ok(FeedContent {
            bytes: file.bytes().to_vec(),
            digest: file.digest(),
            warnings: Vec::new(),
        });
    }
    let file = KeyFile::read(path)?;
    let warnings = match feed.purpose {
        FeedPurpose::IssuerKeys(issuer) => {
            let issuer = auth.issuers.get(issuer);
            let issuer = issuer.ok_or_else(|| "there is no such issuer".to_owned())?;
            let keys = keys_of(&file, issuer);
            let keys = keys.map_err(|error| format!("auth.issuer `{}`: {error}", issuer.name))?;
            keys.warnings().to_vec()
        }
        FeedPurpose::SigningKey => {
            let key = signing_key_in(&file);
            key.map_err(|error| format!("auth.tokens: {error}"))?;
            Vec::new()
        }
        FeedPurpose::DenyList(_) | FeedPurpose::TlsCertificate(_) | FeedPurpose::TlsClients => {
            Vec::new()
        }
    };
    Ok(FeedContent {
        bytes: file.content()?.to_vec(),
        digest: file.digest(),
        warnings,
    })
}

/// The digest of the file of the signing key, where that is a feed of its own.
pub(super) fn digest_of_signing_key(auth: &config::Auth) -> Vec<Option<Digest>> {
    let feeds = auth.feeds().into_iter();
    let signing_keys = feeds.filter(|feed| feed.purpose == FeedPurpose::SigningKey);
    let digest = |feed: config::Feed<'_>| KeyFile::read(feed.source.file()?).ok()?.digest();
    signing_keys.map(digest).collect()
}
