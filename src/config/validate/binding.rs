//! What tokens that are bound to a key or to a certificate need.

use std::time::Duration;

use super::Check;
use crate::config::key::KeyPath;
use crate::config::notation::{OneOrMany, Text};
use crate::config::{Binding, ClientCertNeed, Config, Issuer, TrustedProxies, file, token_source};

const NAME_PROXY: &str =
    "name the proxy that ends TLS, by its address or as `unix`, or set `tls.client_auth`";

impl Check<'_> {
    pub(super) fn trusted_proxies(&mut self, written: &OneOrMany<Text>) -> TrustedProxies {
        let key = KeyPath::from("server.trusted_proxies");
        let mut proxies = TrustedProxies::default();
        for (index, Text(text)) in written.0.iter().enumerate() {
            if !proxies.add(text) {
                let reason = "must be an address, a network such as `10.0.0.0/8`, or `unix`";
                self.refuse(&self.document.item(&key, index), reason, None);
            }
        }
        proxies
    }

    pub(super) fn dpop_origin(&mut self, written: Option<&Text>) -> Option<String> {
        let Text(text) = written?;
        let origin = token_source::origin(text);
        if origin.is_none() {
            let reason = "must be an origin, such as `https://api.example.com`";
            self.refuse(&"auth.dpop_origin".into(), reason, None);
        }
        origin
    }

    pub(super) fn client_cert_header(&mut self, Text(name): &Text) -> String {
        if !token_source::is_field_of_its_own(name) && !name.eq_ignore_ascii_case("client-cert") {
            let reason = "must be the name of a field that has no other meaning";
            self.refuse(&"auth.client_cert_header".into(), reason, None);
        }
        name.to_ascii_lowercase()
    }

    /// Tokens and proofs are judged by the second, so that a fraction would be forgotten without a word.
    pub(super) fn whole_seconds(&mut self, key: &KeyPath, time: Duration) -> Duration {
        if time.subsec_nanos() != 0 {
            self.refuse(key, "must be whole seconds", None);
        }
        time
    }

    /// Whether each issuer's binding can be proved at all, and its tokens can have one.
    pub(super) fn bindings(&mut self, written: &file::Auth, config: &Config) {
        let proxies = KeyPath::from("server.trusted_proxies");
        let asks = config
            .tls
            .as_ref()
            .is_some_and(|tls| tls.client_auth.is_some());
        let nobody = config.server.trusted_proxies.is_empty()
            && !asks
            && !self.problems.concern(&proxies)
            && !self.problems.concern(&"tls".into());
        for (index, issuer) in written.issuer.iter().enumerate() {
            if issuer.binding == Binding::Mtls && nobody {
                let key = KeyPath::from("auth.issuer").item(index).child("binding");
                let message = format!(
                    "`{key}` is `mtls`, but `{proxies}` is empty: nobody may say which certificate a client has"
                );
                self.refuse_with(&key, message, Some(NAME_PROXY.to_owned()));
            }
        }
        for (index, rule) in written.rule.iter().enumerate() {
            let asks =
                rule.client_cert == ClientCertNeed::Required || !rule.client_cert_san.0.is_empty();
            if asks && nobody {
                let key = KeyPath::from("auth.rule").item(index);
                let message = format!(
                    "`{key}` asks for the certificate of the client, but `{proxies}` is empty: nobody may say which one it has"
                );
                self.refuse_with(&key, message, Some(NAME_PROXY.to_owned()));
            }
        }
        let mut issuers = config.auth.issuers.iter();
        let is_at_odds =
            |issuer: &&Issuer| issuer.signs_refresh_tokens && issuer.binding != Binding::None;
        if let Some(issuer) = issuers.find(is_at_odds) {
            let message = format!(
                "`auth.tokens` issues tokens that are bound to nothing, but issuer `{}` has a `binding`",
                issuer.name
            );
            self.refuse_with(&"auth.tokens".into(), message, None);
        }
    }
}
