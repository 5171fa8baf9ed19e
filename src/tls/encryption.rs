//! What a handshake has agreed on, as logs and applications see it.

use rustls::{CipherSuite, ProtocolVersion};

/// How a connection is encrypted. An application gets it as an extension of a request that came on such a connection; absent where it did
/// not, though a proxy may have spoken TLS with the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encryption {
    version: ProtocolVersion,
    cipher_suite: CipherSuite,
}

impl Encryption {
    pub(crate) fn new(version: ProtocolVersion, cipher_suite: CipherSuite) -> Self {
        Self {
            version,
            cipher_suite,
        }
    }

    /// The version of TLS as it is written, of those that are spoken: `1.2`, `1.3`.
    pub fn version(self) -> Option<&'static str> {
        let spoken = [
            (ProtocolVersion::TLSv1_2, "1.2"),
            (ProtocolVersion::TLSv1_3, "1.3"),
        ];
        let mut spoken = spoken.into_iter();
        spoken.find_map(|(version, name)| (version == self.version).then_some(name))
    }

    /// Its number in messages (RFC 8446 section 4.2.1): 0x0303 is TLS 1.2, 0x0304 is TLS 1.3.
    pub fn version_number(self) -> u16 {
        self.version.into()
    }

    /// The number of the cipher suite (RFC 8446 appendix B.4): 0x1301 is `TLS_AES_128_GCM_SHA256`.
    pub fn cipher_suite(self) -> u16 {
        self.cipher_suite.into()
    }
}
