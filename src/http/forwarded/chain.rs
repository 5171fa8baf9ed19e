//! The way of a request through proxies, as `X-Forwarded-For` and `Forwarded` (RFC 7239) tell it, and how far it is to be believed.

use std::net::{IpAddr, SocketAddr};

use http::HeaderValue;
use rfc7239::{NodeIdentifier, NodeName};

use crate::app::Client;
use crate::config::TrustedProxies;

/// More parameters than an element can have that means well.
const PARAMETERS_MAX: usize = 16;

/// Whose request it is, and the proxies that it came through.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Chain {
    pub(super) client: Client,
    /// Somebody has said whose it is; else it is the peer's own.
    is_told: bool,
    /// Those that are trusted, the last first, but for the peer.
    proxies: Vec<IpAddr>,
}

/// What was written, the last first.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Written {
    hops: Vec<Hop>,
}

/// What one proxy says: who has connected to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Hop {
    /// None where it does not tell.
    node: Option<(IpAddr, Option<u16>)>,
    /// Whether that was by `https`, where it tells.
    is_https: Option<bool>,
}

/// What `X-Forwarded-For` says; where that is not there, `X-Real-IP`. The scheme is the one that the proxy itself has said last.
pub(super) fn of_x_forwarded<'a>(
    nodes: impl DoubleEndedIterator<Item = &'a HeaderValue>,
    real_ip: impl DoubleEndedIterator<Item = &'a HeaderValue>,
    schemes: impl DoubleEndedIterator<Item = &'a HeaderValue>,
) -> Written {
    let scheme = elements(schemes).next().flatten().and_then(is_https);
    let mut hops: Vec<_> = up_to_malformed(elements(nodes).map(|it| it.and_then(node)));
    if hops.is_empty() {
        // One at most: it is the word of one proxy.
        hops = up_to_malformed(elements(real_ip).take(1).map(|it| it.and_then(node)));
    }
    let mut hops: Vec<_> = hops
        .into_iter()
        .map(|node| Hop {
            node: Some(node),
            is_https: scheme,
        })
        .collect();
    if hops.is_empty() {
        hops.push(Hop {
            node: None,
            is_https: scheme,
        });
    }
    Written { hops }
}

/// What `Forwarded` says.
pub(super) fn of_forwarded<'a>(
    values: impl DoubleEndedIterator<Item = &'a HeaderValue>,
) -> Written {
    let hops = up_to_malformed(elements(values).map(|it| it.and_then(hop)));
    Written { hops }
}

/// Elements of a list, the last first; none for those of a value that is no text.
fn elements<'a>(
    values: impl DoubleEndedIterator<Item = &'a HeaderValue>,
) -> impl Iterator<Item = Option<&'a str>> {
    values.rev().flat_map(|value| {
        let text = value.to_str().ok();
        let nothing = text.is_none().then_some(None);
        let elements = text.into_iter().flat_map(|text| text.rsplit(','));
        nothing
            .into_iter()
            .chain(elements.map(|element| Some(element.trim_matches([' ', '\t']))))
    })
}

/// What lies beyond something malformed was said by nobody knows whom.
fn up_to_malformed<T>(read: impl Iterator<Item = Option<T>>) -> Vec<T> {
    read.map_while(|it| it).collect()
}

fn is_https(scheme: &str) -> Option<bool> {
    let is = |other| scheme.eq_ignore_ascii_case(other);
    if is("https") || is("wss") {
        Some(true)
    } else if is("http") || is("ws") {
        Some(false)
    } else {
        None
    }
}

/// An address as proxies write it in `X-Forwarded-For`, some with its port.
fn node(text: &str) -> Option<(IpAddr, Option<u16>)> {
    let bracketed = || {
        text.strip_prefix('[')?
            .strip_suffix(']')?
            .parse::<IpAddr>()
            .ok()
    };
    if let Some(address) = text.parse::<IpAddr>().ok().or_else(bracketed) {
        return Some((address.to_canonical(), None));
    }
    let with_port: SocketAddr = text.parse().ok()?;
    Some((with_port.ip().to_canonical(), Some(with_port.port())))
}

/// One element of `Forwarded`. One whose words could be taken for others is malformed.
fn hop(element: &str) -> Option<Hop> {
    if !is_unambiguous(element) {
        return None;
    }
    let read = rfc7239::parse(element).next()?.ok()?;
    let address = read.forwarded_for.and_then(|node| {
        let address = node.ip()?.to_canonical();
        Some((address, node.port))
    });
    let scheme = read.protocol.map(|it| it.trim_matches('"'));
    Some(Hop {
        node: address,
        is_https: scheme.and_then(is_https),
    })
}

