//! The certificate of a client whose TLS connection ends at a proxy, which passes it on in a field (RFC 9440).

use std::borrow::Cow;

use http::{HeaderMap, HeaderValue};
use percent_encoding::percent_decode;
use sfv::{BareItem, Item, Parser};

use super::{Origin, forged};
use crate::auth::Refusal;
use crate::config::{ClientCertFormat, Config, Rule};
use crate::refusal_class::RefusalClass;
use crate::tls::ClientCertificate;

/// Whose word on the client's certificate counts, and how it is written.
#[derive(Debug, Clone)]
pub struct ClientCertificates {
    /// In lower case.
    field: String,
    format: ClientCertFormat,
    /// Whether a token or a rule may ask for certificates; else nobody wants to know.
    wanted: bool,
    /// Whether a rule may ask for their names.
    names_wanted: bool,
}

/// The certificate of a client.
#[derive(Debug)]
pub(super) struct Presented<'a> {
    pub(super) der: Cow<'a, [u8]>,
    /// Its alternative names, where they are wanted.
    pub(super) names: Cow<'a, [String]>,
}

/// What a proxy that is trusted says, and nobody can understand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum Misunderstood {
    #[error("a trusted proxy has sent more than one field with a client's certificate")]
    Several,
    #[error(
        "the client's certificate that a trusted proxy has sent is not written as `auth.client_cert_format` says"
    )]
    Format,
}

impl From<Misunderstood> for Refusal {
    fn from(misunderstood: Misunderstood) -> Self {
        Self {
            status: 400,
            challenge: None,
            detail: "The client certificate cannot be read.",
            code: "invalid_request",
            class: RefusalClass::Request,
            reason: misunderstood.to_string(),
        }
    }
}

impl ClientCertificates {
    /// As the configuration says.
    pub fn new(config: &Config) -> Self {
        Self {
            field: config.auth.client_cert_header.clone(),
            format: config.auth.client_cert_format,
            wanted: config.auth.wants_client_certs(),
            names_wanted: config.auth.rules.iter().any(asks_for_names),
        }
    }

    /// What a proxy has passed on. One that cannot be read further has no names.
    fn shown(&self, der: Vec<u8>) -> Presented<'static> {
        let read = self
            .names_wanted
            .then(|| ClientCertificate::read(&der, &[]));
        let names = read.flatten().map(|read| read.names().to_vec());
        Presented {
            der: Cow::Owned(der),
            names: Cow::Owned(names.unwrap_or_default()),
        }
    }

    /// The certificate in DER: where the peer is a proxy that may say so the one that it passes on, for that of its connection is
    /// its own; else the one that the connection's client has shown. Fields of anybody else that speak of a certificate are
    /// removed (RFC 9440 section 4): an application could take them for the proxy's word.
    pub(super) fn take<'a>(
        &self,
        fields: &mut HeaderMap,
        origin: &'a Origin,
    ) -> Result<Option<Presented<'a>>, Refusal> {
        if !origin.is_proxy {
            let reserved = [&*self.field, "client-cert", "client-cert-chain"];
            forged::remove(fields, |name| {
                reserved.iter().any(|other| forged::is_same(name, other))
            });
            let own = origin.certificate.as_ref();
            return Ok(own.map(|own| Presented {
                der: Cow::Borrowed(own.der()),
                names: Cow::Borrowed(own.names()),
            }));
        }
        if !self.wanted {
            return Ok(None);
        }
        let mut values = fields.get_all(self.field.as_str()).iter();
        match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some(_), Some(_)) => Err(Misunderstood::Several.into()),
            // A client without a certificate: nginx then has nothing to write.
            (Some(value), None) if value.as_bytes().trim_ascii().is_empty() => Ok(None),
            (Some(value), None) => {
                let certificate = read(value, self.format);
                certificate
                    .map(|der| Some(self.shown(der)))
                    .ok_or_else(|| Misunderstood::Format.into())
            }
        }
    }
}

fn asks_for_names(rule: &Rule) -> bool {
    let needed = rule.client_cert.as_ref();
    needed.is_some_and(|needed| !needed.names.is_empty())
}

