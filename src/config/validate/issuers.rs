//! `[[auth.issuer]]`: who may sign.

use super::{Check, path, text, texts};
use crate::config::key::KeyPath;
use crate::config::{Algorithm, Issuer, KeySource, file};

impl Check<'_> {
    pub(super) fn issuers(&mut self, written: &[file::Issuer]) -> Vec<Issuer> {
        let mut issuers: Vec<Issuer> = Vec::new();
        for (index, issuer) in written.iter().enumerate() {
            let key = KeyPath::from("auth.issuer").item(index);
            let keys = self.key_source(&key, issuer);
            self.algorithms(&key, issuer);
            if issuer.leeway.0.subsec_nanos() != 0 {
                // Tokens are judged by the second, so that a fraction would be forgotten without a word.
                self.refuse(&key.child("leeway"), "must be whole seconds", None);
            }
            let name = issuer.name.as_ref().or(issuer.issuer.as_ref());
            let name = name.map_or_else(|| key.to_string(), text);
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
                issuer: issuer.issuer.as_ref().map(text),
                audience: texts(&issuer.audience),
                algorithms: issuer.algorithms.0.clone(),
                leeway: issuer.leeway.0,
                require: texts(&issuer.require),
                claims,
                typ: texts(&issuer.typ),
                signs_refresh_tokens: false,
                signs_sliding_tokens: false,
            }));
        }
        issuers
    }

    fn key_source(&mut self, key: &KeyPath, issuer: &file::Issuer) -> Option<KeySource> {
        let secret = issuer.secret_file.as_ref().map(|file| KeySource::Secret {
            file: path(file),
            create_missing: issuer.create_missing,
        });
        let public_key = issuer
            .public_key_file
            .as_ref()
            .map(path)
            .map(KeySource::PublicKey);
        let jwks = issuer.jwks_file.as_ref().map(path).map(KeySource::Jwks);
        if issuer.create_missing
            && secret.is_none()
            && !self.problems.concern(&key.child("secret_file"))
        {
            let message = format!(
                "`{key}.create_missing` is for `secret_file` only: other keys cannot be made up"
            );
            self.refuse_with(&key.child("create_missing"), message, None);
        }
        let mut sources = [secret, public_key, jwks].into_iter().flatten();
        let names = ["secret_file", "public_key_file", "jwks_file"];
        match (sources.next(), sources.next()) {
            (Some(source), None) => return Some(source),
            (Some(_), Some(_)) => {
                let message = format!(
                    "`{key}` must have only one of `secret_file`, `public_key_file` and `jwks_file`"
                );
                self.refuse_with(key, message, None);
            }
            (None, _) => {
                // One that was given, but is no path, has been noted already.
                if !names
                    .iter()
                    .any(|name| self.problems.concern(&key.child(name)))
                {
                    let message = format!(
                        "`{key}` must have one of `secret_file`, `public_key_file` and `jwks_file`"
                    );
                    self.refuse_with(key, message, None);
                }
            }
        }
        None
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
            } else {
                continue;
            };
            self.refuse(&self.document.item(&list, index), reason, None);
        }
    }
}
