//! `[auth.tokens]`: the token service.

use std::time::Duration;

use super::{Check, path, text, unless_zero};
use crate::config::file;
use crate::config::key::KeyPath;
use crate::config::notation::Text;
use crate::config::{Issuer, KeySource, TokenKind, Tokens};

impl Check<'_> {
    /// The service, when it has a database; the issuer that signs for it is marked.
    pub(super) fn tokens(
        &mut self,
        written: &file::Tokens,
        issuers: &mut [Issuer],
    ) -> Option<Tokens> {
        let Some(database) = &written.database else {
            let key = KeyPath::from("auth.tokens.database");
            if *written != file::Tokens::default() && !self.problems.concern(&key) {
                let message = "`auth.tokens` has no `database`, so there is no token service";
                let hint = "such as `database = \"sqlite:/var/lib/destrier/tokens.db\"`";
                self.warn(&"auth.tokens".into(), message.to_owned(), Some(hint));
            }
            return None;
        };
        let prefix = self.prefix(&written.prefix);
        self.lifetimes(written);
        let database = self.database(database, written);
        let schema = self.schema(written);
        let issuer = self.signer(written, issuers);
        let issuer = issuer.inspect(|index| {
            if let Some(issuer) = issuers.get_mut(*index) {
                issuer.signs_refresh_tokens = true;
                issuer.signs_sliding_tokens = written.kind == TokenKind::Sliding;
            }
        });
        Some(Tokens {
            prefix,
            issuer: issuer?,
            signing_key_file: written.signing_key_file.as_ref().map(path),
            kind: written.kind,
            access_lifetime: written.access_lifetime.0,
            refresh_lifetime: written.refresh_lifetime.0,
            sliding_lifetime: written.sliding_lifetime.0,
            sliding_refresh_lifetime: written.sliding_refresh_lifetime.0,
            rotate_refresh_tokens: written.rotate_refresh_tokens,
            blacklist_after_rotation: written.blacklist_after_rotation,
            reuse_grace: written.reuse_grace.0,
            user_id_claim: text(&written.user_id_claim),
            update_last_login: written.update_last_login,
            throttle_account: written.throttle_account.0,
            throttle_address: written.throttle_address.0,
            flush_interval: unless_zero(written.flush_interval.0),
            database: database?,
            schema,
        })
    }

    fn prefix(&mut self, Text(prefix): &Text) -> String {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.~/".contains(c);
        let path = prefix.strip_suffix('/').unwrap_or(prefix);
        let is_path = path.starts_with('/')
            && path.chars().all(plain)
            && path
                .split('/')
                .skip(1)
                .all(|segment| !matches!(segment, "" | "." | ".."));
        if !is_path {
            let reason = "must be a path of plain segments, such as \"/api/token\"";
            self.refuse(&"auth.tokens.prefix".into(), reason, None);
        }
        path.to_owned()
    }

    fn lifetimes(&mut self, written: &file::Tokens) {
        let mut whole_seconds = |name: &str, time: Duration| {
            if time.subsec_nanos() != 0 {
                let key = KeyPath::from("auth.tokens").child(name);
                self.refuse(&key, "must be whole seconds", None);
            }
        };
        whole_seconds("access_lifetime", written.access_lifetime.0);
        whole_seconds("refresh_lifetime", written.refresh_lifetime.0);
        whole_seconds("sliding_lifetime", written.sliding_lifetime.0);
        let refreshed_for = written.sliding_refresh_lifetime.0;
        whole_seconds("sliding_refresh_lifetime", refreshed_for);
        if written.kind == TokenKind::Sliding && written.rotate_refresh_tokens {
            let key = KeyPath::from("auth.tokens.rotate_refresh_tokens");
            let message = "`auth.tokens.rotate_refresh_tokens` is for `kind = \"pair\"`: a sliding token is not rotated";
            self.warn(&key, message.to_owned(), None);
        }
        let (access, refresh) = (written.access_lifetime.0, written.refresh_lifetime.0);
        if access > refresh {
            let key = self.given(&[
                "auth.tokens.access_lifetime",
                "auth.tokens.refresh_lifetime",
            ]);
            let message =
                "`auth.tokens.access_lifetime` is longer than `auth.tokens.refresh_lifetime`";
            self.warn(&key, message.to_owned(), None);
        }
        if written.blacklist_after_rotation && !written.rotate_refresh_tokens {
            let key = KeyPath::from("auth.tokens.blacklist_after_rotation");
            let message =
                "`auth.tokens.blacklist_after_rotation` needs `rotate_refresh_tokens = true`";
            self.refuse_with(&key, message.to_owned(), None);
        }
    }

    /// The place of the issuer that signs.
    fn signer(&mut self, written: &file::Tokens, issuers: &[Issuer]) -> Option<usize> {
        let key = KeyPath::from("auth.tokens.issuer");
        let found = match (&written.issuer, issuers) {
            (Some(Text(name)), _) => issuers.iter().position(|issuer| issuer.name == *name),
            (None, [_]) => Some(0),
            (None, _) => None,
        };
        let Some(issuer) = found.and_then(|index| issuers.get(index)) else {
            // An issuer that is wrong itself is not among them.
            if !self.problems.concern(&KeyPath::from("auth.issuer")) {
                let known: Vec<String> = issuers
                    .iter()
                    .map(|each| format!("`{}`", each.name))
                    .collect();
                let message = match known.as_slice() {
                    [] => "`auth.tokens` needs an `[[auth.issuer]]` that signs".to_owned(),
                    known => format!(
                        "`{key}` must name the issuer that signs: {}",
                        known.join(", ")
                    ),
                };
                self.refuse_with(&self.document.nearest(&key), message, None);
            }
            return None;
        };
        if let KeySource::Remote(_) = issuer.keys {
            // Somebody else decides which keys are in the set, so whether what is signed here is believed is not known.
            let message = format!(
                "`auth.tokens` cannot sign for issuer `{}`, whose keys are fetched",
                issuer.name
            );
            self.refuse_with(&self.document.nearest(&key), message, None);
            return None;
        }
        let has_secret = matches!(issuer.keys, KeySource::Secret { .. });
        let key_file = KeyPath::from("auth.tokens.signing_key_file");
        match &written.signing_key_file {
            Some(_) if has_secret => {
                let message = format!(
                    "`{key_file}` is for issuers with public keys, but `{}` signs with its secret",
                    issuer.name
                );
                self.refuse_with(&key_file, message, None);
            }
            None if !has_secret && !self.problems.concern(&key_file) => {
                let message = format!(
                    "`auth.tokens` must have a `signing_key_file`: issuer `{}` has public keys only",
                    issuer.name
                );
                self.refuse_with(&"auth.tokens".into(), message, None);
            }
            Some(_) | None => {}
        }
        found
    }
}
