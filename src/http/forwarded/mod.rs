//! What the proxies in front say of a request: whose it is and how it came. From anybody else such fields are removed.

mod chain;

use http::{HeaderMap, HeaderName, HeaderValue};

use self::chain::Chain;
use super::{Origin, forged};
use crate::app::Client;
use crate::config::{Config, ForwardedFields, TrustedProxies};
use crate::scoreboard::RequestId;

const FORWARDED: &str = "forwarded";
const FOR: &str = "x-forwarded-for";
const PROTO: &str = "x-forwarded-proto";
const HOST: &str = "x-forwarded-host";
const PORT: &str = "x-forwarded-port";
const REAL_IP: &str = "x-real-ip";
const REQUEST_ID: &str = "x-request-id";

/// Whose word on its clients counts, and in which fields it stands.
#[derive(Debug, Clone)]
pub struct Forwarding {
    proxies: TrustedProxies,
    fields: ForwardedFields,
}

impl Forwarding {
    /// As the configuration says.
    pub fn new(config: &Config) -> Self {
        Self {
            proxies: config.server.trusted_proxies.clone(),
            fields: config.server.forwarded,
        }
    }

    /// Whose request it is that came on the connection `origin`, and what it is called. Afterwards the application sees nothing in
    /// these fields that is not true: of a direct client nothing at all.
    pub(super) fn take(
        &self,
        fields: &mut HeaderMap,
        origin: &Origin,
        id: RequestId,
    ) -> (Client, RequestId) {
        let direct = origin.client();
        if !origin.is_proxy {
            forged::remove(fields, |name| is_of_proxy(name) || is_request_id(name));
            return (direct, id);
        }
        (self.client(fields, direct), named(fields, id))
    }

    fn client(&self, fields: &mut HeaderMap, direct: Client) -> Client {
        let chain = match self.fields {
            ForwardedFields::XForwarded => {
                chain::of_x_forwarded(all(fields, FOR), all(fields, REAL_IP), all(fields, PROTO))
            }
            ForwardedFields::Forwarded => chain::of_forwarded(all(fields, FORWARDED)),
            ForwardedFields::None => {
                forged::remove(fields, is_of_proxy);
                return direct;
            }
        };
        let chain = chain.walk(direct, &self.proxies);
        // The application takes these for the address that its client knows, which the proxy alone can tell.
        let kept = [HOST, PORT].map(|name| {
            let value = single(fields, name);
            value.filter(|_| self.fields == ForwardedFields::XForwarded)
        });
        let shows_real_ip =
            self.fields == ForwardedFields::XForwarded && fields.contains_key(REAL_IP);
        forged::remove(fields, is_of_proxy);
        for (name, value) in [HOST, PORT].into_iter().zip(kept) {
            put(fields, name, value);
        }
        chain_fields(fields, &chain, shows_real_ip);
        if self.fields == ForwardedFields::Forwarded {
            put(fields, FORWARDED, text(chain.forwarded()));
        }
        chain.client
    }
}

/// What applications know of old.
fn chain_fields(fields: &mut HeaderMap, chain: &Chain, shows_real_ip: bool) {
    if let Some(addresses) = chain.addresses() {
        put(fields, FOR, text(addresses));
    }
    let address = chain.client.address.filter(|_| shows_real_ip);
    put(fields, REAL_IP, address.and_then(|it| text(it.to_string())));
    let scheme = if chain.client.is_https {
        "https"
    } else {
        "http"
    };
    put(fields, PROTO, Some(HeaderValue::from_static(scheme)));
}

/// The id that the proxy has given the request, where it has given one; else ours. What is no id is removed.
fn named(fields: &mut HeaderMap, id: RequestId) -> RequestId {
    let given = single(fields, REQUEST_ID);
    let named = given.as_ref().and_then(|it| id.called(it.as_bytes()));
    if let Some(named) = named {
        forged::remove(fields, |name| name != REQUEST_ID && is_request_id(name));
        return named;
    }
    forged::remove(fields, is_request_id);
    id
}

fn all<'a>(fields: &'a HeaderMap, name: &str) -> impl DoubleEndedIterator<Item = &'a HeaderValue> {
    fields.get_all(name).iter()
}

/// The value of a field that is there once.
fn single(fields: &HeaderMap, name: &str) -> Option<HeaderValue> {
    let mut values = all(fields, name);
    let value = values.next()?;
    values.next().is_none().then(|| value.clone())
}

fn put(fields: &mut HeaderMap, name: &'static str, value: Option<HeaderValue>) {
    if let Some(value) = value {
        fields.insert(HeaderName::from_static(name), value);
    }
}

/// Addresses are always a value.
fn text(text: String) -> Option<HeaderValue> {
    HeaderValue::try_from(text).ok()
}

/// Whether a field is one of these, however a gateway would read its name. The first letter tells of almost every field that it is
/// none.
fn is_of_proxy(name: &str) -> bool {
    match name.as_bytes().first() {
        Some(b'x') => forged::begins(name, "x-forwarded") || forged::is_same(name, REAL_IP),
        Some(b'f') => forged::is_same(name, FORWARDED),
        _ => false,
    }
}

