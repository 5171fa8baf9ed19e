//! The connection that a request came on, as the pipeline and the application know it.

use std::net::SocketAddr;
use std::sync::Arc;

use http::Extensions;
use http::uri::Scheme;

use super::activity::Activity;
use crate::app::Client;
use crate::tls::{ClientCertificate, Encryption};

/// The connection that a request came on.
#[derive(Debug, Clone)]
pub struct Origin {
    /// Whose connection it is: of the one whom its PROXY header names, else of the peer, who is at the other end of the socket. Nobody
    /// has an address on a Unix socket.
    pub source: Option<SocketAddr>,
    /// Whether that is a proxy of `server.trusted_proxies`, whose word on its clients counts.
    pub is_proxy: bool,
    /// What the connection is doing.
    pub activity: Arc<Activity>,
    /// Whether it is encrypted, here or where a PROXY header came from, so that the scheme of what it asks for is `https`.
    pub is_https: bool,
    /// How, where it is encrypted here.
    pub encryption: Option<Encryption>,
    /// The certificate that its client has shown.
    pub certificate: Option<ClientCertificate>,
}

impl Origin {
    /// Whose requests come on it, unless a proxy says of one that it is somebody else's.
    pub(super) fn client(&self) -> Client {
        Client::at(self.source, self.is_https)
    }

    /// Tells the application how the request of `client` came: whose it is, by which scheme, how encrypted, and what certificate the
    /// connection's client has shown; unless that is a proxy, which has its own connection with the client.
    pub(super) fn describe_in(&self, extensions: &mut Extensions, client: Client) {
        extensions.insert(client);
        if client.is_https {
            extensions.insert(Scheme::HTTPS);
        }
        if self.is_proxy {
            return;
        }
        if let Some(encryption) = self.encryption {
            extensions.insert(encryption);
        }
        if let Some(certificate) = &self.certificate {
            extensions.insert(certificate.clone());
        }
    }
}
