//! What clients may refuse in a certificate that a server can use.

use rustls::pki_types::CertificateDer;
use x509_cert::der::Decode as _;
use x509_ocsp::{BasicOcspResponse, CertStatus, OcspResponse, OcspResponseStatus, SingleResponse};
use x509_parser::oid_registry::Oid;
use x509_parser::prelude::X509Certificate;

use super::identity::parse;

/// TLS features (RFC 7633), of which the only one that is in use is that an OCSP response must be stapled.
const TLS_FEATURE: &[u64] = &[1, 3, 6, 1, 5, 5, 7, 1, 24];

/// What was stapled to a certificate; none: the library cannot read it, which clients may.
pub(super) type Stapled = Option<BasicOcspResponse>;

/// Reads an OCSP response (RFC 6960 section 4.2.1) and sees whether it says anything.
///
/// # Errors
/// It is none, or says nothing; fit for a log.
pub(super) fn read_ocsp(der: &[u8]) -> Result<Stapled, String> {
    const NONE: &str = "the OCSP response is none; `openssl ocsp -respout` writes one, in DER";
    let response = OcspResponse::from_der(der).map_err(|_| NONE)?;
    if response.response_status != OcspResponseStatus::Successful {
        let status = response.response_status as u8;
        return Err(format!(
            "the OCSP response says nothing: its status is {status}"
        ));
    }
    let bytes = response.response_bytes.ok_or(NONE)?;
    Ok(BasicOcspResponse::from_der(bytes.response.as_bytes()).ok())
}

/// What is wrong with a chain, the certificate of the server first, and with what is stapled to it, at `now` in seconds since 1970; each to
/// follow what the certificate is called.
pub(super) fn of(
    chain: &[CertificateDer<'_>],
    has_names: bool,
    stapled: Option<&Stapled>,
    now: i64,
) -> Vec<String> {
    let read: Vec<_> = chain.iter().filter_map(|der| parse(der).ok()).collect();
    let Some(leaf) = read.first() else {
        return Vec::new();
    };
    let mut found = Vec::new();
    if !has_names {
        let message = "is for no name: clients look for theirs among the alternative names only (RFC 9525 section 6.3)";
        found.push(message.to_owned());
    }
    if !is_for_servers(leaf) {
        let message = "is not for servers by its extended key usage (RFC 5280 section 4.2.1.12): clients refuse it";
        found.push(message.to_owned());
    }
    found.extend(out_of_order(&read));
    match stapled {
        None if demands_ocsp(leaf) => {
            let message = "demands an OCSP response (RFC 7633), and `ocsp_file` names none: clients refuse it";
            found.push(message.to_owned());
        }
        None => {}
        Some(None) => {
            found
                .push("has an OCSP response that cannot be read: clients may refuse it".to_owned());
        }
        Some(Some(response)) => {
            let is_about = |answer: &&SingleResponse| {
                answer.cert_id.serial_number.as_bytes() == leaf.raw_serial()
            };
            let mut answers = response.tbs_response_data.responses.iter();
            let problem = stapled_problem(answers.find(is_about), now);
            found.extend(problem.map(str::to_owned));
        }
    }
    found
}

fn is_for_servers(leaf: &X509Certificate<'_>) -> bool {
    let usage = leaf.extended_key_usage().ok().flatten();
    usage.is_none_or(|usage| usage.value.server_auth || usage.value.any)
}

fn demands_ocsp(leaf: &X509Certificate<'_>) -> bool {
    let feature = Oid::from(TLS_FEATURE);
    feature.is_ok_and(|feature| leaf.get_extension_unique(&feature).ok().flatten().is_some())
}

/// Each certificate of a chain has signed the one before it (RFC 5246 section 7.4.2).
fn out_of_order(chain: &[X509Certificate<'_>]) -> Option<String> {
    let mut pairs = (2..).zip(chain.iter().zip(chain.iter().skip(1)));
    let (number, _) = pairs.find(|(_, (signed, signer))| signed.issuer() != signer.subject())?;
    let before = number - 1;
    Some(format!(
        "is followed by a chain that is out of order: certificate {number} of its file has not signed certificate {before}, so clients may not find the way to an authority that they know"
    ))
}

fn stapled_problem(answer: Option<&SingleResponse>, now: i64) -> Option<&'static str> {
    let Some(answer) = answer else {
        return Some("has an OCSP response that is about another certificate: clients refuse it");
    };
    let end = answer.next_update.map(|end| end.0.to_unix_duration());
    let has_ended = end.is_some_and(|end| i64::try_from(end.as_secs()).is_ok_and(|end| end < now));
    match answer.cert_status {
        CertStatus::Revoked(_) => Some("is REVOKED, as its OCSP response says: clients refuse it"),
        CertStatus::Unknown(_) => {
            Some("is unknown to its authority, as its OCSP response says: clients refuse it")
        }
        CertStatus::Good(_) if has_ended => {
            Some("has an OCSP response that has expired: clients may refuse it")
        }
        CertStatus::Good(_) => None,
    }
}