/// Whether the library sees the same in an element as RFC 7239 section 4 does: it cuts at `,` and `;` in quotes too, knows no
/// escapes, takes the last of a parameter that is there twice, and a quote that was not opened for none.
fn is_unambiguous(element: &str) -> bool {
    let mut names: Vec<&str> = Vec::new();
    element.split(';').all(|parameter| {
        let Some((name, value)) = parameter.split_once('=') else {
            return false;
        };
        let quoted = value.strip_prefix('"').and_then(|it| it.strip_suffix('"'));
        let is_new = !names.iter().any(|other| other.eq_ignore_ascii_case(name));
        names.push(name);
        is_new
            && names.len() <= PARAMETERS_MAX
            && !name.contains([' ', '\t', '"'])
            && !value.contains('\\')
            && match quoted {
                Some(text) => !text.contains('"'),
                None => !value.is_empty() && !value.contains(['"', ' ', '\t']),
            }
    })
}

impl Written {
    /// How far it is to be believed: what `direct` says, who is at the other end and trusted, and whoever is trusted after that, back to
    /// the first who is not.
    pub(super) fn walk(self, direct: Client, trusted: &TrustedProxies) -> Chain {
        let mut chain = Chain {
            client: direct,
            is_told: false,
            proxies: Vec::new(),
        };
        for hop in self.hops {
            chain.client.is_https = hop.is_https.unwrap_or(chain.client.is_https);
            let Some((address, port)) = hop.node else {
                break;
            };
            if chain.is_told {
                chain.proxies.extend(chain.client.address);
            }
            (chain.client.address, chain.client.port) = (Some(address), port);
            chain.is_told = true;
            if !trusted.trust(Some(address)) {
                break;
            }
        }
        chain
    }
}

impl Chain {
    /// Who is told of, the client first, for `X-Forwarded-For`.
    fn told(&self) -> impl Iterator<Item = IpAddr> {
        let client = self.client.address.filter(|_| self.is_told);
        client.into_iter().chain(self.proxies.iter().rev().copied())
    }

    /// As `X-Forwarded-For` has it; none where nobody has told of anybody.
    pub(super) fn addresses(&self) -> Option<String> {
        let told: Vec<_> = self.told().map(|address| address.to_string()).collect();
        (!told.is_empty()).then(|| told.join(", "))
    }

