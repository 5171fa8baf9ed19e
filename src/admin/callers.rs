//! Who may give orders: on a Unix socket root and the user of the master, as on the control socket; over TCP whoever shows a token with
//! the scopes of `admin.control_scopes`. And never a page of somebody else, which a browser may have loaded.

use std::sync::Arc;

use axum::extract::Request;
use axum::http::header::{HOST, ORIGIN};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, StatusCode};

use super::access;
use crate::auth::{Guard, Verdict};
use crate::sys::socket::PeerCredentials;

/// The field that an order must have. A page of another origin cannot send it without asking first (CORS), and nobody answers that here.
pub(super) const FIELD: &str = "x-destrier-order";

/// Who is at the other end: of a Unix socket, as the kernel says; of TCP nobody knows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub(super) Option<PeerCredentials>);

/// By what an address judges who may give orders on it.
#[derive(Debug)]
pub(super) enum Door {
    /// A Unix socket, with the user of the master.
    Unix(u32),
    /// TCP, with what judges tokens; absent: nobody may.
    Tcp(Option<Arc<Guard>>),
}

/// Why somebody may not, or why an order is none.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) status: u16,
    /// For programs.
    pub(super) code: &'static str,
    /// For people.
    pub(super) detail: String,
    /// What token to bring.
    pub(super) challenge: Option<HeaderValue>,
}

impl Refused {
    pub(super) fn new(status: u16, code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status,
            code,
            detail: detail.into(),
            challenge: None,
        }
    }
}

impl Door {
    /// Who it is that may give orders, in words.
    ///
    /// # Errors
    /// It may not.
    pub(super) fn admit(&self, peer: Peer, request: &Request) -> Result<String, Refused> {
        judge_site(request.headers())?;
        match self {
            Self::Unix(owner) => {
                judge_host(request.headers())?;
                judge_peer(peer, *owner)
            }
            Self::Tcp(None) => {
                let detail = "no orders are taken over TCP: `admin.control_scopes` is not set";
                Err(Refused::new(403, "orders_off", detail))
            }
            Self::Tcp(Some(guard)) => judge_token(guard, request),
        }
    }

    /// As [`Self::admit`], for the order itself.
    ///
    /// # Errors
    /// As there, or it might be a page of somebody else that gives it.
    pub(super) fn admit_order(&self, peer: Peer, request: &Request) -> Result<String, Refused> {
        let mut values = request.headers().get_all(FIELD).iter();
        if values.next().is_none_or(|value| value != "1") || values.next().is_some() {
            let detail = "an order must have the header field `X-Destrier-Order: 1`";
            return Err(Refused::new(403, "field_missing", detail));
        }
        self.admit(peer, request)
    }
}

/// What browsers say of where a request comes from (Fetch Metadata Request Headers; RFC 6454 section 7). Others say nothing.
fn judge_site(fields: &HeaderMap) -> Result<(), Refused> {
    let cross_site = || {
        let detail = "an order of a page of another origin is refused";
        Err(Refused::new(403, "cross_site", detail))
    };
    for site in fields.get_all("sec-fetch-site") {
        if site != "same-origin" && site != "none" {
            return cross_site();
        }
    }
    let host = fields.get(HOST).and_then(|host| host.to_str().ok());
    for origin in fields.get_all(ORIGIN) {
        let origin = origin.to_str().ok();
        let origin = origin.and_then(|origin| Some(origin.split_once("://")?.1));
        if origin.is_none() || origin != host {
            return cross_site();
        }
    }
    Ok(())
}

/// A name that its owner points at this machine makes a page of his one of the same origin (DNS rebinding). No name is needed where a
/// socket of this machine is asked; an address and `localhost` are nobody's.
fn judge_host(fields: &HeaderMap) -> Result<(), Refused> {
    let mut hosts = fields.get_all(HOST).iter();
    let host = hosts.next().filter(|_| hosts.next().is_none());
    let authority = host.and_then(|host| host.to_str().ok()?.parse::<Authority>().ok());
    let is_nobodys = authority.is_some_and(|authority| {
        let host = authority.host();
        let address = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host);
        let name = host.to_ascii_lowercase();
        address.parse::<std::net::IpAddr>().is_ok()
            || name == "localhost"
            || name.ends_with(".localhost")
    });
    if is_nobodys {
        return Ok(());
    }
    let detail = "an order on a Unix socket must have an address or `localhost` as its Host";
    Err(Refused::new(403, "foreign_host", detail))
}

