//! `[headers]`, `[compression]` and `[[http.static]]`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use http::header::STRICT_TRANSPORT_SECURITY;
use http::{HeaderName, HeaderValue};
use mime::Mime;

use super::Check;
use crate::config::key::KeyPath;
use crate::config::notation::{OneOrMany, Text};
use crate::config::{
    Compression, CompressionAlgorithm, Config, HeaderPreset, Headers, StaticFolder, file, rules,
};

/// What `headers.preset = "strict"` sets.
const STRICT: [(&str, &str); 5] = [
    ("cross-origin-opener-policy", "same-origin"),
    ("referrer-policy", "strict-origin-when-cross-origin"),
    ("strict-transport-security", "max-age=31536000"),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
];

/// Fields that say how a message is framed or coded, or belong to one connection (RFC 9110 section 7.6.1), and those that the
/// server writes itself.
const RESERVED: [&str; 14] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "date",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "www-authenticate",
    "x-request-id",
];

impl Check<'_> {
    pub(super) fn headers(&mut self, written: &file::Headers) -> Headers {
        let mut fields: BTreeMap<String, HeaderValue> = match written.preset {
            HeaderPreset::None => BTreeMap::new(),
            HeaderPreset::Strict => STRICT
                .map(|(name, value)| (name.to_owned(), HeaderValue::from_static(value)))
                .into(),
        };
        let mut seen = Vec::new();
        for (name, value) in &written.default {
            let key = KeyPath::from("headers.default").child(name);
            let lower = name.to_ascii_lowercase();
            let is_name = HeaderName::from_bytes(name.as_bytes()).is_ok();
            let read = HeaderValue::from_str(value);
            let wrong = if !is_name {
                Some("must have the name of a header field")
            } else if RESERVED.contains(&lower.as_str()) {
                Some("must not be a field that the server or the application alone can set")
            } else if seen.contains(&lower) {
                Some("repeats a field: capitals make no difference")
            } else if read.is_err() || value.trim() != value {
                Some("must be a value without line breaks, and without white space around it")
            } else {
                None
            };
            if let Some(reason) = wrong {
                let origin = self.document.origin_of_key(&key);
                let message = format!("`{key}` {reason}");
                self.problems.note_at(&key, origin, message, None);
                continue;
            }
            seen.push(lower.clone());
            match read {
                Ok(value) if !value.is_empty() => drop(fields.insert(lower, value)),
                Ok(_) | Err(_) => drop(fields.remove(&lower)),
            }
        }
        let named = fields.into_iter().filter_map(|(name, value)| {
            let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
            Some((name, value))
        });
        let (over_https, always) = named.partition(|(name, _)| name == STRICT_TRANSPORT_SECURITY);
        Headers { always, over_https }
    }

    pub(super) fn compression(&mut self, written: &file::Compression) -> Compression {
        let algorithms =
            self.compression_algorithms(&"compression.algorithms".into(), &written.algorithms);
        let types = self.each(
            &"compression.types".into(),
            &written.types,
            |name| {
                let lower = name.to_ascii_lowercase();
                let read: Mime = lower.parse().ok()?;
                let is_plain = read.params().next().is_none() && read.type_() != mime::STAR;
                is_plain.then_some(lower)
            },
            "must be a media type, such as `application/json` or `text/*`",
        );
        Compression {
            algorithms,
            min_size: written.min_size.0,
            types,
            authenticated: written.authenticated,
        }
    }

    fn compression_algorithms(
        &mut self,
        key: &KeyPath,
        written: &OneOrMany<CompressionAlgorithm>,
    ) -> Vec<CompressionAlgorithm> {
        let mut algorithms = Vec::new();
        for (index, algorithm) in written.0.iter().enumerate() {
            if algorithms.contains(algorithm) {
                let key = self.document.item(key, index);
                self.refuse(&key, "stands there twice", None);
            }
            algorithms.push(*algorithm);
        }
        algorithms
    }

    pub(super) fn static_folders(&mut self, written: &[file::Static]) -> Vec<StaticFolder> {
        let mut folders: Vec<StaticFolder> = Vec::new();
        for (index, written) in written.iter().enumerate() {
            let key = KeyPath::from("http.static").item(index);
            let path = self.static_path(&key, written.path.as_ref());
            if written.folder.is_none() && !self.problems.concern(&key.child("folder")) {
                self.refuse_with(&key, format!("`{key}` must have a `folder`"), None);
            }
            let precompressed =
                self.compression_algorithms(&key.child("precompressed"), &written.precompressed);
            let cache_control = written.cache_control.as_ref();
            let cache_control = cache_control.map(|Text(value)| HeaderValue::from_str(value));
            if let Some(Err(_)) = cache_control {
                self.refuse(
                    &key.child("cache_control"),
                    "must be the value of a header field",
                    None,
                );
            }
            let (Some(path), Some(Text(folder))) = (path, &written.folder) else {
                continue;
            };
            if folders.iter().any(|other| other.path == path) {
                let key = key.child("path");
                self.refuse_with(&key, format!("`{key}` repeats `{path}`"), None);
            }
            folders.push(StaticFolder {
                path,
                folder: PathBuf::from(folder),
                cache_control: cache_control.and_then(Result::ok),
                index: written.index,
                precompressed,
                fallthrough: written.fallthrough,
            });
        }
        folders
    }

    fn static_path(&mut self, key: &KeyPath, written: Option<&Text>) -> Option<String> {
        let at = key.child("path");
        let Some(Text(path)) = written else {
            if !self.problems.concern(&at) {
                self.refuse_with(key, format!("`{key}` must have a `path`"), None);
            }
            return None;
        };
        let reason = if path.contains(['{', '}', '*']) {
            Some("must be a prefix such as \"/assets/\", without `{name}` and `*`")
        } else if path.contains('%') {
            Some("must be written decoded, without `%`")
        } else if !path.ends_with('/') {
            Some("must end with `/`")
        } else {
            rules::refuse_pattern(path)
        };
        if let Some(reason) = reason {
            self.refuse(&at, reason, None);
            return None;
        }
        Some(path.clone())
    }

    /// Warns of files that no rule lets anybody have.
    pub(super) fn static_rules(&mut self, config: &Config) {
        for (index, folder) in config.http.static_folders.iter().enumerate() {
            let mut rules = config.auth.rules.iter();
            if !rules.any(|rule| rules::reaches_under(rule, &folder.path)) {
                let key = KeyPath::from("http.static").item(index).child("path");
                let message = format!(
                    "`{key}`: no rule is for paths under `{}`, so its files are refused to everybody",
                    folder.path
                );
                let hint = "a rule with `path = \"/assets/**\"` and `access = \"public\"` opens what is under /assets/";
                self.warn(&key, message, Some(hint));
            }
        }
    }
}
