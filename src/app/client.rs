//! Whose request it is, as an application is told.

use std::fmt;
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

    /// For a log: the address, with the port where it is known.
    pub(crate) fn shown(self) -> Option<impl fmt::Display> {
        self.address.map(|address| Shown(address, self.port))
    }
}

struct Shown(IpAddr, Option<u16>);

impl fmt::Display for Shown {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self(address, Some(port)) => SocketAddr::new(address, port).fmt(formatter),
            Self(address, None) => address.fmt(formatter),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Client;

    #[test]
    fn a_client_is_shown_with_its_port_where_that_is_known() {
        let shown = |client: Client| client.shown().map(|shown| shown.to_string());
        let of = |text: &str| Client::at(text.parse().ok(), false);
        let client = of("[::ffff:192.0.2.1]:80");
        assert_eq!(shown(client).unwrap(), "192.0.2.1:80");
        let portless = Client {
            port: None,
            ..of("[2001:db8::1]:80")
        };
        assert_eq!(shown(portless).unwrap(), "2001:db8::1");
        assert_eq!(shown(Client::at(None, false)), None);
    }
}
