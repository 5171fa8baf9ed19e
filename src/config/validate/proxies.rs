//! What the proxies in front may say, and where they say it.

use super::Check;
use crate::config::key::KeyPath;
use crate::config::notation::{OneOrMany, Text};
use crate::config::{Bind, ForwardedFields, Server};

impl Check<'_> {
    /// The fields in which proxies tell of their clients; warns where what is written about them can hardly be meant.
    pub(super) fn forwarded(
        &mut self,
        fields: ForwardedFields,
        proxies: &OneOrMany<Text>,
    ) -> ForwardedFields {
        let key = KeyPath::from("server.forwarded");
        let trusted = KeyPath::from("server.trusted_proxies");
        let is_in_vain = proxies.0.is_empty() && fields == ForwardedFields::Forwarded;
        if is_in_vain {
            let message =
                format!("`{key}` is set, but `{trusted}` is empty: nobody may tell of a client");
            self.warn(&key, message, None);
        }
        for (index, Text(text)) in proxies.0.iter().enumerate() {
            if text.ends_with("/0") {
                let item = self.document.item(&trusted, index);
                let message =
                    format!("`{item}` is everybody: any client may say that it is another one");
                self.warn(&item, message, Some("name the networks of your proxies"));
            }
        }
        fields
    }

    /// The addresses on which every connection begins with a PROXY header: some of those of `server`, which is checked but for this.
    pub(super) fn proxy_protocol(
        &mut self,
        written: &OneOrMany<Text>,
        server: &Server,
    ) -> Vec<Bind> {
        let key = KeyPath::from("server.proxy_protocol");
        let addresses = self.addresses(&key, &written.0, &[]);
        let places = ["server.bind", "tls.bind"].map(KeyPath::from);
        let are_known = !places.iter().any(|place| self.problems.concern(place));
        for address in addresses.iter().filter(|it| !server.bind.contains(it)) {
            if are_known {
                let message = format!(
                    "`{key}` names `{address}`, which is neither in `server.bind` nor in `tls.bind`"
                );
                let hint = "it is written as there";
                self.refuse_with(&key, message, Some(hint.to_owned()));
            }
        }
        let proxies = KeyPath::from("server.trusted_proxies");
        if !addresses.is_empty()
            && server.trusted_proxies.is_empty()
            && !self.problems.concern(&proxies)
        {
            let message = format!(
                "`{key}` is set, but `{proxies}` is empty: every connection would be closed"
            );
            let hint =
                "name the load balancer that speaks the PROXY protocol, by its address or network";
            self.refuse_with(&key, message, Some(hint.to_owned()));
        }
        addresses
    }
}
