//! The connection that a request came on, as the pipeline and the application know it.

use std::net::SocketAddr;
use std::sync::Arc;

use http::Extensions;
use http::uri::Scheme;

use super::activity::Activity;
use crate::tls::ClientCertificate;

/// The connection that a request came on.
#[derive(Debug, Clone)]
pub struct Origin {
    /// Who is at the other end; nobody has an address on a Unix socket.
    pub peer: Option<SocketAddr>,
    /// What the connection is doing.
    pub activity: Arc<Activity>,
    /// Whether it is encrypted, so that the scheme of what it asks for is `https`.
    pub is_https: bool,
    /// The version of TLS, where it is encrypted.
    pub tls: Option<&'static str>,
    /// The certificate that its client has shown.
    pub certificate: Option<ClientCertificate>,
}

impl Origin {
    /// Tells the application how the request came: that the connection is encrypted, and whose it is, unless that is a proxy.
    pub(super) fn describe_in(&self, extensions: &mut Extensions, is_proxied: bool) {
        if self.is_https {
            extensions.insert(Scheme::HTTPS);
        }
        if let Some(certificate) = self.certificate.as_ref().filter(|_| !is_proxied) {
            extensions.insert(certificate.clone());
        }
    }
}