    /// As `Forwarded` has it.
    pub(super) fn forwarded(&self) -> String {
        let scheme = if self.client.is_https {
            "https"
        } else {
            "http"
        };
        let mut scheme = Some(scheme);
        let of = |address: Option<IpAddr>, protocol| rfc7239::Forwarded {
            forwarded_for: address.map(|address| NodeIdentifier {
                name: NodeName::Ip(address),
                port: None,
            }),
            protocol,
            ..rfc7239::Forwarded::default()
        };
        let elements: Vec<_> = self
            .told()
            .map(|address| of(Some(address), scheme.take()).to_string())
            .collect();
        if elements.is_empty() {
            return of(None, scheme).to_string();
        }
        elements.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn proxies() -> TrustedProxies {
        TrustedProxies::of(&["10.0.0.0/8", "fd00::/8"]).unwrap()
    }

    fn values(texts: &[&str]) -> Vec<HeaderValue> {
        let value = |text: &&str| HeaderValue::from_bytes(text.as_bytes()).unwrap();
        texts.iter().map(value).collect()
    }

    fn peer() -> Client {
        Client::at("10.0.0.1:1".parse().ok(), false)
    }

    fn of_for(texts: &[&str]) -> Chain {
        let written = of_x_forwarded(values(texts).iter(), [].iter(), [].iter());
        written.walk(peer(), &proxies())
    }

    fn of_forwarded_fields(texts: &[&str]) -> Chain {
        let written = of_forwarded(values(texts).iter());
        written.walk(peer(), &proxies())
    }

    fn address(chain: &Chain) -> String {
        chain.client.address.unwrap().to_string()
    }

    #[test]
    fn the_client_is_the_last_who_is_not_trusted() {
        for (written, client, shown) in [
            (&["192.0.2.1"][..], "192.0.2.1", Some("192.0.2.1")),
            (&["192.0.2.1, 192.0.2.2"], "192.0.2.2", Some("192.0.2.2")),
            (
                &["192.0.2.1, 10.0.0.9"],
                "192.0.2.1",
                Some("192.0.2.1, 10.0.0.9"),
            ),
            (
                &["6.6.6.6, 192.0.2.1,10.0.0.9\t,10.0.0.8"],
                "192.0.2.1",
                Some("192.0.2.1, 10.0.0.9, 10.0.0.8"),
            ),
            (
                &["6.6.6.6", "192.0.2.1", "10.0.0.9"],
                "192.0.2.1",
                Some("192.0.2.1, 10.0.0.9"),
            ),
            (
                &["10.0.0.7, 10.0.0.8"],
                "10.0.0.7",
                Some("10.0.0.7, 10.0.0.8"),
            ),
            (
                &["2001:db8::1, fd00::1"],
                "2001:db8::1",
                Some("2001:db8::1, fd00::1"),
            ),
            (&["[2001:db8::1]"], "2001:db8::1", Some("2001:db8::1")),
            (&["[2001:db8::1]:80"], "2001:db8::1", Some("2001:db8::1")),
            (&["192.0.2.1:80"], "192.0.2.1", Some("192.0.2.1")),
            (&["::ffff:192.0.2.1"], "192.0.2.1", Some("192.0.2.1")),
            (&["6.6.6.6, x, 10.0.0.9"], "10.0.0.9", Some("10.0.0.9")),
            (&["6.6.6.6, , 10.0.0.9"], "10.0.0.9", Some("10.0.0.9")),
            (&["6.6.6.6, unknown"], "10.0.0.1", None),
            (&["6.6.6.6, _hidden"], "10.0.0.1", None),
            (&["192.0.2.1, "], "10.0.0.1", None),
            (&[""], "10.0.0.1", None),
            (&["6.6.6.6", "é"], "10.0.0.1", None),
            (&["192.0.2.1:99999"], "10.0.0.1", None),
            (&["192.0.2.01"], "10.0.0.1", None),
            (&[], "10.0.0.1", None),
        ] {
            let chain = of_for(written);
            assert_eq!(address(&chain), client, "{written:?}");
            assert_eq!(chain.addresses().as_deref(), shown, "{written:?}");
        }
    }

    #[test]
    fn x_real_ip_counts_where_x_forwarded_for_says_nothing() {
        let with = |nodes: &[&str], real: &[&str]| {
            let written = of_x_forwarded(values(nodes).iter(), values(real).iter(), [].iter());
            address(&written.walk(peer(), &proxies()))
        };
        assert_eq!(with(&[], &["192.0.2.1"]), "192.0.2.1");
        assert_eq!(with(&["192.0.2.2"], &["192.0.2.1"]), "192.0.2.2");
        assert_eq!(with(&[], &["x"]), "10.0.0.1");
    }

    #[test]
    fn the_scheme_is_what_the_proxy_said_last() {
        let with = |schemes: &[&str], nodes: &[&str]| {
            let written = of_x_forwarded(values(nodes).iter(), [].iter(), values(schemes).iter());
            written.walk(peer(), &proxies()).client.is_https
        };
        for nodes in [&[][..], &["192.0.2.1"], &["unknown"]] {
            for (schemes, is_https) in [
                (&["https"][..], true),
                (&["HTTPS"], true),
                (&["wss"], true),
                (&["http"], false),
                (&["https, http"], false),
                (&["https", "http"], false),
                (&["http,https"], true),
                (&["https "], true),
                (&["httpsx"], false),
                (&["https,"], false),
                (&[], false),
            ] {
                assert_eq!(with(schemes, nodes), is_https, "{schemes:?}");
            }
        }
    }

    #[test]
    fn forwarded_is_walked_alike_and_each_proxy_tells_the_scheme() {
        for (written, client, is_https, shown) in [
            (
                &["for=192.0.2.1;proto=https"][..],
                "192.0.2.1",
                true,
                "for=192.0.2.1;proto=https",
            ),
            (
                &["For=\"[2001:db8::1]:4711\";Proto=\"https\""],
                "2001:db8::1",
                true,
                "for=\"[2001:db8::1]\";proto=https",
            ),
            (
                &["for=192.0.2.1;proto=https, for=10.0.0.9;proto=http;by=10.0.0.1"],
                "192.0.2.1",
                true,
                "for=192.0.2.1;proto=https, for=10.0.0.9",
            ),
            (
                &["for=6.6.6.6", "for=192.0.2.1, for=\"10.0.0.9:80\""],
                "192.0.2.1",
                false,
                "for=192.0.2.1;proto=http, for=10.0.0.9",
            ),
            (
                &["for=6.6.6.6, for=unknown;proto=https"],
                "10.0.0.1",
                true,
                "proto=https",
            ),
            (
                &["for=6.6.6.6, for=_hidden"],
                "10.0.0.1",
                false,
                "proto=http",
            ),
            (
                &["for=6.6.6.6, proto=https"],
                "10.0.0.1",
                true,
                "proto=https",
            ),
            (
                &["for=192.0.2.1;host=a.example;secret=x"],
                "192.0.2.1",
                false,
                "for=192.0.2.1;proto=http",
            ),
            (&[], "10.0.0.1", false, "proto=http"),
        ] {
            let chain = of_forwarded_fields(written);
            assert_eq!(address(&chain), client, "{written:?}");
            assert_eq!(chain.client.is_https, is_https, "{written:?}");
            assert_eq!(chain.forwarded(), shown, "{written:?}");
        }
    }

    /// Each is how a client could be taken for another one, were a quote, an escape or a repetition read as the library reads it.
    #[test]
    fn an_element_that_can_be_read_differently_ends_the_walk() {
        for forged in [
            "for=192.0.2.1;host=\"a,for=6.6.6.6\"",
            "for=192.0.2.1;host=\"a;for=6.6.6.6\"",
            "for=192.0.2.1;host=\"a,for=6.6.6.6;x=\\\"\"",
            "for=192.0.2.1;host=a;for=6.6.6.6",
            "for=192.0.2.1;FOR=6.6.6.6",
            "for=\"6.6.6.6",
            "for=6.6.6.6\"",
            "for=\"\"6.6.6.6\"\"",
            "for =6.6.6.6",
            "for= 6.6.6.6",
            "for",
            "for=",
            "for=6.6.6.6;",
            ";for=6.6.6.6",
            "for=2001:db8::1",
            "for=\"6.6.6.6:99999\"",
            "for=6.6.6",
            "",
        ] {
            let chain = of_forwarded_fields(&[forged]);
            assert_eq!(address(&chain), "10.0.0.1", "{forged}");
        }
        // What a client begins does not reach into what the proxy adds.
        for begun in ["for=\"", "for=6.6.6.6;host=\"x", "\\", "for=6.6.6.6;for="] {
            let added = format!("{begun}, for=192.0.2.1");
            assert_eq!(
                address(&of_forwarded_fields(&[&added])),
                "192.0.2.1",
                "{begun}"
            );
        }
    }

    proptest! {
        /// Whatever a client has sent: the proxy in front adds who has connected to it, and that is who it is.
        #[test]
        fn nothing_that_a_client_sends_makes_it_another_one(sent in "[ -~]{0,60}") {
            prop_assert_eq!(address(&of_for(&[&sent, "192.0.2.1"])), "192.0.2.1");
            let joined = format!("{sent}, 192.0.2.1");
            prop_assert_eq!(address(&of_for(&[&joined])), "192.0.2.1");
            let joined = format!("{sent}, for=192.0.2.1");
            prop_assert_eq!(address(&of_forwarded_fields(&[&joined])), "192.0.2.1");
        }

        /// Nor what it sends as the host, which a proxy quotes.
        #[test]
        fn nothing_in_a_quoted_host_makes_a_client_another_one(host in "([ -!#-\\[\\]-~]|,for=6\\.6\\.6\\.6|;for=6\\.6\\.6\\.6){0,8}") {
            let element = format!("for=192.0.2.1;host=\"{host}\"");
            let client = address(&of_forwarded_fields(&[&element]));
            prop_assert!(client == "192.0.2.1" || client == "10.0.0.1", "{client}");
        }

        #[test]
        fn what_the_application_is_shown_says_the_same(sent in "(for=|[0-9.]{0,9}|10\\.0\\.0\\.2|,|;|\"|proto=https|unknown){0,12}") {
            let chain = of_forwarded_fields(&[&sent]);
            let again = of_forwarded_fields(&[&chain.forwarded()]);
            prop_assert_eq!(again.client.address, chain.client.address);
            prop_assert_eq!(again.client.is_https, chain.client.is_https);
            prop_assert_eq!(again.proxies, chain.proxies);
        }
    }
}
