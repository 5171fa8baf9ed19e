//! `[auth.revocation]`: where deny lists come from.

use super::{Check, path};
use crate::config::key::KeyPath;
use crate::config::notation::Text;
use crate::config::{DenyListSource, Fetch, FetchKind, Revocation, fetch, file};

impl Check<'_> {
    pub(super) fn revocation(
        &mut self,
        written: &file::Revocation,
        has_tokens: bool,
    ) -> Revocation {
        let file = written.file.as_ref().map(path).map(DenyListSource::File);
        let url = self.address(written).map(|url| Fetch {
            url,
            ca_file: written.ca_file.as_ref().map(path),
            allow_link_local: written.allow_link_local,
            ..polled(FetchKind::DenyList, written)
        });
        if written.database && !has_tokens {
            let message = "`auth.revocation.database` needs `auth.tokens.database`";
            self.refuse_with(&"auth.revocation.database".into(), message.to_owned(), None);
        }
        let table = written
            .database
            .then(|| polled(FetchKind::TokenDatabase, written));
        if url.is_some() || table.is_some() {
            let (interval, stale_max) = (written.poll_interval.0, written.stale_max.0);
            if stale_max < interval {
                let message = "`auth.revocation.stale_max` must not be less than `auth.revocation.poll_interval`";
                let keys = ["auth.revocation.stale_max", "auth.revocation.poll_interval"];
                self.refuse_with(&self.given(&keys), message.to_owned(), None);
            }
        }
        let polled = table.into_iter().chain(url).map(DenyListSource::Remote);
        Revocation {
            lists: file.into_iter().chain(polled).collect(),
            on_stale: written.on_stale,
        }
    }

    fn address(&mut self, written: &file::Revocation) -> Option<String> {
        let key = KeyPath::from("auth.revocation");
        let Some(Text(url)) = &written.url else {
            self.refuse_polling_of_nothing(&key, written);
            return None;
        };
        if let Some(reason) = fetch::problem(url) {
            // What was found is not shown: it may hold a password.
            let child = key.child("url");
            self.refuse_with(&child, format!("`{child}` {reason}"), None);
            return None;
        }
        Some(url.clone())
    }

    /// Somebody may think that it says something about the file.
    fn refuse_polling_of_nothing(&mut self, key: &KeyPath, written: &file::Revocation) {
        if self.problems.concern(&key.child("url")) {
            return;
        }
        let default = file::Revocation::default();
        let is_polled = written.database;
        for (name, is_in_vain) in [
            (
                "poll_interval",
                !is_polled && written.poll_interval != default.poll_interval,
            ),
            ("ca_file", written.ca_file.is_some()),
            ("allow_link_local", written.allow_link_local),
            (
                "stale_max",
                !is_polled && written.stale_max != default.stale_max,
            ),
        ] {
            if is_in_vain {
                let child = key.child(name);
                let message = format!("`{child}` is for `auth.revocation.url`, which is not set");
                self.refuse_with(&child, message, None);
            }
        }
    }
}

fn polled(kind: FetchKind, written: &file::Revocation) -> Fetch {
    Fetch {
        url: "auth.tokens.database".to_owned(),
        kind,
        algorithms: Vec::new(),
        ca_file: None,
        allow_link_local: false,
        refresh: written.poll_interval.0,
        stale_max: written.stale_max.0,
    }
}
