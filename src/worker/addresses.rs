//! How many connections each client has.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use crate::config::{TrustedProxies, network_of};

/// How many connections each client has.
type Counts = Arc<Mutex<BTreeMap<IpAddr, u32>>>;

/// The connections of one worker, by whose they are.
#[derive(Debug)]
pub(super) struct Addresses {
    max: Option<u32>,
    /// They may have any number: each connection may be somebody else's.
    proxies: TrustedProxies,
    open: Counts,
}

/// A connection that counts, until dropped; nothing where nobody counts.
#[derive(Debug, Default)]
pub(super) struct Counted(Option<(IpAddr, Counts)>);

impl Addresses {
    /// Each but `proxies` may have `max` connections.
    pub(super) fn new(max: Option<u32>, proxies: TrustedProxies) -> Self {
        Self {
            max,
            proxies,
            open: Arc::default(),
        }
    }

    /// Another connection of `peer`; `None`: it has enough.
    pub(super) fn enter(&self, peer: Option<SocketAddr>) -> Option<Counted> {
        let (Some(max), Some(peer)) = (self.max, peer.map(|peer| peer.ip())) else {
            return Some(Counted::default());
        };
        if self.proxies.trust(Some(peer)) {
            return Some(Counted::default());
        }
        let client = network_of(peer);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(client).or_default();
        if *count >= max {
            return None;
        }
        *count += 1;
        Some(Counted(Some((client, Arc::clone(&self.open)))))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let Some((client, open)) = self.0.take() else {
            return;
        };
        let mut open = open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut count) = open.entry(client) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(text: &str) -> Option<SocketAddr> {
        text.parse()
            .ok()
            .map(|address| SocketAddr::new(address, 1234))
    }

    #[test]
    fn an_address_has_so_many_connections_at_once_and_others_have_theirs() {
        let addresses = Addresses::new(Some(2), TrustedProxies::default());
        let first = addresses.enter(peer("192.0.2.1")).unwrap();
        let _second = addresses.enter(peer("::ffff:192.0.2.1")).unwrap();
        assert!(addresses.enter(peer("192.0.2.1")).is_none());
        assert!(addresses.enter(peer("192.0.2.2")).is_some());
        assert!(addresses.enter(None).is_some());
        drop(first);
        assert!(addresses.enter(peer("192.0.2.1")).is_some());
    }

    #[test]
    fn of_ipv6_a_whole_network_is_one_client() {
        let addresses = Addresses::new(Some(1), TrustedProxies::default());
        let _first = addresses.enter(peer("2001:db8::1")).unwrap();
        assert!(addresses.enter(peer("2001:db8::2")).is_none());
        assert!(addresses.enter(peer("2001:db8:0:1::1")).is_some());
    }

    #[test]
    fn nothing_is_kept_of_who_is_gone() {
        let addresses = Addresses::new(Some(1), TrustedProxies::default());
        drop(addresses.enter(peer("192.0.2.1")));
        assert!(addresses.open.lock().unwrap().is_empty());
    }

    #[test]
    fn where_there_is_no_limit_nobody_counts() {
        let addresses = Addresses::new(None, TrustedProxies::default());
        let _first = addresses.enter(peer("192.0.2.1"));
        assert!(addresses.open.lock().unwrap().is_empty());
    }
}
