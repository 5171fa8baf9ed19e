//! `[access_log]`: where lines go, and what they look like.

use super::super::access_log::{self, Unusable};
use super::super::key::KeyPath;
use super::super::notation::Text;
use super::super::rules::refuse_pattern;
use super::super::{AccessFormat, AccessLog, AccessTarget, file};
use super::{Check, texts};

impl Check<'_> {
    /// What is in force; none where requests get no lines, but what is wrong is wrong all the same.
    pub(super) fn access_log(&mut self, written: &file::AccessLog) -> Option<AccessLog> {
        let to = self.readable("access_log.to", &written.to, access_log::target);
        let format = self.readable("access_log.format", &written.format, access_log::format);
        let key = KeyPath::from("access_log.skip");
        for (index, Text(path)) in written.skip.0.iter().enumerate() {
            let refused = if path.contains(['{', '}', '*']) {
                Some("must be whole paths, such as \"/readyz\"")
            } else {
                refuse_pattern(path)
            };
            if let Some(reason) = refused {
                let key = self.document.item(&key, index);
                self.refuse(&key, reason, None);
            }
        }
        if !written.enabled {
            self.warn_without_lines();
        }
        written.enabled.then(|| AccessLog {
            to: to.unwrap_or(AccessTarget::Log),
            format: format.unwrap_or(AccessFormat::Auto),
            query: written.query,
            skip: texts(&written.skip),
            facility: written.syslog_facility,
        })
    }

    /// What is said of lines that nobody writes.
    fn warn_without_lines(&mut self) {
        let section = KeyPath::from("access_log");
        for name in ["to", "format", "query", "skip", "syslog_facility"] {
            let key = section.child(name);
            // Whoever has switched it off knows.
            let is_decided = self.document.value(&section.child("enabled")).is_some();
            if !is_decided && self.document.value(&key).is_some() {
                let message = format!("`{key}` does nothing: requests get no lines");
                self.warn(&key, message, Some("set `access_log.enabled = true`"));
            }
        }
    }

    fn readable<T>(
        &mut self,
        key: &str,
        Text(text): &Text,
        read: fn(&str) -> Result<T, Unusable>,
    ) -> Option<T> {
        match read(text) {
            Ok(value) => Some(value),
            Err(Unusable { reason, hint }) => {
                self.refuse(&key.into(), &reason, hint);
                None
            }
        }
    }
}