fn is_request_id(name: &str) -> bool {
    name.starts_with('x') && forged::is_same(name, REQUEST_ID)
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::sync::Arc;

    use super::*;

    const ID: RequestId = RequestId::new(1, 2);

    fn forwarding(fields: ForwardedFields) -> Forwarding {
        Forwarding {
            proxies: TrustedProxies::of(&["10.0.0.0/8", "fd00::/8", "unix"]).unwrap(),
            fields,
        }
    }

    /// Whose it is, and what is left of the fields, in order of their names.
    fn taken(
        mode: ForwardedFields,
        peer: Option<&str>,
        sent: &[(&str, &str)],
    ) -> (Client, Vec<(String, String)>) {
        let mut fields = HeaderMap::new();
        for (name, value) in sent {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            fields.append(name, HeaderValue::from_str(value).unwrap());
        }
        let forwarding = forwarding(mode);
        let address: Option<IpAddr> = peer.map(|peer| peer.parse().unwrap());
        let origin = Origin {
            source: address.map(|address| (address, 1).into()),
            is_proxy: forwarding.proxies.trust(address),
            activity: Arc::default(),
            is_https: false,
            certificate: None,
            encryption: None,
        };
        let (client, _) = forwarding.take(&mut fields, &origin, ID);
        let mut left: Vec<_> = fields
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
            .collect();
        left.sort();
        (client, left)
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    const ALL: &[(&str, &str)] = &[
        ("Forwarded", "for=192.0.2.9;proto=https"),
        ("X-Forwarded-For", "192.0.2.8"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "a.example"),
        ("X-Forwarded-Port", "443"),
        ("X-Forwarded-Prefix", "/a"),
        ("X-Real-IP", "192.0.2.8"),
        ("X-Request-ID", "abc"),
        ("X_Forwarded_For", "192.0.2.66"),
        ("x.real.ip", "192.0.2.66"),
        ("X_Request-Id", "x"),
        ("X-Author", "kept"),
        ("From", "kept"),
    ];

    #[test]
    fn of_a_direct_client_nothing_is_left_and_nothing_is_believed() {
        for mode in [
            ForwardedFields::XForwarded,
            ForwardedFields::Forwarded,
            ForwardedFields::None,
        ] {
            let (client, left) = taken(mode, Some("192.0.2.1"), ALL);
            assert_eq!(client, Client::at("192.0.2.1:1".parse().ok(), false));
            assert_eq!(left, pairs(&[("from", "kept"), ("x-author", "kept")]));
        }
    }

    #[test]
    fn of_a_trusted_proxy_the_fields_that_it_sets_are_believed_and_no_others() {
        let kept = [("from", "kept"), ("x-author", "kept")];
        let (client, left) = taken(ForwardedFields::XForwarded, Some("10.0.0.1"), ALL);
        assert_eq!(client.address, "192.0.2.8".parse().ok());
        assert!(client.is_https);
        let mut wanted = pairs(&kept);
        wanted.extend(pairs(&[
            ("x-forwarded-for", "192.0.2.8"),
            ("x-forwarded-host", "a.example"),
            ("x-forwarded-port", "443"),
            ("x-forwarded-proto", "https"),
            ("x-real-ip", "192.0.2.8"),
            ("x-request-id", "abc"),
        ]));
        assert_eq!(left, wanted);
        let (client, left) = taken(ForwardedFields::Forwarded, None, ALL);
        assert_eq!(client.address, "192.0.2.9".parse().ok());
        let wanted = [
            ("forwarded", "for=192.0.2.9;proto=https"),
            ("from", "kept"),
            ("x-author", "kept"),
            ("x-forwarded-for", "192.0.2.9"),
            ("x-forwarded-proto", "https"),
            ("x-request-id", "abc"),
        ];
        assert_eq!(left, pairs(&wanted));
        let (client, left) = taken(ForwardedFields::None, Some("10.0.0.1"), ALL);
        assert_eq!(client.address, "10.0.0.1".parse().ok());
        assert_eq!(left.len(), 3, "{left:?}");
    }

    #[test]
    fn what_a_proxy_says_twice_of_host_and_port_is_removed() {
        let sent = [
            ("x-forwarded-host", "a.example"),
            ("x-forwarded-host", "b.example"),
        ];
        let (_, left) = taken(ForwardedFields::XForwarded, Some("10.0.0.1"), &sent);
        assert_eq!(left, pairs(&[("x-forwarded-proto", "http")]));
    }

    #[test]
    fn the_id_of_a_trusted_proxy_is_taken_when_it_is_one() {
        let called = |values: &[&str]| {
            let mut fields = HeaderMap::new();
            for value in values {
                fields.append(REQUEST_ID, HeaderValue::from_str(value).unwrap());
            }
            let id = named(&mut fields, ID);
            assert_eq!(fields.contains_key(REQUEST_ID), id != ID, "{values:?}");
            id.to_string()
        };
        let longest = "a".repeat(64);
        for good in ["1", "Root=1-2:3/4@5+6~7_8.9", &longest] {
            assert_eq!(called(&[good]), good);
        }
        let own = ID.to_string();
        for bad in [
            "",
            " ",
            "a b",
            "a,b",
            "a\"",
            "a\tb",
            "é",
            "a\\",
            "${x}",
            &"a".repeat(65),
        ] {
            assert_eq!(called(&[bad]), own, "{bad}");
        }
        assert_eq!(called(&["a", "b"]), own);
        assert_eq!(called(&[]), own);
    }
}
