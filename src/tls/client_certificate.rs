//! The certificate of a client as rules and applications see it.

use std::fmt;
use std::sync::Arc;

use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::identity::address;

/// The certificate with which the client of a TLS connection has proved who it is: it comes from an authority of
/// `tls.client_ca_file`, is not revoked, and the client has its key. An application gets it as an extension of the request.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientCertificate(Arc<Parts>);

#[derive(PartialEq, Eq)]
struct Parts {
    der: Vec<u8>,
    subject: String,
    names: Vec<String>,
}

impl ClientCertificate {
    /// Reads a certificate that was verified; none where it cannot be read.
    pub(crate) fn read(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let names = certificate.subject_alternative_name().ok()?;
        let names = names.iter().flat_map(|names| &names.value.general_names);
        Some(Self(Arc::new(Parts {
            der: der.to_vec(),
            subject: certificate.subject().to_string(),
            names: names.filter_map(name).collect(),
        })))
    }

    /// The certificate itself (RFC 5280), in DER.
    pub fn der(&self) -> &[u8] {
        &self.0.der
    }

    /// Its subject, as in `C=NL, O=Example, CN=robot 7`.
    pub fn subject(&self) -> &str {
        &self.0.subject
    }

    /// Its alternative names (RFC 5280 section 4.2.1.6), each after its kind: `DNS:robot.example`, `IP:192.0.2.7`,
    /// `URI:spiffe://example/robot`, `email:robot@example.com`. Other kinds are left out.
    pub fn names(&self) -> &[String] {
        &self.0.names
    }
}

impl fmt::Debug for ClientCertificate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ClientCertificate")
            .field("subject", &self.0.subject)
            .field("names", &self.0.names)
            .finish_non_exhaustive()
    }
}

fn name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(host) => Some(format!("DNS:{}", host.to_ascii_lowercase())),
        GeneralName::IPAddress(bytes) => address(bytes).map(|address| format!("IP:{address}")),
        GeneralName::URI(uri) => Some(format!("URI:{uri}")),
        GeneralName::RFC822Name(address) => Some(format!("email:{address}")),
        GeneralName::OtherName(..)
        | GeneralName::X400Address(_)
        | GeneralName::DirectoryName(_)
        | GeneralName::EDIPartyName(_)
        | GeneralName::RegisteredID(_)
        | GeneralName::Invalid(..) => None,
    }
}
