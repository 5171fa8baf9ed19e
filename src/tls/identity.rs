//! A certificate with its key: who the server is to clients that ask for one of its names.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use pem::Pem;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer,
};
use rustls::sign::CertifiedKey;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::bundle::{self, CERTIFICATE, OCSP_RESPONSE};
use super::warnings::{self, Stapled};

/// A certificate that ends within this time is warned of: 30 days.
pub const EXPIRES_SOON: Duration = Duration::from_hours(30 * 24);

/// A certificate with its chain, its key and what is stapled to it.
#[derive(Debug, Clone)]
pub struct Identity {
    pub(super) certified: Arc<CertifiedKey>,
    names: Vec<String>,
    validity: Validity,
    stapled: Option<Arc<Stapled>>,
}

/// From when to when a certificate is valid, in seconds since 1970, both included (RFC 5280 section 4.1.2.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// The first second.
    pub start: i64,
    /// The last one.
    pub end: i64,
}

impl Validity {
    pub(super) fn of(certificate: &X509Certificate<'_>) -> Self {
        let validity = certificate.validity();
        Self {
            start: validity.not_before.timestamp(),
            end: validity.not_after.timestamp(),
        }
    }

    /// What is wrong with it at `now`, in seconds since 1970, or will be soon.
    pub fn problem(self, now: i64) -> Option<String> {
        let day = 24 * 3600;
        let soon = i64::try_from(EXPIRES_SOON.as_secs()).unwrap_or(i64::MAX);
        if now > self.end {
            let ago = (now - self.end) / day;
            Some(format!("EXPIRED {}: clients refuse it", days(ago, "ago")))
        } else if now < self.start {
            Some("is not valid yet: clients refuse it".to_owned())
        } else if self.end - now < soon {
            let left = (self.end - now) / day;
            Some(format!("expires in {}", days(left, "").trim_end()))
        } else {
            None
        }
    }
}

fn days(count: i64, rest: &str) -> String {
    match count {
        0 => format!("less than a day {rest}"),
        1 => format!("1 day {rest}"),
        _ => format!("{count} days {rest}"),
    }
}

impl Identity {
    /// Reads a certificate, those between it and its root, its private key, and an OCSP response where there is one: the blocks of
    /// a [`bundle`](super::bundle()).
    ///
    /// # Errors
    /// They do not belong together, or one of them is no good; fit for a log, holds nothing of the key.
    pub fn read(text: &[u8]) -> Result<Self, String> {
        let blocks = bundle::blocks(text)?;
        let of = |tag: &str| {
            let found = blocks.iter().filter(|block| block.tag() == tag);
            found
                .map(|block| block.contents().to_vec())
                .collect::<Vec<_>>()
        };
        let chain: Vec<CertificateDer<'static>> =
            of(CERTIFICATE).into_iter().map(Into::into).collect();
        let leaf = chain
            .first()
            .ok_or("no certificate is in it, as `-----BEGIN CERTIFICATE-----`")?;
        let (names, validity) = read_leaf(leaf)?;
        for (number, certificate) in (2..).zip(chain.iter().skip(1)) {
            parse(certificate)
                .map_err(|error| format!("certificate {number} of the chain: {error}"))?;
        }
        let key = any_supported_type(&private_key(&blocks)?)
            .map_err(|_| "the key cannot be used: RSA from 2048 bits, P-256, P-384, P-521 and Ed25519 are known")?;
        let mut certified = CertifiedKey::new(chain, key);
        if certified.keys_match().is_err() {
            return Err(stranger(&certified));
        }
        certified.ocsp = of(OCSP_RESPONSE).into_iter().next();
        let stapled = certified.ocsp.as_deref().map(warnings::read_ocsp);
        Ok(Self {
            certified: Arc::new(certified),
            names,
            validity,
            stapled: stapled.transpose()?.map(Arc::new),
        })
    }

    /// What clients may refuse it for at `now`, in seconds since 1970, or will soon; each to follow what it is called.
    pub fn problems(&self, now: i64) -> Vec<String> {
        let mut problems: Vec<_> = self.validity.problem(now).into_iter().collect();
        let has_names = !self.names.is_empty();
        let stapled = self.stapled.as_deref();
        problems.extend(warnings::of(&self.certified.cert, has_names, stapled, now));
        problems
    }

    /// The names that it is for (RFC 5280 section 4.2.1.6): hosts, among which `*.example.com` is every host one level below,
    /// and addresses.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// When it is valid.
    pub fn validity(&self) -> Validity {
        self.validity
    }
}

/// Why the key of a certificate is not its own.
fn stranger(certified: &CertifiedKey) -> String {
    let is_of = |certificate: &CertificateDer<'static>| {
        let other = CertifiedKey::new(vec![certificate.clone()], Arc::clone(&certified.key));
        other.keys_match().is_ok()
    };
    let place = certified.cert.iter().position(is_of);
    match place.map(|place| place + 1) {
        None => "the key is not the one of the certificate".to_owned(),
        Some(number) => format!(
            "the key is not the one of the first certificate in the file, but of number {number}: the server's own comes first, then those that have signed it"
        ),
    }
}

/// The private key among the blocks, of which there must be one.
fn private_key(blocks: &[Pem]) -> Result<PrivateKeyDer<'static>, String> {
    let mut keys = blocks.iter().filter_map(|block| {
        let der = || block.contents().to_vec();
        match block.tag() {
            "PRIVATE KEY" => Some(Ok(PrivatePkcs8KeyDer::from(der()).into())),
            "RSA PRIVATE KEY" => Some(Ok(PrivatePkcs1KeyDer::from(der()).into())),
            "EC PRIVATE KEY" => Some(Ok(PrivateSec1KeyDer::from(der()).into())),
            "ENCRYPTED PRIVATE KEY" => Some(Err(
                "the key is encrypted; write it without a passphrase, with `openssl pkey -in KEY -out KEY.plain`",
            )),
            _ => None,
        }
    });
    match (keys.next(), keys.next()) {
        (Some(key), None) => Ok(key?),
        (None, _) => Err("no private key is in it, as `-----BEGIN PRIVATE KEY-----`".to_owned()),
        (Some(_), Some(_)) => Err("more than one private key is in it".to_owned()),
    }
}

pub(super) fn parse<'a>(der: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, String> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        Ok(_) => Err("it is no certificate: something follows it".to_owned()),
        Err(error) => Err(format!("it is no certificate: {error}")),
    }
}

fn read_leaf(der: &CertificateDer<'_>) -> Result<(Vec<String>, Validity), String> {
    let leaf = parse(der)?;
    let validity = Validity::of(&leaf);
    let names = leaf
        .subject_alternative_name()
        .map_err(|error| format!("the names of the certificate cannot be read: {error}"))?;
    let names = names.iter().flat_map(|names| &names.value.general_names);
    let names = names.filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        GeneralName::IPAddress(bytes) => address(bytes).map(|address| address.to_string()),
        GeneralName::RFC822Name(_)
        | GeneralName::URI(_)
        | GeneralName::OtherName(..)
        | GeneralName::X400Address(_)
        | GeneralName::DirectoryName(_)
        | GeneralName::EDIPartyName(_)
        | GeneralName::RegisteredID(_)
        | GeneralName::Invalid(..) => None,
    });
    Ok((names.collect(), validity))
}

/// An address as certificates have it: 4 or 16 bytes.
pub(super) fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from))
        .ok()
}
