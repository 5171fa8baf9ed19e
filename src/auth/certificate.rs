//! The certificates of a PEM file (RFC 5280): a key is taken from one, and its dates are told, for nothing else heeds them.

use pem::Pem;
use simple_asn1::ASN1Block;

use super::UnixTime;

/// From when to when a certificate is valid, in seconds since 1970, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Validity {
    start: i64,
    end: i64,
}

impl Validity {
    /// What is wrong with it now.
    pub(super) fn problem(self, UnixTime(now): UnixTime) -> Option<&'static str> {
        let now = i64::try_from(now).unwrap_or(i64::MAX);
        if now < self.start {
            Some("the certificate is not valid yet; its key is used all the same")
        } else if now > self.end {
            Some("the certificate has expired; its key is used all the same")
        } else {
            None
        }
    }
}

/// Whether it is a certificate, in one of the names that OpenSSL gives it.
pub(super) fn is_certificate(block: &Pem) -> bool {
    block.tag().ends_with("CERTIFICATE")
}

/// The dates of a certificate (RFC 5280 section 4.1.2.5): of the fields of `TBSCertificate` the one that is two times.
pub(super) fn validity(certificate: &Pem) -> Option<Validity> {
    let blocks = simple_asn1::from_der(certificate.contents()).ok()?;
    let signed = sequence(blocks.first()?)?;
    let fields = sequence(signed.first()?)?;
    fields.iter().find_map(|field| match sequence(field)? {
        [start, end] => Some(Validity {
            start: time(start)?,
            end: time(end)?,
        }),
        _ => None,
    })
}

fn sequence(block: &ASN1Block) -> Option<&[ASN1Block]> {
    if let ASN1Block::Sequence(_, items) = block {
        Some(items)
    } else {
        None
    }
}

fn time(block: &ASN1Block) -> Option<i64> {
    if let ASN1Block::UTCTime(_, time) | ASN1Block::GeneralizedTime(_, time) = block {
        Some(time.assume_utc().unix_timestamp())
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dates_of_a_certificate_are_read() {
        let pem = pem::parse(include_bytes!("fixtures/p256.crt")).unwrap();
        let validity = validity(&pem).unwrap();
        let at = |time: i64| validity.problem(UnixTime(time.unsigned_abs()));
        assert!(at(validity.start - 1).unwrap().contains("not valid yet"));
        assert_eq!((at(validity.start), at(validity.end)), (None, None));
        assert!(at(validity.end + 1).unwrap().contains("has expired"));
    }

    #[test]
    fn what_is_no_certificate_has_no_dates() {
        for der in [&b""[..], b"\x30\x00", b"\x30\x02\x30\x00", b"x"] {
            assert_eq!(validity(&Pem::new("CERTIFICATE", der)), None);
        }
    }
}
