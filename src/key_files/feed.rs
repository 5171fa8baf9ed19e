//! Key files as they change: what they hold now, if it could be put in force.

use super::{Digest, KeyFile, deny_list_file, keys_of, signing_key_in};
use crate::auth::DenyList;
use crate::config::{self, FeedContent, FeedPurpose};

/// Reads the file of the feed at this place of `auth.feeds()`; nothing where it is what is in force, which has this digest: that was
/// judged before.
///
/// # Errors
/// It cannot be put in force; the message names the file, what is wrong with it, and what helps.
pub(crate) fn read_feed(
    auth: &config::Auth,
    place: usize,
    in_force: Option<Digest>,
) -> Result<Option<FeedContent>, String> {
    let is_in_force = |file: &KeyFile<'_>| in_force.is_some() && file.digest() == in_force;
    let feeds = auth.feeds();
    let feed = feeds
        .get(place)
        .ok_or_else(|| format!("there is no feed {place}"))?;
    let Some(path) = feed.source.file() else {
        return Err("it is in no file".to_owned());
    };
    if let FeedPurpose::DenyList(_) = feed.purpose {
        let failed = |error: String| format!("auth.revocation: {error}");
        let file = deny_list_file(path).map_err(failed)?;
        if is_in_force(&file) {
            return Ok(None);
        }
        let checked = DenyList::check(file.bytes());
        checked.map_err(|error| failed(file.unusable(&error)))?;
        return Ok(Some(FeedContent {
            digest: file.digest(),
            bytes: file.into_bytes(),
            warnings: Vec::new(),
        }));
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
        FeedPurpose::DenyList(_) => Vec::new(),
    };
    // Who may reach it was judged all the same.
    if is_in_force(&file) {
        return Ok(None);
    }
    Ok(Some(FeedContent {
        bytes: file.content()?.to_vec(),
        digest: file.digest(),
        warnings,
    }))
}

/// The digest of the file of the signing key, where that is a feed of its own.
pub(super) fn digest_of_signing_key(auth: &config::Auth) -> Vec<Option<Digest>> {
    let feeds = auth.feeds().into_iter();
    let signing_keys = feeds.filter(|feed| feed.purpose == FeedPurpose::SigningKey);
    let digest = |feed: config::Feed<'_>| KeyFile::read(feed.source.file()?).ok()?.digest();
    signing_keys.map(digest).collect()
}
