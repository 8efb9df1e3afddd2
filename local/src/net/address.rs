//! Pod addresses.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

/// 10.244.0.2 up to 10.244.255.254, given out in turn: one that is given back is the last to be used again,
/// so that no client with an old answer reaches a stranger.
#[derive(Debug)]
pub(super) struct AddressPool {
    /// Host part of the next candidate.
    next: u16,
    used: BTreeSet<u16>,
}

/// .0 is the network, .1 the node.
const FIRST: u16 = 2;
const LAST: u16 = u16::MAX - 1;

impl AddressPool {
    pub(super) fn new() -> AddressPool {
        AddressPool {
            next: FIRST,
            used: BTreeSet::new(),
        }
    }

    /// The next free address; `None` when all are in use.
    pub(super) fn take(&mut self) -> Option<Ipv4Addr> {
        for _ in FIRST..=LAST {
            let host = self.next;
            self.next = if host == LAST { FIRST } else { host + 1 };
            // x.0 and x.255 are legal in a /16, but programs that think in /24 mistrust them.
            if !matches!(host & 0xff, 0 | 0xff) && self.used.insert(host) {
                let [high, low] = host.to_be_bytes();
                return Some(Ipv4Addr::new(10, 244, high, low));
            }
        }
        None
    }

    pub(super) fn give_back(&mut self, address: Ipv4Addr) {
        let [_, _, high, low] = address.octets();
        self.used.remove(&u16::from_be_bytes([high, low]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_reused_last() {
        let mut pool = AddressPool::new();
        let first = pool.take().unwrap();
        assert_eq!(first, Ipv4Addr::new(10, 244, 0, 2));
        pool.give_back(first);
        assert_eq!(pool.take(), Some(Ipv4Addr::new(10, 244, 0, 3)));
        let rest: Vec<Ipv4Addr> = std::iter::from_fn(|| pool.take()).collect();
        assert_eq!(rest.last(), Some(&first), "only after all others");
        assert!(rest.iter().all(|ip| !matches!(ip.octets()[3], 0 | 255)));
        assert_eq!(pool.take(), None);
    }
}
