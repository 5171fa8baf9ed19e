//! Link-local addresses: what answers there is the machine's surroundings, such as a cloud that hands out credentials.

use std::net::{IpAddr, Ipv6Addr};

/// Whether an address is of 169.254.0.0/16 (RFC 3927) or `fe80::/10` (RFC 4291 section 2.5.6), also where IPv4 stands in IPv6: mapped
/// and compatible (RFC 4291 section 2.5.5), or translated with the well-known prefix (RFC 6052 section 2.1).
pub(super) fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => {
            let inner = address.to_ipv4().or_else(|| translated(address));
            address.is_unicast_link_local() || inner.is_some_and(|inner| inner.is_link_local())
        }
    }
}

/// Of `64:ff9b::/96`.
fn translated(address: Ipv6Addr) -> Option<std::net::Ipv4Addr> {
    match address.octets() {
        [0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0, inner @ ..] => Some(inner.into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::is_link_local;

    #[test]
    fn link_local_is_known_in_every_form() {
        for (text, expected) in [
            ("169.254.169.254", true),
            ("169.254.0.0", true),
            ("169.253.255.255", false),
            ("169.255.0.0", false),
            ("127.0.0.1", false),
            ("10.0.0.1", false),
            ("fe80::1", true),
            ("febf::1", true),
            ("fec0::1", false),
            ("::1", false),
            ("fd00:ec2::254", false),
            ("::ffff:169.254.169.254", true),
            ("::ffff:10.0.0.1", false),
            ("::169.254.169.254", true),
            ("64:ff9b::169.254.169.254", true),
            ("64:ff9b::8.8.8.8", false),
        ] {
            assert_eq!(is_link_local(text.parse().unwrap()), expected, "{text}");
        }
    }
}
