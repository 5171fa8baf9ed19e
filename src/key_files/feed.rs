//! Key files as they change: what they hold now, if it could be put in force.

use super::{Digest, Files, KeyFile, deny_list_file, keys_of, signing_key_in, tls};
use crate::auth::DenyList;
use crate::config::{self, Config, FeedContent, FeedPurpose, FeedSource};

/// Reads the files of the feed at this place of `config.feeds()`; nothing where they are what is in force, which has this digest: that
/// was judged before.
///
/// # Errors
/// It cannot be put in force; the message names the file, what is wrong with it, and what helps.
pub(crate) fn read_feed(
    config: &Config,
    place: usize,
    in_force: Option<Digest>,
) -> Result<Option<FeedContent>, String> {
    let is_in_force = |digest: Option<Digest>| in_force.is_some() && digest == in_force;
    let unless_in_force =
        |content: FeedContent| Some(content).filter(|content| !is_in_force(content.digest));
    // What it holds now is asked for.
    let disk = &Files::on_disk();
    let auth = &config.auth;
    let feeds = config.feeds();
    let feed = feeds
        .get(place)
        .ok_or_else(|| format!("there is no feed {place}"))?;
    let path = match feed.source {
        FeedSource::File(path) => path,
        FeedSource::Certificate(files) => {
            return tls::read_certificate(disk, files).map(|(content, _)| unless_in_force(content));
        }
        FeedSource::Clients(files) => {
            return tls::read_clients(disk, files).map(|(content, _)| unless_in_force(content));
        }
        FeedSource::Fetched(_) => return Err("it is in no file".to_owned()),
    };
    if let FeedPurpose::DenyList(_) = feed.purpose {
        let failed = |error: String| format!("auth.revocation: {error}");
        let file = deny_list_file(disk, path).map_err(failed)?;
        let digest = file.digest();
        if is_in_force(digest) {
            return Ok(None);
        }
        let checked = DenyList::check(file.bytes());
        let entries = checked.map_err(|error| failed(file.unusable(&error)))?;
        return Ok(Some(FeedContent {
            entries: Some(entries),
            not_after: None,
            digest,
            bytes: file.into_bytes(),
            warnings: Vec::new(),
        }));
    }
    let file = KeyFile::read(path)?;
    let (entries, warnings) = match feed.purpose {
        FeedPurpose::IssuerKeys(issuer) => {
            let issuer = auth.issuers.get(issuer);
            let issuer = issuer.ok_or_else(|| "there is no such issuer".to_owned())?;
            let keys = keys_of(&file, issuer);
            let keys = keys.map_err(|error| format!("auth.issuer `{}`: {error}", issuer.name))?;
            (Some(keys.count()), keys.warnings().to_vec())
        }
        FeedPurpose::SigningKey => {
            let key = signing_key_in(&file);
            key.map_err(|error| format!("auth.tokens: {error}"))?;
            (None, Vec::new())
        }
        FeedPurpose::DenyList(_) | FeedPurpose::TlsCertificate(_) | FeedPurpose::TlsClients => {
            (None, Vec::new())
        }
    };
    // Who may reach it was judged all the same.
    let digest = file.digest();
    if is_in_force(digest) {
        return Ok(None);
    }
    Ok(Some(FeedContent {
        bytes: file.content()?.to_vec(),
        entries,
        not_after: None,
        digest,
        warnings,
    }))
}

/// The digest of the file of the signing key, where that is a feed of its own.
pub(super) fn digest_of_signing_key(files: &Files, auth: &config::Auth) -> Vec<Option<Digest>> {
    let feeds = auth.feeds().into_iter();
    let signing_keys = feeds.filter(|feed| feed.purpose == FeedPurpose::SigningKey);
    let digest = |feed: config::Feed<'_>| files.read(feed.source.file()?).ok()?.digest();
    signing_keys.map(digest).collect()
}
