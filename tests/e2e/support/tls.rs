//! TLS as a client sees it: authorities, certificates, connections, and what was agreed on.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use destrier::sys::clock;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer,
    KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber,
};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption, WebPkiServerVerifier};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, HandshakeKind, RootCertStore,
    ServerConfig, SignatureScheme, StreamOwned, SupportedProtocolVersion,
};
use x509_cert::der::Encode as _;
use x509_cert::der::asn1::{BitString, GeneralizedTime, ObjectIdentifier, OctetString};
use x509_cert::serial_number::SerialNumber as SerialNumberOfX509;
use x509_cert::spki::AlgorithmIdentifierOwned;
use x509_ocsp::{
    BasicOcspResponse, CertId, CertStatus, OcspGeneralizedTime, OcspResponse, ResponderId,
    ResponseData, SingleResponse,
};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::PATIENCE;

/// Certifies servers and clients.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
}

/// A certificate with its key.
pub(crate) struct Pair {
    pub(crate) certificate: CertificateDer<'static>,
    key: KeyPair,
    serial: u64,
}

fn pem_of(tag: &str, der: &[u8]) -> String {
    pem::encode(&pem::Pem::new(tag, der))
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params
            .distinguished_name
            .push(DnType::CommonName, format!("test {}", fastrand::u32(..)));
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().der().clone();
        Self {
            issuer: Issuer::new(params, key),
            certificate,
        }
    }

    pub(crate) fn pem(&self) -> String {
        pem_of("CERTIFICATE", &self.certificate)
    }

    /// For these names, from now on for so long; negative: it has ended.
    pub(crate) fn certify_for(&self, names: &[&str], days: i64) -> Pair {
        let names = names.iter().map(|&name| name.to_owned());
        let mut params = CertificateParams::new(names.collect::<Vec<_>>()).unwrap();
        let day = Duration::from_hours(24);
        let now = std::time::UNIX_EPOCH + clock::unix();
        // A little longer, so that it is as many days a moment later.
        let end = day * u32::try_from(days.abs()).unwrap() + Duration::from_hours(1);
        params.not_before = (now - day * 100).into();
        params.not_after = if days < 0 { now - end } else { now + end }.into();
        self.sign(params)
    }

    pub(crate) fn certify(&self, names: &[&str]) -> Pair {
        self.certify_for(names, 90)
    }

    /// For a client with this common name and this URI.
    pub(crate) fn certify_client(&self, name: &str, uri: &str) -> Pair {
        self.certify_as(|params| make_client(params, name, uri))
    }

    /// The same, until then.
    pub(crate) fn certify_client_until(&self, name: &str, uri: &str, end: SystemTime) -> Pair {
        self.certify_as(|params| {
            make_client(params, name, uri);
            params.not_after = end.into();
        })
    }

    /// For `a.example`, or what `change` makes of that.
    pub(crate) fn certify_as(&self, change: impl FnOnce(&mut CertificateParams)) -> Pair {
        let mut params = CertificateParams::new(["a.example".to_owned()]).unwrap();
        change(&mut params);
        self.sign(params)
    }

    fn sign(&self, mut params: CertificateParams) -> Pair {
        let key = KeyPair::generate().unwrap();
        let serial = fastrand::u64(1..);
        params.serial_number = Some(SerialNumber::from(serial));
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Pair {
            certificate: certificate.der().clone(),
            key,
            serial,
        }
    }

    /// What it has revoked.
    pub(crate) fn revoke(&self, revoked: &[&Pair]) -> String {
        let now = std::time::UNIX_EPOCH + clock::unix();
        let day = Duration::from_hours(24);
        let entry = |pair: &&Pair| RevokedCertParams {
            serial_number: SerialNumber::from(pair.serial),
            revocation_time: (now - day).into(),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: (now - day).into(),
            next_update: (now + day).into(),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.iter().map(entry).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = list.signed_by(&self.issuer).unwrap();
        pem_of("X509 CRL", list.der())
    }

    /// A client that believes it, and shows nothing of itself.
    pub(crate) fn client(&self) -> Client {
        Client::new(self)
    }
}

fn make_client(params: &mut CertificateParams, name: &str, uri: &str) {
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let uri = SanType::URI(uri.to_owned().try_into().unwrap());
    params.subject_alt_names = vec![uri];
}

/// What a client shows, which can be changed while it keeps its sessions.
#[derive(Debug)]
pub(crate) struct Shown(Mutex<Arc<CertifiedKey>>);

impl Shown {
    pub(crate) fn new(pair: &Pair) -> Arc<Self> {
        Arc::new(Self(Mutex::new(pair.certified())))
    }

