//! What of an address is one client.

use std::net::{IpAddr, Ipv6Addr};

/// What one client has: an IPv4 address, or the 64 bits of an IPv6 address below which every client chooses.
pub fn network_of(address: IpAddr) -> IpAddr {
    const HOST_BITS: u32 = 64;
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            Ipv6Addr::from_bits(address.to_bits() >> HOST_BITS << HOST_BITS).into()
        }
    }
}
