//! Whose request it is, as an application is told.

use std::net::{IpAddr, SocketAddr};

/// Whose request it is: an extension of each request. Where a proxy of `server.trusted_proxies` has named its client that is who is
/// meant, not the proxy (docs/proxies.md).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Client {
    /// Its address, one of version 4 never written as one of version 6; nobody has one on a Unix socket.
    pub address: Option<IpAddr>,
    /// Its port; proxies seldom tell it.
    pub port: Option<u16>,
    /// Whether it asked by `https`.
    pub is_https: bool,
}

impl Client {
    /// Who is at `address`.
    pub(crate) fn at(address: Option<SocketAddr>, is_https: bool) -> Self {
        Self {
            address: address.map(|address| address.ip().to_canonical()),
            port: address.map(|address| address.port()),
            is_https,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Client;

    #[test]
    fn an_address_of_version_4_is_written_as_one() {
        let client = Client::at("[::ffff:192.0.2.1]:80".parse().ok(), false);
        assert_eq!(client.address, "192.0.2.1".parse().ok());
        assert_eq!(Client::at(None, false).port, None);
    }
}