    pub(crate) fn change(&self, pair: &Pair) {
        *self.0.lock().unwrap() = pair.certified();
    }
}

impl ResolvesClientCert for Shown {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.lock().unwrap()))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl Pair {
    fn certified(&self) -> Arc<CertifiedKey> {
        let key = PrivatePkcs8KeyDer::from(self.key.serialize_der()).into();
        let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).unwrap();
        Arc::new(CertifiedKey::new(vec![self.certificate.clone()], key))
    }

    /// Of a server that shows it.
    pub(crate) fn server_config(&self) -> ServerConfig {
        let key = PrivatePkcs8KeyDer::from(self.key.serialize_der());
        ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![self.certificate.clone()], key.into())
            .unwrap()
    }

    /// What its authority says of it (RFC 6960) until so many days from now; nobody here looks at the signature.
    pub(crate) fn ocsp(&self, cert_status: CertStatus, days: i64) -> Vec<u8> {
        const SHA_256_WITH_ECDSA: &str = "1.2.840.10045.4.3.2";
        let day = Duration::from_hours(24);
        let time = |since_1970| {
            OcspGeneralizedTime(GeneralizedTime::from_unix_duration(since_1970).unwrap())
        };
        let now = clock::unix();
        let start = now.saturating_sub(day * 100);
        let end = start + day * u32::try_from(days + 100).unwrap();
        let algorithm = AlgorithmIdentifierOwned {
            oid: ObjectIdentifier::new_unwrap(SHA_256_WITH_ECDSA),
            parameters: None,
        };
        let hash = || OctetString::new(vec![0; 20]).unwrap();
        let (_, read) = X509Certificate::from_der(&self.certificate).unwrap();
        let answer = SingleResponse {
            cert_id: CertId {
                hash_algorithm: algorithm.clone(),
                issuer_name_hash: hash(),
                issuer_key_hash: hash(),
                serial_number: SerialNumberOfX509::new(read.raw_serial()).unwrap(),
            },
            cert_status,
            this_update: time(start),
            next_update: Some(time(end)),
            single_extensions: None,
        };
        let tbs_response_data = ResponseData {
            version: x509_ocsp::Version::V1,
            responder_id: ResponderId::ByKey(hash()),
            produced_at: time(now),
            responses: vec![answer],
            response_extensions: None,
        };
        let response = BasicOcspResponse {
            tbs_response_data,
            signature_algorithm: algorithm,
            signature: BitString::from_bytes(&[0]).unwrap(),
            certs: None,
        };
        let response = OcspResponse::successful(response).unwrap();
        response.to_der().unwrap()
    }

    pub(crate) fn certificate_pem(&self) -> String {
        pem_of("CERTIFICATE", &self.certificate)
    }

    pub(crate) fn key_pem(&self) -> String {
        pem_of("PRIVATE KEY", &self.key.serialize_der())
    }

    /// As `NAME.crt` and `NAME.key` in a folder.
    pub(crate) fn write(&self, folder: &Path, name: &str) {
        put(&folder.join(format!("{name}.crt")), self.certificate_pem());
        put(&folder.join(format!("{name}.key")), self.key_pem());
    }
}

/// Puts a file in the place of another one at once, readable by its owner only.
pub(crate) fn put(path: &Path, text: impl AsRef<[u8]>) {
    let new = path.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).unwrap();
    fs::rename(new, path).unwrap();
}

/// How a client connects.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) config: Arc<ClientConfig>,
    pub(crate) name: String,
    seen: Arc<Believer>,
}

impl PartialEq for Client {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.config, &other.config)
    }
}

impl Eq for Client {}

impl Client {
    fn new(authority: &Authority) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(authority.certificate.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
        let seen = Arc::new(Believer {
            verifier: verifier.build().unwrap(),
            ocsp: Mutex::default(),
        });
        let client = Self {
            config: Arc::new(config(
                &seen,
                &[&rustls::version::TLS13, &rustls::version::TLS12],
                None,
            )),
            name: "localhost".to_owned(),
            seen,
        };
        client.offering(&["http/1.1"])
    }

