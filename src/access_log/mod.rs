//! The access log: what the line of one request says, and how it is written. Where lines go is `logging`'s affair.

mod bounds;
mod entry;
mod json;
mod lines;
mod targets;

use std::collections::BTreeSet;

pub use entry::{Entry, Shown};
use targets::Envelope;

use crate::config::{AccessFormat, AccessTarget, Config};
use crate::logging;

/// How the requests of one worker are written down.
#[derive(Debug)]
pub struct AccessLog {
    format: AccessFormat,
    envelope: Envelope,
    has_query: bool,
    /// Parameters that may hold a token, so that their values are never written.
    secrets: BTreeSet<String>,
    skip: Vec<String>,
    /// The rules, as `destrier auth explain` calls them.
    rules: Vec<String>,
    worker: u64,
    generation: u64,
}

impl AccessLog {
    /// Of a worker; none where requests get no lines.
    pub fn new(config: &Config, worker: u64, generation: u64) -> Option<Self> {
        let settings = config.access_log.as_ref()?;
        let rules = config.auth.rules.iter().enumerate();
        let format = match (&settings.format, &settings.to) {
            (AccessFormat::Auto, AccessTarget::Log) if logging::is_human(&config.log) => {
                AccessFormat::Text
            }
            (AccessFormat::Auto, AccessTarget::Journald(_)) => lines::summary(),
            (AccessFormat::Auto, _) => AccessFormat::Json,
            (format, _) => format.clone(),
        };
        Some(Self {
            format,
            envelope: Envelope::new(settings),
            has_query: settings.query,
            secrets: config
                .auth
                .rules
                .iter()
                .filter_map(|rule| rule.query_token.clone())
                .collect(),
            skip: settings.skip.clone(),
            rules: rules
                .map(|(index, rule)| format!("auth.rule[{index}]: {}", rule.path))
                .collect(),
            worker,
            generation,
        })
    }

    /// Whether requests for this path, as received, get a line.
    pub fn is_for(&self, path: &str) -> bool {
        !self.skip.iter().any(|skipped| skipped == path)
    }

    /// What may be written of a query: none of it by default, and never what may be a token.
    pub fn query(&self, query: &str) -> Option<String> {
        self.has_query.then(|| self.without_secrets(query))
    }

    /// What may be written of the address of the page that a request comes from: its query is one too.
    pub fn referer(&self, referer: &[u8]) -> Vec<u8> {
        let place = referer.iter().position(|byte| matches!(byte, b'?' | b'#'));
        let Some((address, query)) = place.and_then(|place| referer.split_at_checked(place)) else {
            return referer.to_vec();
        };
        let mut shown = address.to_vec();
        if self.has_query
            && let Some(query) = query.strip_prefix(b"?")
        {
            let query = String::from_utf8_lossy(query);
            // A fragment may hold a token too (RFC 6749 section 4.2.2), and no browser sends one.
            let query = query.split('#').next().unwrap_or_default();
            shown.push(b'?');
            shown.extend(self.without_secrets(query).into_bytes());
        }
        shown
    }

    fn without_secrets(&self, query: &str) -> String {
        let pairs = query.split('&').map(|pair| {
            let name = form_urlencoded::parse(pair.as_bytes()).next();
            match name {
                Some((name, _)) if self.secrets.contains(&*name) => {
                    let written = pair.split('=').next().unwrap_or_default();
                    format!("{written}=[redacted]")
                }
                Some(_) | None => pair.to_owned(),
            }
        });
        pairs.collect::<Vec<_>>().join("&")
    }

    /// What the rule at this place is called.
    pub fn rule(&self, index: usize) -> Option<&str> {
        self.rules.get(index).map(String::as_str)
    }

    /// Writes the line of a request.
    pub fn write(&self, entry: &Entry<'_>) {
        logging::access_line(|buffer| self.append(entry, buffer));
    }

    /// Appends the line with all that goes around it.
    fn append(&self, entry: &Entry<'_>, buffer: &mut Vec<u8>) {
        let whose = (self.worker, self.generation);
        self.envelope
            .wrap(entry, whose, buffer, |in_log, buffer| match &self.format {
                AccessFormat::Json | AccessFormat::Auto => {
                    json::append(entry, whose, in_log, buffer);
                }
                AccessFormat::Combined => lines::append_combined(entry, buffer),
                AccessFormat::Text => lines::append_text(entry, whose, buffer),
                AccessFormat::Template(parts) => {
                    lines::append_template(parts, entry, whose, buffer);
                }
            });
    }
}

#[cfg(test)]
mod tests;
