//! `[tls]` as it is written.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::HOUR;
use crate::config::notation::{OneOrMany, Period, Text};
use crate::config::{ClientAuthMode, TlsVersion};

/// Addresses that speak TLS, and with which certificates.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, expecting = "a table")]
#[schemars(deny_unknown_fields)]
pub(in crate::config) struct Tls {
    /// Addresses that speak TLS, written as those of `server.bind`. Where that is not set, nothing is served without TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "OneOrMany<Text>")]
    pub bind: Option<OneOrMany<Text>>,
    /// The certificate and those between it and its root, in PEM. It is watched.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Text")]
    pub certificate_file: Option<Text>,
    /// Its private key, in PEM. It is watched.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Text")]
    pub key_file: Option<Text>,
    /// An OCSP response for it, in DER, which is shown with it. It is watched.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Text")]
    pub ocsp_file: Option<Text>,
    /// The oldest version that is spoken, `1.2` or `1.3`.
    pub min_version: TlsVersion,
    /// Whether clients are asked for a certificate: `none`, `optional`, or `require`, which refuses those that have none. Not set:
    /// `none`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "ClientAuthMode")]
    pub client_auth: Option<ClientAuthMode>,
    /// The authorities that their certificates may come from, in PEM. It is watched.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Text")]
    pub client_ca_file: Option<Text>,
    /// What these authorities have revoked, in PEM: a list of each. It is watched.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Text")]
    pub client_crl_file: Option<Text>,
    /// How long a handshake may take.
    pub handshake_timeout: Period<1, HOUR>,
    /// More certificates: a client is shown the one that has the name it asks for.
    pub certificate: Vec<Certificate>,
}

impl Tls {
    /// The addresses, where there are any.
    pub(in crate::config) fn addresses(&self) -> &[Text] {
        self.bind.as_ref().map_or(&[], |bind| &bind.0)
    }
}

impl Default for Tls {
    fn default() -> Self {
        Self {
            bind: None,
            certificate_file: None,
            key_file: None,
            ocsp_file: None,
            min_version: TlsVersion::default(),
            client_auth: None,
            client_ca_file: None,
            client_crl_file: None,
            handshake_timeout: Period(Duration::from_secs(10)),
            certificate: Vec::new(),
        }
    }
}

/// One more certificate.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, expecting = "a table")]
#[schemars(deny_unknown_fields)]
#[expect(
    clippy::struct_field_names,
    reason = "the keys are named as those of the first certificate"
)]
pub(in crate::config) struct Certificate {
    /// The certificate and those between it and its root, in PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Text")]
    pub certificate_file: Option<Text>,
    /// Its private key, in PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Text")]
    pub key_file: Option<Text>,
    /// An OCSP response for it, in DER.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Text")]
    pub ocsp_file: Option<Text>,
}