    pub(crate) fn named(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// With these names of protocols.
    pub(crate) fn offering(self, protocols: &[&str]) -> Self {
        let names = protocols.iter().map(|name| name.as_bytes().to_vec());
        let names = names.collect();
        self.change(|config| config.alpn_protocols = names)
    }

    /// Speaks this version only.
    pub(crate) fn speaking(self, version: &'static SupportedProtocolVersion) -> Self {
        let protocols = self.config.alpn_protocols.clone();
        let mut config = config(&self.seen, &[version], None);
        config.alpn_protocols = protocols;
        Self {
            config: Arc::new(config),
            ..self
        }
    }

    /// Shows this certificate.
    pub(crate) fn showing(self, pair: &Pair) -> Self {
        let versions = [&rustls::version::TLS13, &rustls::version::TLS12];
        let protocols = self.config.alpn_protocols.clone();
        let mut config = config(&self.seen, &versions, Some(pair));
        config.alpn_protocols = protocols;
        Self {
            config: Arc::new(config),
            ..self
        }
    }

    /// Shows what there is.
    pub(crate) fn showing_what(self, shown: &Arc<Shown>) -> Self {
        let shown = Arc::clone(shown);
        self.change(|config| config.client_auth_cert_resolver = shown)
    }

    /// Remembers no session.
    pub(crate) fn forgetful(self) -> Self {
        self.change(|config| config.resumption = Resumption::disabled())
    }

    fn change(mut self, change: impl FnOnce(&mut ClientConfig)) -> Self {
        let mut config = ClientConfig::clone(&self.config);
        change(&mut config);
        self.config = Arc::new(config);
        self
    }

    /// What was stapled to the last certificate.
    pub(crate) fn ocsp(&self) -> Vec<u8> {
        self.seen.ocsp.lock().unwrap().clone()
    }

    pub(crate) fn connect(&self, address: SocketAddr) -> io::Result<Secure> {
        self.over(TcpStream::connect(address)?)
    }

    /// Makes the handshake on a connection that is there already.
    pub(crate) fn over(&self, socket: TcpStream) -> io::Result<Secure> {
        socket.set_read_timeout(Some(PATIENCE))?;
        let name = ServerName::try_from(self.name.clone()).unwrap();
        let session = ClientConnection::new(Arc::clone(&self.config), name).unwrap();
        let mut stream = StreamOwned::new(session, socket);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(Secure(stream))
    }

    /// The answer to one request on a connection of its own, with its head.
    pub(crate) fn get(&self, address: SocketAddr, path: &str) -> io::Result<String> {
        self.connect(address)?.get(path)
    }
}

fn config(
    seen: &Arc<Believer>,
    versions: &[&'static SupportedProtocolVersion],
    pair: Option<&Pair>,
) -> ClientConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(seen) as Arc<dyn ServerCertVerifier>);
    match pair {
        Some(pair) => {
            let key = PrivatePkcs8KeyDer::from(pair.key.serialize_der());
            let chain = vec![pair.certificate.clone()];
            builder.with_client_auth_cert(chain, key.into()).unwrap()
        }
        None => builder.with_no_client_auth(),
    }
}

/// A connection after the handshake.
pub(crate) struct Secure(pub(crate) StreamOwned<ClientConnection, TcpStream>);

impl Secure {
    /// The answer to a request after which the server closes; an end without a farewell is an error.
    pub(crate) fn get(mut self, path: &str) -> io::Result<String> {
        self.send(&format!(
            "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
        ))?;
        self.rest()
    }

    pub(crate) fn send(&mut self, text: &str) -> io::Result<()> {
        self.0.write_all(text.as_bytes())?;
        self.0.flush()
    }

    /// Everything until the server says that it ends.
    pub(crate) fn rest(&mut self) -> io::Result<String> {
        let mut text = String::new();
        self.0.read_to_string(&mut text)?;
        Ok(text)
    }

    /// An answer that does not end the connection: up to this text.
    pub(crate) fn until(&mut self, end: &str) -> io::Result<String> {
        let mut bytes = Vec::new();
        while !bytes.ends_with(end.as_bytes()) {
            let mut byte = [0];
            self.0.read_exact(&mut byte)?;
            bytes.extend(byte);
        }
        Ok(String::from_utf8(bytes).unwrap())
    }

    pub(crate) fn was_resumed(&self) -> bool {
        self.0.conn.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    pub(crate) fn certificate(&self) -> CertificateDer<'static> {
        self.0.conn.peer_certificates().unwrap()[0]
            .clone()
            .into_owned()
    }
}

/// Believes an authority, and keeps what is stapled.
#[derive(Debug)]
struct Believer {
    verifier: Arc<WebPkiServerVerifier>,
    ocsp: Mutex<Vec<u8>>,
}

impl ServerCertVerifier for Believer {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        ocsp.clone_into(&mut self.ocsp.lock().unwrap());
        self.verifier
            .verify_server_cert(leaf, between, name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls12_signature(message, cert, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls13_signature(message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}
