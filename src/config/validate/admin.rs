//! `[admin]`: addresses of its own, and a token of an issuer that this process can judge.

use super::Check;
use crate::config::key::KeyPath;
use crate::config::{Admin, Bind, Binding, Issuer, file};

impl Check<'_> {
    /// Its addresses are none of `others`.
    pub(super) fn admin(
        &mut self,
        admin: &file::Admin,
        others: &[Bind],
        issuers: &[Issuer],
    ) -> Admin {
        let key = KeyPath::from("admin");
        let scopes = self.scopes(&key.child("scopes"), &admin.scopes);
        let control_scopes = self.scopes(&key.child("control_scopes"), &admin.control_scopes);
        let issuer = self.admin_issuer(admin, issuers);
        for (name, scopes) in [("scopes", &scopes), ("control_scopes", &control_scopes)] {
            if admin.issuer.is_none() && !scopes.is_empty() {
                let message = format!(
                    "`admin.{name}` are asked of tokens of `admin.issuer`, which is not set"
                );
                self.refuse_with(&key.child(name), message, None);
            }
        }
        Admin {
            bind: admin
                .bind
                .as_ref()
                .map(|binds| self.admin_bind(&binds.0, others, admin.issuer.is_some())),
            issuer,
            scopes,
            control_scopes,
        }
    }

    fn admin_bind(
        &mut self,
        written: &[crate::config::notation::Text],
        others: &[Bind],
        has_issuer: bool,
    ) -> Vec<Bind> {
        let key = KeyPath::from("admin.bind");
        // Two ports of the kernel's choice are two.
        let is_chosen = |bind: &&Bind| !matches!(bind, Bind::Tcp(address) if address.port() == 0);
        let others: Vec<Bind> = others.iter().filter(is_chosen).cloned().collect();
        let binds = self.addresses(&key, written, &others);
        for (index, bind) in binds.iter().enumerate() {
            match bind {
                Bind::Fd(_) | Bind::Systemd(_) => {
                    let key = self.document.item(&key, index);
                    self.refuse(&key, "must be HOST:PORT, [V6]:PORT or unix:PATH", None);
                }
                Bind::Tcp(address) if !address.ip().is_loopback() && !has_issuer => {
                    let message = format!(
                        "`admin.bind` has `{bind}`, where everybody who can reach it reads the metrics"
                    );
                    let hint = "ask for a token with `admin.issuer`, or listen on 127.0.0.1";
                    self.warn(&key, message, Some(hint));
                }
                Bind::Tcp(_) | Bind::Unix(_) => {}
            }
        }
        binds
    }

    fn admin_issuer(&mut self, admin: &file::Admin, issuers: &[Issuer]) -> Option<usize> {
        let name = &admin.issuer.as_ref()?.0;
        let key = KeyPath::from("admin.issuer");
        let place = issuers.iter().position(|issuer| issuer.name == *name);
        let Some(issuer) = place.and_then(|place| issuers.get(place)) else {
            // What is wrong with the issuers is told already.
            if !self.problems.concern(&KeyPath::from("auth.issuer")) {
                let names: Vec<String> = issuers
                    .iter()
                    .map(|issuer| format!("`{}`", issuer.name))
                    .collect();
                let hint = match names.as_slice() {
                    [] => "there is none".to_owned(),
                    names => format!("there are {}", names.join(", ")),
                };
                self.refuse(&key, "must be the name of an issuer", Some(hint));
            }
            return None;
        };
        if issuer.is_remote() {
            let reason = "must be an issuer whose keys are in a file";
            self.refuse(&key, reason, None);
        } else if issuer.binding != Binding::None {
            let reason = "must be an issuer whose tokens are bound to nothing";
            self.refuse(&key, reason, None);
        }
        place
    }
}
