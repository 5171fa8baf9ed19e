//! Whose certificates clients may show: authorities, and what they have revoked.

use std::sync::Arc;

use ::aws_lc_rs::digest::{SHA256, digest};
use pem::Pem;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme};
use x509_parser::prelude::FromDer as _;
use x509_parser::revocation_list::CertificateRevocationList;
use x509_parser::x509::X509Version;

use super::bundle::{self, CERTIFICATE, CLIENT_LIST};
use super::identity::{Validity, parse};
use super::session_end;

/// The authorities that certificates of clients may come from.
#[derive(Debug, Clone)]
pub struct Clients {
    verifier: Arc<dyn ClientCertVerifier>,
    is_required: bool,
    digest: [u8; 32],
    /// The numbers of those, from 1 on, that are no authorities.
    issued: Vec<usize>,
    /// When the first of the lists ends, in seconds since 1970.
    lists_end: Option<i64>,
}

impl Clients {
    /// Reads authorities and the lists of what they have revoked: the blocks of a [`bundle`](super::bundle()).
    ///
    /// # Errors
    /// One of them is no good; fit for a log.
    pub fn read(text: &[u8], is_required: bool) -> Result<Self, String> {
        let blocks = bundle::blocks(text)?;
        let roots = roots(&blocks)?;
        let mut lists = Vec::new();
        let mut ends = Vec::new();
        for block in blocks.iter().filter(|block| block.tag() == CLIENT_LIST) {
            let der = block.contents();
            ends.extend(end_of_list(der)?);
            lists.push(der.to_vec().into());
        }
        // With lists, every certificate below its root must be known to one that has not expired: who is not known not to be
        // revoked is refused, as OpenSSL does.
        let builder =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), super::provider())
                .with_crls(lists)
                .enforce_revocation_expiration();
        let verifier = if is_required {
            builder.build()
        } else {
            builder.allow_unauthenticated().build()
        };
        Ok(Self {
            verifier: Arc::new(Noting(verifier.map_err(|error| error.to_string())?)),
            is_required,
            issued: issued(&blocks),
            digest: digest(&SHA256, text)
                .as_ref()
                .try_into()
                .unwrap_or_default(),
            lists_end: ends.into_iter().min(),
        })
    }

    /// Whether a client without a certificate is refused.
    pub fn is_required(&self) -> bool {
        self.is_required
    }

    /// What is wrong with the authorities, and with the lists at `now`, in seconds since 1970.
    pub fn problems(&self, now: i64) -> Vec<String> {
        let issued = self.issued.iter().map(|number| format!("certificate {number} of the file is not an authority's, but one that an authority has issued: clients whose certificates come from that one are refused unless it is there too"));
        let has_ended = self.lists_end.is_some_and(|end| end < now);
        let ended = has_ended.then(|| "the revocation list has expired: every certificate of a client is refused until there is a newer one".to_owned());
        issued.chain(ended).collect()
    }

    /// Tells whether they are still the same.
    pub(super) fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// Judges certificates of clients.
    pub(super) fn verifier(&self) -> Arc<dyn ClientCertVerifier> {
        Arc::clone(&self.verifier)
    }
}

/// Judges as another one does, and notes until when what it accepts is good.
#[derive(Debug)]
struct Noting(Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for Noting {
    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.0.verify_client_cert(leaf, between, now)?;
        let chain = std::iter::once(leaf).chain(between);
        let ends = chain.filter_map(end_of);
        // One that has ended was shown for nothing: it is not on the way to the authority.
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        if let Some(end) = ends.filter(|end| *end >= now).min() {
            session_end::note(end);
        }
        Ok(verified)
    }

    fn offer_client_auth(&self) -> bool {
        self.0.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.0.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// The numbers of those that cannot have issued any (RFC 5280 section 4.2.1.9). One that has signed itself vouches for itself, and those of
/// version 1 do not tell.
fn issued(blocks: &[Pem]) -> Vec<usize> {
    let is_issued = |der: &CertificateDer<'_>| {
        parse(der).is_ok_and(|certificate| {
            certificate.version == X509Version::V3
                && !certificate.is_ca()
                && certificate.issuer() != certificate.subject()
        })
    };
    let numbered = (1..).zip(certificates(blocks));
    let issued = numbered.filter(|(_, der)| is_issued(der));
    issued.map(|(number, _)| number).collect()
}

/// When a certificate in DER ends, in seconds since 1970.
fn end_of(certificate: &CertificateDer<'_>) -> Option<i64> {
    let certificate = parse(certificate).ok()?;
    Some(Validity::of(&certificate).end)
}

/// When a revocation list in DER ends, where it says so, in seconds since 1970.
///
/// # Errors
/// It is none by which clients can be judged; fit for a log.
pub fn end_of_list(der: &[u8]) -> Result<Option<i64>, String> {
    let (_, list) = CertificateRevocationList::from_der(der)
        .map_err(|error| format!("the revocation list cannot be read: {error}"))?;
    // The verifier would say that it cannot be parsed, and such a list is what `openssl ca` makes by default.
    if list.version().is_none() {
        let message = "the revocation list is of version 1, and only those of version 2 are read (RFC 5280 section 5.1.2.1): `openssl ca` makes them with `crlnumber` in its configuration";
        return Err(message.to_owned());
    }
    Ok(list.next_update().map(|end| end.timestamp()))
}

/// Authorities that certificates may come from, each tried: the certificates of a text of PEM.
///
/// # Errors
/// There are none, or one is no good; fit for a log.
pub fn authorities(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let blocks = bundle::blocks(text)?;
    roots(&blocks)?;
    let found = certificates(&blocks);
    Ok(found.map(CertificateDer::into_owned).collect())
}

fn certificates(blocks: &[Pem]) -> impl Iterator<Item = CertificateDer<'_>> {
    let blocks = blocks.iter().filter(|block| block.tag() == CERTIFICATE);
    blocks.map(|block| CertificateDer::from(block.contents()))
}

fn roots(blocks: &[Pem]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(blocks) {
        let number = roots.len() + 1;
        roots
            .add(certificate)
            .map_err(|error| format!("authority {number} cannot be used: {error}"))?;
    }
    if roots.is_empty() {
        return Err("no authority is in it, as `-----BEGIN CERTIFICATE-----`".to_owned());
    }
    Ok(roots)
}
