//! `[auth.revocation]`: where deny lists come from.

use super::{Check, path};
use crate::config::key::KeyPath;
use crate::config::notation::Text;
use crate::config::{DenyListSource, Fetch, FetchKind, Revocation, fetch, file};

impl Check<'_> {
    pub(super) fn revocation(&mut self, written: &file::Revocation) -> Revocation {
        let file = written.file.as_ref().map(path).map(DenyListSource::File);
        let url = self.polled(written).map(DenyListSource::Remote);
        Revocation {
            lists: file.into_iter().chain(url).collect(),
            on_stale: written.on_stale,
        }
    }

    fn polled(&mut self, written: &file::Revocation) -> Option<Fetch> {
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
        let (refresh, stale_max) = (written.poll_interval.0, written.stale_max.0);
        if stale_max < refresh {
            let message =
                "`auth.revocation.stale_max` must not be less than `auth.revocation.poll_interval`";
            let given = self.given(&["auth.revocation.stale_max", "auth.revocation.poll_interval"]);
            self.refuse_with(&given, message.to_owned(), None);
        }
        Some(Fetch {
            url: url.clone(),
            kind: FetchKind::DenyList,
            algorithms: Vec::new(),
            ca_file: written.ca_file.as_ref().map(path),
            allow_link_local: written.allow_link_local,
            refresh,
            stale_max,
        })
    }

    /// Somebody may think that it says something about the file.
    fn refuse_polling_of_nothing(&mut self, key: &KeyPath, written: &file::Revocation) {
        if self.problems.concern(&key.child("url")) {
            return;
        }
        let default = file::Revocation::default();
        for (name, is_given) in [
            (
                "poll_interval",
                written.poll_interval != default.poll_interval,
            ),
            ("ca_file", written.ca_file.is_some()),
            ("allow_link_local", written.allow_link_local),
            ("stale_max", written.stale_max != default.stale_max),
        ] {
            if is_given {
                let child = key.child(name);
                let message =
                    format!("`{child}` is for `auth.revocation.url` only, which is not set");
                self.refuse_with(&child, message, None);
            }
        }
    }
}
