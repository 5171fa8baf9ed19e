//! `server.trusted_proxies`: whose word on a client counts.

use std::net::IpAddr;

use ipnet::IpNet;

/// The peers that may say something of a client which only the other end of its connection can know. By default nobody.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustedProxies {
    networks: Vec<IpNet>,
    unix: bool,
}

impl TrustedProxies {
    /// Those that are written so: each an address, a network, or `unix`. `None` where one is none of these.
    pub fn of(texts: &[&str]) -> Option<Self> {
        let mut proxies = Self::default();
        texts
            .iter()
            .all(|text| proxies.add(text))
            .then_some(proxies)
    }

    /// Whether the peer is one of them; without an address it came over a Unix socket.
    pub fn trust(&self, peer: Option<IpAddr>) -> bool {
        match peer {
            // A socket for both versions shows addresses of version 4 as those of version 6 (RFC 4291 section 2.5.5.2).
            Some(peer) => {
                let peer = peer.to_canonical();
                self.networks.iter().any(|network| network.contains(&peer))
            }
            None => self.unix,
        }
    }

    /// Whether there is nobody among them.
    pub fn is_empty(&self) -> bool {
        self.networks.is_empty() && !self.unix
    }

    /// Adds what is written: an address, a network, or `unix`; whether it is one of these.
    pub(super) fn add(&mut self, text: &str) -> bool {
        if text == "unix" {
            self.unix = true;
            return true;
        }
        let address = text.parse::<IpAddr>().map(IpNet::from);
        let network = address.or_else(|_| text.parse::<IpNet>());
        self.networks.extend(network.as_ref().ok());
        network.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trusting(texts: &[&str]) -> TrustedProxies {
        TrustedProxies::of(texts).unwrap()
    }

    fn peer(text: &str) -> Option<IpAddr> {
        text.parse().ok()
    }

    #[test]
    fn nobody_is_trusted_unless_somebody_says_so() {
        let nobody = trusting(&[]);
        assert!(nobody.is_empty());
        assert!(!nobody.trust(None) && !nobody.trust(peer("127.0.0.1")));
    }

    #[test]
    fn addresses_networks_and_unix_sockets_are_told_apart() {
        let proxies = trusting(&["127.0.0.1", "10.1.0.0/16", "2001:db8::/32"]);
        for text in ["127.0.0.1", "::ffff:127.0.0.1", "10.1.255.9", "2001:db8::1"] {
            assert!(proxies.trust(peer(text)), "{text}");
        }
        for text in ["127.0.0.2", "10.2.0.1", "::1", "2001:db9::1"] {
            assert!(!proxies.trust(peer(text)), "{text}");
        }
        assert!(!proxies.trust(None));
        let local = trusting(&["unix"]);
        assert!(local.trust(None) && !local.trust(peer("127.0.0.1")) && !local.is_empty());
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            "localhost",
            "10.0.0.0/33",
            "10.0.0",
            "10.0.0.0/",
            "unix:/run/x",
            "Unix",
            "*",
        ] {
            assert!(!TrustedProxies::default().add(text), "{text}");
        }
    }
}
