//! TLS (RFC 8446, RFC 5246): with which certificates, keys and tickets the workers of a generation speak it, and whose
//! certificates they accept. Files, sockets and time-outs are for others.

mod bundle;
mod chooser;
mod client_certificate;
mod clients;
mod encryption;
mod identity;
mod session_end;
mod tickets;
mod warnings;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{ServerConfig, SupportedProtocolVersion, version};

pub use bundle::{CLIENT_LIST, OCSP_RESPONSE, bundle};
pub(crate) use bundle::{armoured_certificate, armoured_key};
use chooser::Chooser;
pub use client_certificate::ClientCertificate;
pub use clients::{Clients, authorities, end_of_list};
pub use encryption::Encryption;
pub use identity::{EXPIRES_SOON, Identity, Validity};
pub use session_end::Noted;
pub use tickets::TicketSecret;
use tickets::Tickets;

use crate::config::{self, TlsVersion};

/// What a connection speaks after the handshake (RFC 7301).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

impl Protocol {
    /// What there is, the best first, by the names of ALPN.
    const ALL: [(Self, &'static [u8]); 2] = [(Self::Http2, b"h2"), (Self::Http1, b"http/1.1")];

    /// What was agreed on; a client that names nothing is served HTTP/1.1.
    pub fn of(agreed: Option<&[u8]>) -> Self {
        let mut all = Self::ALL.iter();
        let found = all.find(|(_, name)| Some(*name) == agreed);
        found.map_or(Self::Http1, |(protocol, _)| *protocol)
    }

    /// The names that clients are offered.
    fn offered(speaks_http2: bool) -> Vec<Vec<u8>> {
        let all = Self::ALL.iter();
        let offered = all.filter(|(protocol, _)| speaks_http2 || *protocol != Self::Http2);
        offered.map(|(_, name)| name.to_vec()).collect()
    }
}

/// What the workers of a generation need for TLS. It is made before they are forked, so that a session that one of them has
/// begun goes on with any other.
#[derive(Debug)]
pub struct Tls {
    settings: Settings,
    tickets: Tickets,
    parts: Mutex<Parts>,
    /// Made of `parts`: what the next handshake is made with.
    server: ArcSwap<ServerConfig>,
}

/// What stays as it is.
#[derive(Debug, Clone, Copy)]
struct Settings {
    min_version: TlsVersion,
    speaks_http2: bool,
}

/// What is replaced while the generation is in force.
#[derive(Debug, Clone)]
struct Parts {
    identities: Vec<Identity>,
    clients: Option<Clients>,
}

/// Why TLS cannot be spoken with what there is; fit for a log.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// There is no certificate at this place of the configuration.
    #[error("there is no such certificate")]
    NoPlace,
    /// The library does not take it.
    #[error("{0}")]
    Library(#[from] rustls::Error),
    /// The system has no random numbers.
    #[error("no random numbers: {0}")]
    Random(#[from] getrandom::Error),
    /// What came cannot be read.
    #[error("{0}")]
    Unreadable(String),
}

impl Tls {
    /// With the certificates of `config`, in its order, and those who may show theirs; clients are offered HTTP/2 or not. Without
    /// `tickets` a secret is made for them.
    ///
    /// # Errors
    /// The library does not take them together.
    pub fn new(
        config: &config::Tls,
        identities: Vec<Identity>,
        clients: Option<Clients>,
        speaks_http2: bool,
        tickets: Option<TicketSecret>,
    ) -> Result<Self, TlsError> {
        let settings = Settings {
            min_version: config.min_version,
            speaks_http2,
        };
        let parts = Parts {
            identities,
            clients,
        };
        let tickets = tickets.map_or_else(Tickets::new, |secret| Ok(Tickets::of(secret)))?;
        let server = server_config(settings, &parts, &tickets)?;
        Ok(Self {
            settings,
            tickets,
            parts: Mutex::new(parts),
            server: ArcSwap::from_pointee(server),
        })
    }

    /// What another process needs to go on with the sessions that begin here.
    pub fn ticket_secret(&self) -> TicketSecret {
        self.tickets.secret()
    }

    /// What a handshake is made with now.
    pub fn server_config(&self) -> Arc<ServerConfig> {
        self.server.load_full()
    }

    /// Has new handshakes use another certificate at this place of the configuration; connections go on as they are.
    ///
    /// # Errors
    /// It cannot be used, and nothing has changed.
    pub fn renew_certificate(&self, place: usize, bundle: &[u8]) -> Result<(), TlsError> {
        let identity = Identity::read(bundle).map_err(TlsError::Unreadable)?;
        self.renew(|parts| {
            let known = parts.identities.get_mut(place).ok_or(TlsError::NoPlace)?;
            *known = identity;
            Ok(())
        })
    }

    /// Has new handshakes accept the certificates of these authorities. No session that began before is resumed.
    ///
    /// # Errors
    /// They cannot be used, and nothing has changed.
    pub fn renew_clients(&self, bundle: &[u8]) -> Result<(), TlsError> {
        let is_required = self.parts().clients.as_ref().map(Clients::is_required);
        let is_required = is_required.ok_or(TlsError::NoPlace)?;
        let clients = Clients::read(bundle, is_required).map_err(TlsError::Unreadable)?;
        self.renew(|parts| {
            parts.clients = Some(clients);
            Ok(())
        })
    }

    /// Whether the certificate of a client whose session was resumed would still be accepted: it was judged when the session
    /// began.
    pub fn still_accepts(&self, chain: &[CertificateDer<'_>]) -> bool {
        let Some((leaf, between)) = chain.split_first() else {
            return true;
        };
        let verifier = self.parts().clients.as_ref().map(Clients::verifier);
        let judged = verifier.map(|it| it.verify_client_cert(leaf, between, UnixTime::now()));
        judged.is_some_and(|judged| judged.is_ok())
    }

    /// Makes what the first handshake of a process would wait for: aws-lc gathers entropy for some 50 ms.
    pub fn warm_up() {
        // Where there are no random numbers the handshakes will tell.
        let _none = provider().secure_random.fill(&mut [0]);
    }

    fn renew(
        &self,
        change: impl FnOnce(&mut Parts) -> Result<(), TlsError>,
    ) -> Result<(), TlsError> {
        let mut parts = self.parts();
        let mut changed = parts.clone();
        change(&mut changed)?;
        let server = server_config(self.settings, &changed, &self.tickets)?;
        *parts = changed;
        self.server.store(Arc::new(server));
        Ok(())
    }

    fn parts(&self) -> MutexGuard<'_, Parts> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// AEAD with forward secrecy, no renegotiation, no compression, no early data: the library has nothing else, or leaves it off.
fn server_config(
    settings: Settings,
    parts: &Parts,
    tickets: &Tickets,
) -> Result<ServerConfig, TlsError> {
    const FROM_1_2: &[&SupportedProtocolVersion] = &[&version::TLS13, &version::TLS12];
    const FROM_1_3: &[&SupportedProtocolVersion] = &[&version::TLS13];
    let versions = match settings.min_version {
        TlsVersion::V1_2 => FROM_1_2,
        TlsVersion::V1_3 => FROM_1_3,
    };
    let verifier = parts.clients.as_ref().map(Clients::verifier);
    let verifier = verifier.unwrap_or_else(WebPkiClientVerifier::no_client_auth);
    // A session in which a client was accepted must not be resumed when another list of authorities is in force.
    let context = parts.clients.as_ref().map(Clients::digest);
    let chooser = Chooser::new(&parts.identities);
    let mut server = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(chooser));
    server.alpn_protocols = Protocol::offered(settings.speaks_http2);
    server.ticketer = tickets.in_context(context);
    // A session without a ticket would be known to one worker only.
    server.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(server)
}
