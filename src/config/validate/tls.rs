//! `[tls]`: what its keys need of each other.

use super::{Check, path};
use crate::config::key::KeyPath;
use crate::config::notation::Text;
use crate::config::{Bind, ClientAuth, ClientAuthMode, Tls, TlsCertificate, file};

/// The files of one certificate, as they are written.
struct Files<'a> {
    certificate: Option<&'a Text>,
    key: Option<&'a Text>,
    ocsp: Option<&'a Text>,
}

impl Check<'_> {
    /// Addresses that are `plain` cannot speak TLS too.
    pub(super) fn tls(&mut self, tls: &file::Tls, plain: &[Bind]) -> Option<Tls> {
        let key = KeyPath::from("tls");
        let first = Files {
            certificate: tls.certificate_file.as_ref(),
            key: tls.key_file.as_ref(),
            ocsp: tls.ocsp_file.as_ref(),
        };
        let more = tls.certificate.iter().enumerate().map(|(index, it)| {
            let files = Files {
                certificate: it.certificate_file.as_ref(),
                key: it.key_file.as_ref(),
                ocsp: it.ocsp_file.as_ref(),
            };
            (key.child("certificate").item(index), files)
        });
        let has_first = [first.certificate, first.key, first.ocsp]
            .iter()
            .any(Option::is_some);
        let written = has_first.then_some((key.clone(), first));
        let written: Vec<_> = written.into_iter().chain(more).collect();
        let certificates: Vec<TlsCertificate> = written
            .iter()
            .filter_map(|(key, files)| self.certificate(key, files))
            .collect();
        let client_auth = self.client_auth(&key, tls);
        let bind = self.addresses(&key.child("bind"), tls.addresses(), plain);
        if tls.addresses().is_empty() {
            // Somebody thinks that it is spoken.
            if (!written.is_empty() || tls.client_auth.is_some())
                && !self.problems.concern(&key.child("bind"))
            {
                let message = "`tls.bind` must have at least one address";
                let hint = "`server.bind` has the addresses that do not speak TLS";
                let key = self.given(&[
                    "tls.bind",
                    "tls.certificate_file",
                    "tls.certificate",
                    "tls.client_auth",
                ]);
                self.refuse_with(&key, message.to_owned(), Some(hint.to_owned()));
            }
            return None;
        }
        if written.is_empty() && !self.problems.concern(&key) {
            let message = "`tls.bind` needs `tls.certificate_file` and `tls.key_file`";
            let hint = "for development, `destrier tls self-signed` makes both";
            self.refuse_with(
                &key.child("bind"),
                message.to_owned(),
                Some(hint.to_owned()),
            );
        }
        Some(Tls {
            bind,
            certificates,
            min_version: tls.min_version,
            client_auth,
            handshake_timeout: tls.handshake_timeout.0,
        })
    }

    fn certificate(&mut self, key: &KeyPath, files: &Files<'_>) -> Option<TlsCertificate> {
        match (files.certificate, files.key) {
            (Some(certificate), Some(private)) => Some(TlsCertificate {
                certificate_file: path(certificate),
                key_file: path(private),
                ocsp_file: files.ocsp.map(path),
            }),
            (certificate, _) => {
                let missing = if certificate.is_none() {
                    "certificate_file"
                } else {
                    "key_file"
                };
                let child = key.child(missing);
                if !self.problems.concern(&child) {
                    let message =
                        format!("`{child}` is missing: a certificate and its key stand together");
                    self.refuse_with(&self.document.nearest(&child), message, None);
                }
                None
            }
        }
    }

    fn client_auth(&mut self, key: &KeyPath, tls: &file::Tls) -> Option<ClientAuth> {
        let mode = tls.client_auth.unwrap_or_default();
        if mode == ClientAuthMode::None {
            let files = [
                ("client_ca_file", &tls.client_ca_file),
                ("client_crl_file", &tls.client_crl_file),
            ];
            let in_vain = files.into_iter().filter(|(_, file)| file.is_some());
            // Who writes `none` has put it off.
            if tls.client_auth.is_none() && !self.problems.concern(&key.child("client_auth")) {
                for (name, _) in in_vain {
                    let child = key.child(name);
                    let message = format!("`{child}` is for `tls.client_auth`, which is not set");
                    let hint =
                        "clients are asked for a certificate with \"optional\" or \"require\"";
                    self.refuse_with(&child, message, Some(hint.to_owned()));
                }
            }
            return None;
        }
        let Some(ca_file) = &tls.client_ca_file else {
            if !self.problems.concern(&key.child("client_ca_file")) {
                let message = "`tls.client_auth` needs `tls.client_ca_file`: the authorities that clients' certificates may come from";
                self.refuse_with(&key.child("client_auth"), message.to_owned(), None);
            }
            return None;
        };
        Some(ClientAuth {
            is_required: mode == ClientAuthMode::Require,
            ca_file: path(ca_file),
            crl_file: tls.client_crl_file.as_ref().map(path),
        })
    }
}
