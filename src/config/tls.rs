//! `[tls]` in force: which addresses speak TLS, as whom, and whom they want to know.

use std::path::{Path, PathBuf};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Bind;

/// `[tls]`: addresses that speak TLS (RFC 8446, RFC 5246), and with what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// The addresses, at least one. They are among those of `server.bind` in force, after the plain ones.
    pub bind: Vec<Bind>,
    /// At least one: a client is shown the first that has the name it asked for, else the first of all.
    pub certificates: Vec<TlsCertificate>,
    /// The oldest version that is spoken.
    pub min_version: TlsVersion,
    /// Whose certificates are asked for and accepted; absent: clients are not asked for any.
    pub client_auth: Option<ClientAuth>,
    /// From the connection until the handshake is done.
    pub handshake_timeout: Duration,
}

/// One certificate that the server shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsCertificate {
    /// The certificate and those between it and its root, in PEM.
    pub certificate_file: PathBuf,
    /// Its private key, in PEM.
    pub key_file: PathBuf,
    /// An OCSP response that says it is not revoked (RFC 6066 section 8), in DER.
    pub ocsp_file: Option<PathBuf>,
}

impl TlsCertificate {
    pub(super) fn files(&self) -> Vec<&Path> {
        let files = [Some(&self.certificate_file), Some(&self.key_file)];
        let files = files.into_iter().chain([self.ocsp_file.as_ref()]);
        files.flatten().map(PathBuf::as_path).collect()
    }
}

/// Whose certificates are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientAuth {
    /// Whether a client without one is refused.
    pub is_required: bool,
    /// The authorities that they may come from, in PEM.
    pub ca_file: PathBuf,
    /// What those authorities have revoked (RFC 5280 section 5), in PEM.
    pub crl_file: Option<PathBuf>,
}

impl ClientAuth {
    pub(super) fn files(&self) -> Vec<&Path> {
        let files = [Some(&self.ca_file), self.crl_file.as_ref()];
        files.into_iter().flatten().map(PathBuf::as_path).collect()
    }
}

/// `tls.min_version`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[expect(missing_docs, reason = "the versions' own names")]
pub enum TlsVersion {
    #[default]
    #[serde(rename = "1.2")]
    V1_2,
    #[serde(rename = "1.3")]
    V1_3,
}

/// `tls.client_auth`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ClientAuthMode {
    /// Clients are not asked for a certificate.
    #[default]
    None,
    /// They are asked; one that shows none is served all the same.
    Optional,
    /// Who shows none is refused.
    Require,
}
