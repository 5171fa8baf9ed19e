//! `[hooks]`: a program that is found without a shell.

use super::{Check, texts};
use crate::config::key::KeyPath;
use crate::config::{Hooks, file};

impl Check<'_> {
    pub(super) fn hooks(&mut self, hooks: &file::Hooks) -> Option<Hooks> {
        let on_event = texts(&hooks.on_event);
        let program = on_event.first()?;
        let key = KeyPath::from("hooks.on_event");
        if !program.starts_with('/') {
            let reason =
                "must begin with the absolute path of a program, for no shell looks for it";
            self.refuse(&key, reason, None);
        }
        if on_event.iter().any(|word| word.contains('\0')) {
            self.refuse(&key, "must not contain NUL, which no argument can", None);
        }
        Some(Hooks {
            on_event,
            timeout: hooks.on_event_timeout.0,
        })
    }
}