fn judge_peer(peer: Peer, owner: u32) -> Result<String, Refused> {
    match peer.0 {
        Some(peer) if peer.is_root_or(owner) => {
            Ok(format!("uid {}, process {}", peer.uid, peer.pid))
        }
        Some(peer) => {
            let uid = peer.uid;
            let detail = format!(
                "orders are for root and the user of the master (uid {owner}), and this is uid {uid}"
            );
            Err(Refused::new(403, "wrong_user", detail))
        }
        None => {
            let detail = "the kernel does not say who this is";
            Err(Refused::new(403, "wrong_user", detail))
        }
    }
}

fn judge_token(guard: &Guard, request: &Request) -> Result<String, Refused> {
    match access::verdict(guard, request) {
        Verdict::Pass(passed) => {
            let subject = passed.claims.as_ref().and_then(|claims| claims.subject());
            Ok(subject.map_or_else(
                || "a token without a subject".to_owned(),
                |subject| format!("a token of `{}`", subject.escape_debug()),
            ))
        }
        Verdict::Refuse(refusal) => {
            let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::FORBIDDEN);
            let challenge = refusal.challenge.as_deref().map(HeaderValue::from_str);
            Err(Refused {
                status: status.as_u16(),
                code: refusal.code,
                detail: refusal.detail.to_owned(),
                challenge: challenge.and_then(Result::ok),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    const OWNER: u32 = 1000;

    fn request(fields: &[(&str, &str)]) -> Request {
        let request = Request::post("/control/reload");
        let request = fields.iter().fold(request, |request, (name, value)| {
            request.header(*name, *value)
        });
        request.body(Body::empty()).expect("a request")
    }

    fn by(uid: u32) -> Peer {
        Peer(Some(PeerCredentials { pid: 7, uid }))
    }

    fn code(peer: Peer, fields: &[(&str, &str)]) -> &'static str {
        let door = Door::Unix(OWNER);
        let admitted = door.admit_order(peer, &request(fields));
        admitted.map_or_else(|refused| refused.code, |_| "admitted")
    }

    #[test]
    fn on_a_unix_socket_root_and_the_masters_user_may() {
        let fields = [(FIELD, "1"), ("host", "localhost")];
        assert_eq!(code(by(0), &fields), "admitted");
        assert_eq!(code(by(OWNER), &fields), "admitted");
        assert_eq!(code(by(65534), &fields), "wrong_user");
        assert_eq!(code(Peer(None), &fields), "wrong_user");
    }

    #[test]
    fn an_order_has_its_field_once() {
        assert_eq!(code(by(0), &[("host", "localhost")]), "field_missing");
        let twice = [(FIELD, "1"), (FIELD, "1"), ("host", "localhost")];
        assert_eq!(code(by(0), &twice), "field_missing");
        let other = [(FIELD, "0"), ("host", "localhost")];
        assert_eq!(code(by(0), &other), "field_missing");
    }

    #[test]
    fn no_page_of_another_origin_may() {
        for (site, expected) in [
            ("same-origin", "admitted"),
            ("none", "admitted"),
            ("same-site", "cross_site"),
            ("cross-site", "cross_site"),
            ("", "cross_site"),
        ] {
            let fields = [
                (FIELD, "1"),
                ("host", "localhost:9"),
                ("sec-fetch-site", site),
            ];
            assert_eq!(code(by(0), &fields), expected, "{site}");
        }
        for (origin, expected) in [
            ("http://localhost:9", "admitted"),
            ("http://localhost:8", "cross_site"),
            ("https://evil.example", "cross_site"),
            ("null", "cross_site"),
        ] {
            let fields = [(FIELD, "1"), ("host", "localhost:9"), ("origin", origin)];
            assert_eq!(code(by(0), &fields), expected, "{origin}");
        }
    }

    #[test]
    fn no_name_that_somebody_owns_is_this_machine() {
        for (host, expected) in [
            ("localhost", "admitted"),
            ("LOCALHOST:9090", "admitted"),
            ("web.localhost:9090", "admitted"),
            ("127.0.0.1:9090", "admitted"),
            ("[::1]:9090", "admitted"),
            ("evil.example:9090", "foreign_host"),
            ("localhost.evil.example", "foreign_host"),
            ("localhost@evil.example", "foreign_host"),
            ("", "foreign_host"),
        ] {
            assert_eq!(
                code(by(0), &[(FIELD, "1"), ("host", host)]),
                expected,
                "{host}"
            );
        }
        assert_eq!(code(by(0), &[(FIELD, "1")]), "foreign_host");
    }

    #[test]
    fn over_tcp_nobody_may_where_no_scopes_are_set() {
        let refused = Door::Tcp(None)
            .admit_order(Peer(None), &request(&[(FIELD, "1"), ("host", "web1")]))
            .expect_err("refused");
        assert_eq!((refused.status, refused.code), (403, "orders_off"));
        assert!(refused.detail.contains("admin.control_scopes"));
    }
}
