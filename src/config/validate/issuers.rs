//! `[[auth.issuer]]`: who may sign.

use super::{Check, path, text, texts};
use crate::config::key::KeyPath;
use crate::config::notation::Text;
use crate::config::{Algorithm, Fetch, FetchKind, Issuer, KeySource, fetch, file};

/// The keys that say where the keys of an issuer are.
const SOURCE_KEYS: [&str; 5] = [
    "secret_file",
    "public_key_file",
    "jwks_file",
    "jwks_url",
    "discovery",
];

const SOURCES: &str = "`secret_file`, `public_key_file`, `jwks_file`, `jwks_url` and `discovery`";

impl Check<'_> {
    pub(super) fn issuers(&mut self, written: &[file::Issuer]) -> Vec<Issuer> {
        let mut issuers: Vec<Issuer> = Vec::new();
        for (index, issuer) in written.iter().enumerate() {
            let key = KeyPath::from("auth.issuer").item(index);
            let keys = self.key_source(&key, issuer);
            self.algorithms(&key, issuer);
            self.whole_seconds(&key.child("leeway"), issuer.leeway.0);
            let issued_by = issued_by(issuer);
            let name = issuer.name.as_ref().map(text).or_else(|| issued_by.clone());
            let name = name.unwrap_or_else(|| key.to_string());
            if issuers.iter().any(|other| other.name == name) {
                let message = format!("`{key}` is called `{name}`, as is one before it");
                let hint = "give each issuer a `name` of its own".to_owned();
                self.refuse_with(
                    &self.document.nearest(&key.child("name")),
                    message,
                    Some(hint),
                );
            }
            let claims = self.claims(&key.child("claims"), &issuer.claims);
            issuers.extend(keys.map(|keys| Issuer {
                name,
                keys,
                issuer: issued_by,
                audience: texts(&issuer.audience),
                algorithms: issuer.algorithms.0.clone(),
                leeway: issuer.leeway.0,
                require: texts(&issuer.require),
                claims,
                typ: texts(&issuer.typ),
                binding: issuer.binding,
                signs_refresh_tokens: false,
                signs_sliding_tokens: false,
            }));
        }
        issuers
    }

    fn key_source(&mut self, key: &KeyPath, issuer: &file::Issuer) -> Option<KeySource> {
        if issuer.create_missing
            && issuer.secret_file.is_none()
            && !self.problems.concern(&key.child("secret_file"))
        {
            let message = format!(
                "`{key}.create_missing` is for `secret_file` only: other keys cannot be made up"
            );
            self.refuse_with(&key.child("create_missing"), message, None);
        }
        self.refuse_fetching_of_files(key, issuer);
        let given = [
            &issuer.secret_file,
            &issuer.public_key_file,
            &issuer.jwks_file,
            &issuer.jwks_url,
            &issuer.discovery,
        ];
        let count = given.into_iter().flatten().count();
        if count > 1 {
            self.refuse_with(
                key,
                format!("`{key}` must have only one of {SOURCES}"),
                None,
            );
            return None;
        }
        // One that was given, but is no text, has been noted already.
        let is_noted = |name: &str| self.problems.concern(&key.child(name));
        if count == 0 && !SOURCE_KEYS.into_iter().any(is_noted) {
            self.refuse_with(key, format!("`{key}` must have one of {SOURCES}"), None);
        }
        let secret = |file| KeySource::Secret {
            file: path(file),
            create_missing: issuer.create_missing,
        };
        let public_key = |file| KeySource::PublicKey(path(file));
        issuer
            .secret_file
            .as_ref()
            .map(secret)
            .or_else(|| issuer.public_key_file.as_ref().map(public_key))
            .or_else(|| issuer.jwks_file.as_ref().map(path).map(KeySource::Jwks))
            .or_else(|| self.fetched(key, issuer).map(KeySource::Remote))
    }

    /// How keys are fetched says nothing about those in a file, where somebody may think that it does.
    fn refuse_fetching_of_files(&mut self, key: &KeyPath, issuer: &file::Issuer) {
        let is_noted = |name: &str| self.problems.concern(&key.child(name));
        if issuer.jwks_url.is_some()
            || issuer.discovery.is_some()
            || ["jwks_url", "discovery"].into_iter().any(is_noted)
        {
            return;
        }
        let default = file::Issuer::default();
        for (name, is_given) in [
            ("ca_file", issuer.ca_file.is_some()),
            ("allow_link_local", issuer.allow_link_local),
            (
                "refresh_interval",
                issuer.refresh_interval != default.refresh_interval,
            ),
            ("stale_max", issuer.stale_max != default.stale_max),
        ] {
            if is_given {
                let child = key.child(name);
                let message = format!(
                    "`{child}` is for `jwks_url` and `discovery` only: no other keys are fetched"
                );
                self.refuse_with(&child, message, None);
            }
        }
    }

    fn fetched(&mut self, key: &KeyPath, issuer: &file::Issuer) -> Option<Fetch> {
        let (name, Text(url)) = match (&issuer.jwks_url, &issuer.discovery) {
            (Some(url), _) => ("jwks_url", url),
            (None, url) => ("discovery", url.as_ref()?),
        };
        if let Some(reason) = fetch::problem(url) {
            // What was found is not shown: it may hold a password.
            let child = key.child(name);
            self.refuse_with(&child, format!("`{child}` {reason}"), None);
            return None;
        }
        let kind = match issued_by(issuer).filter(|_| issuer.discovery.is_some()) {
            None => FetchKind::Jwks,
            Some(issuer) => {
                self.discovery(&key.child(name), url);
                FetchKind::Discovery { issuer }
            }
        };
        let (refresh, stale_max) = (issuer.refresh_interval.0, issuer.stale_max.0);
        if stale_max < refresh {
            let message = format!(
                "`{key}.stale_max` must not be less than `{key}.refresh_interval`, {}, found `{}`",
                humantime::format_duration(refresh),
                humantime::format_duration(stale_max),
            );
            let keys = ["stale_max", "refresh_interval"].map(|name| key.child(name));
            let given = keys.iter().find(|key| self.document.value(key).is_some());
            self.refuse_with(given.unwrap_or(key), message, None);
        }
        Some(Fetch {
            url: url.clone(),
            kind,
            algorithms: issuer.algorithms.0.clone(),
            ca_file: issuer.ca_file.as_ref().map(path),
            allow_link_local: issuer.allow_link_local,
            refresh,
            stale_max,
        })
    }

    /// The address of an issuer has no query (`OpenID` Connect Discovery 1.0 section 3, RFC 8414 section 2), and is not that of its
    /// metadata.
    fn discovery(&mut self, key: &KeyPath, url: &str) {
        if url.contains('?') {
            self.refuse(key, "must not have a query", None);
        } else if let Some((issuer, _)) = url.split_once("/.well-known/") {
            let reason = "must be the address of the issuer, not that of its metadata";
            self.refuse(key, reason, Some(format!("`discovery = \"{issuer}\"`")));
        }
    }

    /// A secret signs with HMAC, a public key never does (RFC 8725 section 3.1).
    fn algorithms(&mut self, key: &KeyPath, issuer: &file::Issuer) {
        let is_hmac = |algorithm: &Algorithm| {
            matches!(
                algorithm,
                Algorithm::Hs256 | Algorithm::Hs384 | Algorithm::Hs512
            )
        };
        let list = key.child("algorithms");
        for (index, algorithm) in issuer.algorithms.0.iter().enumerate() {
            let reason = if issuer.secret_file.is_some() && !is_hmac(algorithm) {
                "must be HS256, HS384 or HS512 for a `secret_file`"
            } else if issuer.public_key_file.is_some() && is_hmac(algorithm) {
                "must not be an HS algorithm for a `public_key_file`"
            } else if issuer.jwks_url.is_some() && is_hmac(algorithm) {
                "must not be an HS algorithm for a `jwks_url`: a secret is not fetched"
            } else if issuer.discovery.is_some() && is_hmac(algorithm) {
                "must not be an HS algorithm with `discovery`: a secret is not fetched"
            } else {
                continue;
            };
            self.refuse(&self.document.item(&list, index), reason, None);
        }
    }
}

/// The `iss` of its tokens. With discovery it is known: another party that uses the same keys does not pass for this one
/// (RFC 9207 section 1).
fn issued_by(issuer: &file::Issuer) -> Option<String> {
    issuer
        .issuer
        .as_ref()
        .or(issuer.discovery.as_ref())
        .map(text)
}
