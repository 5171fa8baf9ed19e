//! `[auth]`: where tokens stand, and what clients are told.

use super::{Check, text};
use crate::config::key::KeyPath;
use crate::config::notation::{OneOrMany, Text};
use crate::config::{
    Access, Auth, DenyListSource, DoubleSubmit, Issuer, Revocation, TokenSource, file, token_source,
};

const ADDRESS: &str =
    "must be an address without query and fragment, such as `https://api.example.com`";

impl Check<'_> {
    pub(super) fn auth(&mut self, auth: &file::Auth, http: &file::Http) -> Auth {
        let mut issuers = self.issuers(&auth.issuer);
        let tokens = self.tokens(&auth.tokens, &mut issuers);
        let rules = self.rules(&auth.rule, http);
        let first_needy = rules.iter().position(|rule| rule.access == Access::Token);
        if rules.is_empty() {
            let message = "there is no `[[auth.rule]]`: every request will be refused";
            self.warn(&"auth.rule".into(), message.to_owned(), None);
        } else if let Some(index) = first_needy.filter(|_| auth.issuer.is_empty()) {
            let key = KeyPath::from("auth.rule").item(index);
            let message = format!(
                "`{key}` needs a token, but there is no `[[auth.issuer]]` that could sign one"
            );
            self.warn(&key, message, None);
        }
        let (headers, payload_header) = self.identity_fields(auth);
        Auth {
            realm: text(&auth.realm),
            resource: self.resource(auth.resource.as_ref()),
            authorization_servers: self.authorization_servers(auth, &issuers),
            token_from: self.token_from(&auth.token_from),
            trusted_origins: self.each(
                &"auth.trusted_origins".into(),
                &auth.trusted_origins,
                token_source::origin,
                "must be an origin, such as `https://app.example.com`",
            ),
            double_submit: self.double_submit(auth),
            headers,
            payload_header,
            dpop_origin: self.dpop_origin(auth.dpop_origin.as_ref()),
            dpop_window: self.whole_seconds(&"auth.dpop_window".into(), auth.dpop_window.0),
            client_cert_header: self.client_cert_header(&auth.client_cert_header),
            client_cert_format: auth.client_cert_format,
            revocation: self.revocation(&auth.revocation),
            tokens,
            issuers,
            rules,
        }
    }

    fn resource(&mut self, written: Option<&Text>) -> Option<String> {
        let Text(address) = written?;
        if !token_source::is_address(address) {
            self.refuse(&"auth.resource".into(), ADDRESS, None);
        }
        Some(address.clone())
    }

    fn authorization_servers(&mut self, auth: &file::Auth, issuers: &[Issuer]) -> Vec<String> {
        let key = KeyPath::from("auth.authorization_servers");
        let address = |text: &str| token_source::is_address(text).then(|| text.to_owned());
        if !auth.authorization_servers.0.is_empty() {
            return self.each(&key, &auth.authorization_servers, address, ADDRESS);
        }
        let names = issuers.iter().filter_map(|issuer| issuer.issuer.as_ref());
        names.filter_map(|name| address(name)).collect()
    }

    /// What each of the texts means; one that means nothing is refused with `reason`.
    pub(super) fn each<T>(
        &mut self,
        key: &KeyPath,
        written: &OneOrMany<Text>,
        meaning: impl Fn(&str) -> Option<T>,
        reason: &str,
    ) -> Vec<T> {
        let mut meanings = Vec::new();
        for (index, Text(text)) in written.0.iter().enumerate() {
            if let Some(meant) = meaning(text) {
                meanings.push(meant);
            } else {
                self.refuse(&self.document.item(key, index), reason, None);
            }
        }
        meanings
    }

    fn token_from(&mut self, written: &OneOrMany<Text>) -> Vec<TokenSource> {
        let key = KeyPath::from("auth.token_from");
        if written.0.is_empty() {
            self.refuse(&key, "must have at least one place", None);
        }
        let mut sources = Vec::new();
        for (index, Text(text)) in written.0.iter().enumerate() {
            let item = self.document.item(&key, index);
            match token_source::parse(text) {
                Ok(source) if sources.contains(&source) => {
                    self.refuse_with(&item, format!("`{item}` repeats `{text}`"), None);
                }
                Ok(source) => sources.push(source),
                Err(reason) => self.refuse(&item, reason, None),
            }
        }
        sources
    }

    fn double_submit(&mut self, auth: &file::Auth) -> Option<DoubleSubmit> {
        let (cookie, header) = match (&auth.csrf_cookie, &auth.csrf_header) {
            (Some(Text(cookie)), Some(Text(header))) => (cookie, header),
            (None, None) => return None,
            (Some(_), None) | (None, Some(_)) => {
                let key = self.given(&["auth.csrf_cookie", "auth.csrf_header"]);
                let message = "`auth.csrf_cookie` and `auth.csrf_header` must be set together";
                self.refuse_with(&key, message.to_owned(), None);
                return None;
            }
        };
        for (key, name) in [("auth.csrf_cookie", cookie), ("auth.csrf_header", header)] {
            if !token_source::is_name(name) {
                let reason = "must be a name of letters, digits and `-`, `_`, `.`";
                self.refuse(&key.into(), reason, None);
            }
        }
        Some(DoubleSubmit {
            cookie: cookie.clone(),
            header: header.to_ascii_lowercase(),
        })
    }
}
