//! Which certificate a client is shown: the one that has the name it asks for (SNI, RFC 6066 section 3).

use std::collections::BTreeMap;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::Identity;

/// The certificates of a server by their names.
#[derive(Debug)]
pub(super) struct Chooser {
    /// In the order of the configuration.
    all: Vec<Arc<CertifiedKey>>,
    /// Where in `all` those stand that have the name, in lower case; a wildcard without its `*`.
    exact: BTreeMap<String, Vec<usize>>,
    wildcards: BTreeMap<String, Vec<usize>>,
    /// Where those stand that share a name with the first, which is one of them.
    like_first: Vec<usize>,
}

impl Chooser {
    pub(super) fn new(identities: &[Identity]) -> Self {
        let mut exact: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        let mut wildcards: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (place, identity) in identities.iter().enumerate() {
            for name in identity.names() {
                let (names, name) = match name.strip_prefix('*') {
                    Some(domain) => (&mut wildcards, domain),
                    None => (&mut exact, name.as_str()),
                };
                names.entry(name.to_owned()).or_default().push(place);
            }
        }
        let of_first = identities.first().map_or(&[][..], Identity::names);
        let is_like_first =
            |identity: &Identity| identity.names().iter().any(|name| of_first.contains(name));
        let like_first = identities.iter().enumerate();
        let like_first = like_first.filter(|(place, it)| *place == 0 || is_like_first(it));
        Self {
            like_first: like_first.map(|(place, _)| place).collect(),
            all: identities
                .iter()
                .map(|it| Arc::clone(&it.certified))
                .collect(),
            exact,
            wildcards,
        }
    }

    /// Those with this name: as it is before a wildcard, which stands for the first label (RFC 9525 section 6.3), in the order of
    /// the configuration.
    fn named(&self, name: &str) -> &[usize] {
        let name = name.to_ascii_lowercase();
        let below = || {
            let domain = name.find('.').and_then(|dot| name.get(dot..));
            self.wildcards.get(domain?)
        };
        self.exact
            .get(&name)
            .or_else(below)
            .map_or(&[], Vec::as_slice)
    }
}

impl ResolvesServerCert for Chooser {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let mut named = hello.server_name().map_or(&[][..], |name| self.named(name));
        if named.is_empty() {
            // Who asks for nothing, or for what nobody has.
            named = &self.like_first;
        }
        // Of several, as with a key of either kind, the first that the client understands.
        let is_understood = |place: &&usize| {
            let certified = self.all.get(**place);
            certified.is_some_and(|it| it.key.choose_scheme(hello.signature_schemes()).is_some())
        };
        let place = named.iter().find(is_understood).or_else(|| named.first());
        self.all.get(place.copied().unwrap_or(0)).cloned()
    }
}
