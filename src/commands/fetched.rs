//! What a worker has from the agent, fetched once, so that a command judges a token as a worker would.

use super::{CommandError, deny_table, tell};
use crate::agent::fetch_once;
use crate::auth::{DenyList, Guard, UnixTime};
use crate::commands::user::become_the_workers;
use crate::config::{Config, Feed, FeedPurpose, Fetch};
use crate::sys::clock;

/// Fetches the key sets and deny lists that the configuration names and puts them in force, as `process.user` as the agent does;
/// what cannot be had is told, and stays unknown to the guard. With `offline` nothing is asked.
pub(super) fn put_in_force(
    guard: &Guard,
    config: &Config,
    offline: bool,
) -> Result<(), CommandError> {
    let feeds = config.auth.feeds();
    let fetched = feeds
        .iter()
        .filter_map(|feed| Some((feed, feed.source.fetch()?)));
    let wanted: Vec<(&Feed<'_>, &Fetch)> = fetched.collect();
    if wanted.is_empty() {
        return Ok(());
    }
    if offline {
        for (feed, _) in wanted {
            tell(&format!(
                "note: {}: not fetched, as asked",
                named(feed, config)
            ));
        }
        return Ok(());
    }
    let table = deny_table(config)?;
    become_the_workers(config)?;
    let fetches: Vec<Fetch> = wanted.iter().map(|(_, fetch)| (*fetch).clone()).collect();
    let results = fetch_once(&fetches, table.as_ref())
        .map_err(|error| CommandError::failure(format!("cannot fetch: {error}")))?;
    let now = clock::unix().as_secs();
    for ((feed, fetch), result) in wanted.into_iter().zip(results) {
        let good_until = Some(UnixTime(now.saturating_add(fetch.stale_max.as_secs())));
        let taken = result.and_then(|content| match feed.purpose {
            FeedPurpose::IssuerKeys(issuer) => {
                let renewed = guard.renew_keys(issuer, &content, good_until);
                renewed.map_err(|error| error.to_string())
            }
            FeedPurpose::DenyList(place) => {
                let list = DenyList::parse(&content);
                list.map(|list| guard.renew_deny_list(place, list, good_until))
                    .map_err(|error| error.to_string())
            }
            FeedPurpose::SigningKey | FeedPurpose::TlsCertificate(_) | FeedPurpose::TlsClients => {
                Ok(())
            }
        });
        if let Err(reason) = taken {
            let named = named(feed, config);
            tell(&format!("warning: {named}: cannot fetch: {reason}"));
        }
    }
    Ok(())
}

/// As messages about the configuration call it.
fn named(feed: &Feed<'_>, config: &Config) -> String {
    match feed.purpose {
        FeedPurpose::IssuerKeys(place) => {
            let issuer = config.auth.issuers.get(place);
            let name = issuer.map_or("", |issuer| issuer.name.as_str());
            format!("keys of issuer `{name}`")
        }
        FeedPurpose::SigningKey => "auth.tokens.signing_key_file".to_owned(),
        FeedPurpose::DenyList(_) => "auth.revocation: the deny list".to_owned(),
        FeedPurpose::TlsCertificate(_) => "tls.certificate_file".to_owned(),
        FeedPurpose::TlsClients => "tls.client_ca_file".to_owned(),
    }
}