fn read(value: &HeaderValue, format: ClientCertFormat) -> Option<Vec<u8>> {
    match format {
        // Parameters may follow; none has a meaning yet (section 2.2).
        ClientCertFormat::Rfc9440 => {
            let item: Item = Parser::new(value.as_bytes()).parse().ok()?;
            if let BareItem::ByteSequence(der) = item.bare_item {
                Some(der).filter(|der| !der.is_empty())
            } else {
                None
            }
        }
        ClientCertFormat::Nginx => {
            let text: Vec<u8> = percent_decode(value.as_bytes()).collect();
            let blocks = pem::parse_many(text).ok()?;
            match blocks.as_slice() {
                [block] if block.tag() == "CERTIFICATE" => Some(block.contents().to_vec()),
                _ => None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::sync::Arc;

    use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
    use proptest::prelude::*;

    use http::HeaderName;

    use super::*;

    const PEM: &str = include_str!("../auth/fixtures/p256.crt");
    const PROXY: &str = "127.0.0.1";

    fn certificates(format: ClientCertFormat, field: &str) -> ClientCertificates {
        ClientCertificates {
            field: field.to_owned(),
            format,
            wanted: true,
            names_wanted: true,
        }
    }

    fn fields(pairs: &[(&str, &str)]) -> HeaderMap {
        let pairs = pairs.iter().map(|(name, value)| {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            (name, HeaderValue::from_str(value).unwrap())
        });
        let mut fields = HeaderMap::new();
        for (name, value) in pairs {
            fields.append(name, value);
        }
        fields
    }

    /// Who says so; nobody has an address on a Unix socket.
    fn take_of(
        certificates: &ClientCertificates,
        fields: &mut HeaderMap,
        peer: Option<&str>,
    ) -> Result<Option<Vec<u8>>, Refusal> {
        let origin = Origin {
            source: peer.map(|peer| (peer.parse::<IpAddr>().unwrap(), 1).into()),
            is_proxy: peer == Some(PROXY),
            activity: Arc::default(),
            is_https: false,
            encryption: None,
            certificate: None,
        };
        let taken = certificates.take(fields, &origin);
        taken.map(|certificate| certificate.map(|it| it.der.into_owned()))
    }

    #[test]
    fn a_byte_sequence_is_read_and_nothing_else() {
        let certificates = certificates(ClientCertFormat::Rfc9440, "client-cert");
        let take = |value| {
            take_of(
                &certificates,
                &mut fields(&[("Client-Cert", value)]),
                Some(PROXY),
            )
        };
        assert_eq!(take(":AQID:"), Ok(Some(vec![1, 2, 3])));
        assert_eq!(take(":AQID:;x=1"), Ok(Some(vec![1, 2, 3])));
        assert_eq!(take(""), Ok(None));
        for value in [
            "AQID",
            ":AQID",
            "\"AQID\"",
            ":A*:",
            "::",
            ":AQID:, :AQID:",
            "1",
        ] {
            assert_eq!(take(value).unwrap_err().status, 400, "{value}");
        }
    }

    #[test]
    fn the_escaped_pem_of_nginx_is_read() {
        let certificates = certificates(ClientCertFormat::Nginx, "x-ssl-client-cert");
        let take = |value: &str| {
            take_of(
                &certificates,
                &mut fields(&[("X-SSL-Client-Cert", value)]),
                Some(PROXY),
            )
        };
        let escaped = percent_encode(PEM.as_bytes(), NON_ALPHANUMERIC).to_string();
        let der = pem::parse(PEM).unwrap().into_contents();
        assert_eq!(take(&escaped), Ok(Some(der)));
        for value in [
            ":AQID:",
            "x",
            &escaped.repeat(2),
            &escaped.replace("CERTIFICATE", "PUBLIC%20KEY"),
        ] {
            assert_eq!(take(value).unwrap_err().status, 400, "{value}");
        }
    }

    #[test]
    fn two_fields_of_a_proxy_are_refused() {
        let certificates = certificates(ClientCertFormat::Rfc9440, "client-cert");
        let mut twice = fields(&[("Client-Cert", ":AQID:"), ("Client-Cert", ":AQID:")]);
        assert!(take_of(&certificates, &mut twice, Some(PROXY)).is_err());
    }

    #[test]
    fn what_a_peer_says_that_is_not_trusted_is_removed_however_it_is_spelled() {
        let certificates = certificates(ClientCertFormat::Rfc9440, "x-ssl-client-cert");
        let all = [
            ("Client-Cert", ":AQID:"),
            ("client_cert", ":AQID:"),
            ("Client-Cert-Chain", ":AQID:"),
            ("X-SSL-Client-Cert", "x"),
            ("x_ssl_client-cert", "x"),
            ("Client-Certificate", "kept"),
        ];
        for untrusted in [Some("127.0.0.2"), None] {
            let mut fields = fields(&all);
            assert_eq!(take_of(&certificates, &mut fields, untrusted), Ok(None));
            let left: Vec<_> = fields.keys().map(HeaderName::as_str).collect();
            assert_eq!(left, ["client-certificate"]);
        }
        let mut fields = fields(&all);
        assert!(
            take_of(&certificates, &mut fields, Some(PROXY)).is_err(),
            "it is looked at"
        );
        assert_eq!(fields.len(), all.len());
    }

    #[test]
    fn where_nobody_wants_a_certificate_none_is_read() {
        let certificates = ClientCertificates {
            wanted: false,
            ..certificates(ClientCertFormat::Rfc9440, "client-cert")
        };
        let mut rubbish = fields(&[("Client-Cert", "rubbish")]);
        assert_eq!(take_of(&certificates, &mut rubbish, Some(PROXY)), Ok(None));
        assert_eq!(rubbish.len(), 1);
    }

    proptest! {
        #[test]
        fn no_value_makes_it_panic(value in "[ -~]{0,60}") {
            let value = HeaderValue::from_str(&value).unwrap();
            let _read = (read(&value, ClientCertFormat::Rfc9440), read(&value, ClientCertFormat::Nginx));
        }
    }
}
