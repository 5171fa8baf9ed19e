//! Certificates: who is believed to be the server.

use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tempfile::TempDir;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;

use super::super::client::Limits;
use super::super::source::Source;
use super::server::{Server, ok};
use super::{KEY, content, fetch, problem, set};

/// An authority, and its certificate in a file.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    folder: TempDir,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let pem = pem::encode(&pem::Pem::new("CERTIFICATE", certificate.der().to_vec()));
        std::fs::write(folder.path().join("ca.pem"), pem).unwrap();
        Self {
            issuer: Issuer::new(params, key),
            folder,
        }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// What a server of this name shows.
    fn certify(&self, name: &str) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
            )
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }
}

async fn server(tls: TlsAcceptor) -> Server {
    Server::start_with(Some(tls), |_, _| ok(&set(&[KEY]))).await
}

fn source(server: &Server, ca_file: Option<PathBuf>) -> Source {
    let mut fetch = fetch(&format!("https://localhost:{}/", server.address.port()));
    fetch.ca_file = ca_file;
    Source::new(fetch, Limits::default(), None)
}

#[tokio::test]
async fn a_server_is_believed_with_a_certificate_of_the_authorities_that_were_named() {
    let (authority, other) = (Authority::new(), Authority::new());
    let server = server(authority.certify("localhost")).await;
    content(source(&server, Some(authority.file())).attempt().await);
    for ca_file in [None, Some(other.file())] {
        let problem = problem(source(&server, ca_file).attempt().await);
        assert!(problem.contains("certificate"), "{problem}");
    }
    assert_eq!(server.asked().len(), 1);
}

#[tokio::test]
async fn a_certificate_of_another_name_is_refused() {
    let authority = Authority::new();
    let server = server(authority.certify("other.example")).await;
    let problem = problem(source(&server, Some(authority.file())).attempt().await);
    assert!(problem.contains("not valid for name"), "{problem}");
    assert!(server.asked().is_empty());
}

#[tokio::test]
async fn authorities_that_cannot_be_read_are_told_and_read_anew_at_the_next_attempt() {
    let authority = Authority::new();
    let server = server(authority.certify("localhost")).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    let mut source = source(&server, Some(file.clone()));
    assert!(problem(source.attempt().await).contains("cannot read `ca_file` `"));
    std::fs::write(&file, "no certificate").unwrap();
    assert!(problem(source.attempt().await).contains("holds no certificate in PEM"));
    std::fs::copy(Authority::new().file(), &file).unwrap();
    assert!(problem(source.attempt().await).contains("certificate"));
    std::fs::copy(authority.file(), &file).unwrap();
    content(source.attempt().await);
}
