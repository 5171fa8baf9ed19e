//! The certificate of a client as rules and applications see it.

use std::fmt;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use x509_cert::der::Decode as _;
use x509_cert::name::Name;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::bundle::armoured_certificate;
use super::identity::address;

/// The certificate with which the client of a TLS connection has proved who it is: it comes from an authority of
/// `tls.client_ca_file`, is not revoked, and the client has its key. An application gets it as an extension of the request.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientCertificate(Arc<Parts>);

#[derive(PartialEq, Eq)]
struct Parts {
    der: Vec<u8>,
    /// Those between it and its authority, as its client has shown them.
    between: Vec<Vec<u8>>,
    subject: String,
    names: Vec<String>,
}

impl ClientCertificate {
    /// Reads a certificate that was verified, shown with those `between` it and its authority; none where it cannot be read.
    pub(crate) fn read(der: &[u8], between: &[CertificateDer<'_>]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let names = certificate.subject_alternative_name().ok()?;
        let names = names.iter().flat_map(|names| &names.value.general_names);
        Some(Self(Arc::new(Parts {
            der: der.to_vec(),
            between: between.iter().map(|it| it.to_vec()).collect(),
            subject: written(certificate.subject().as_raw())?,
            names: names.filter_map(name).collect(),
        })))
    }

    /// The certificate itself (RFC 5280), in DER.
    pub fn der(&self) -> &[u8] {
        &self.0.der
    }

    /// It, and those between it and its authority as far as the client has shown them, each in PEM (RFC 7468).
    pub fn pem_chain(&self) -> impl Iterator<Item = String> {
        let between = self.0.between.iter().map(Vec::as_slice);
        let all = std::iter::once(self.der()).chain(between);
        all.map(armoured_certificate)
    }

    /// Its subject as RFC 4514 writes it, the last part first: `CN=robot 7,O=Example\\, Ltd.,C=NL`. Two subjects that differ are written
    /// differently, and control characters of ASCII are not written out.
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

/// A distinguished name in DER as text (RFC 4514); none where it cannot be read.
fn written(name: &[u8]) -> Option<String> {
    Some(Name::from_der(name).ok()?.to_string())
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
