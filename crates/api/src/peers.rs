//! A limit on failed authentications for each peer.
//!
//! Ten failures are free; each is forgiven after six seconds. A peer that has used them up gets 429
//! before its token or password is looked at, so that guessing costs neither hashing nor records.
//! Right tokens cost nothing. Peers behind one address share its limit; so do the addresses of an
//! IPv6 /64, which are one customer's. The map is bounded: when it is full, whoever is forgiven
//! soonest is forgotten.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use pentad_model::{Clock, Timestamp};

/// Failures that are free.
const FREE: u32 = 10;
/// How long a failure counts.
const STEP: Duration = Duration::from_secs(6);
/// Peers that are remembered.
const REMEMBERED: usize = 10_000;

/// See the module.
pub(crate) struct Peers {
    clock: Arc<dyn Clock>,
    /// When each peer's failures will all be forgiven.
    forgiven: Mutex<HashMap<IpAddr, Timestamp>>,
}

impl Peers {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            forgiven: Mutex::default(),
        }
    }

    /// Whether the peer may try; else how long it has to wait.
    pub(crate) fn admit(&self, peer: Option<IpAddr>) -> Result<(), Duration> {
        let now = self.clock.now();
        let forgiven = self.forgiven.lock().get(&key(peer)).copied().unwrap_or(now);
        let owed = forgiven.since(now);
        match owed.checked_sub(STEP * (FREE - 1)) {
            Some(wait) if !wait.is_zero() => Err(wait),
            _ => Ok(()),
        }
    }

    /// Counts a failure.
    pub(crate) fn failed(&self, peer: Option<IpAddr>) {
        let (now, peer) = (self.clock.now(), key(peer));
        let mut forgiven = self.forgiven.lock();
        if forgiven.len() >= REMEMBERED && !forgiven.contains_key(&peer) {
            forgiven.retain(|_, until| *until > now);
            if forgiven.len() >= REMEMBERED {
                let soonest = forgiven
                    .iter()
                    .min_by_key(|(_, until)| **until)
                    .map(|(ip, _)| *ip);
                soonest.map(|ip| forgiven.remove(&ip));
            }
        }
        let until = forgiven.entry(peer).or_insert(now);
        // Requests that were under way together may all fail; the debt still has an end.
        *until = (*until).max(now).plus(STEP).min(now.plus(STEP * FREE));
    }
}

fn key(peer: Option<IpAddr>) -> IpAddr {
    match peer.map(|ip| ip.to_canonical()) {
        None => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        Some(IpAddr::V6(ip)) => {
            let [a, b, c, d, ..] = ip.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        Some(ip) => ip,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use pentad_model::clock::ManualClock;

    use super::*;

    fn peers() -> (Peers, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::at(Timestamp(0)));
        (Peers::new(clock.clone()), clock)
    }

    fn peer(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn ten_failures_are_free_then_a_peer_waits() {
        let (peers, clock) = peers();
        for _ in 0..FREE {
            assert_eq!(peers.admit(peer("10.0.0.1")), Ok(()));
            peers.failed(peer("10.0.0.1"));
        }
        assert_eq!(peers.admit(peer("10.0.0.1")), Err(STEP));
        assert_eq!(peers.admit(peer("10.0.0.2")), Ok(()));
        clock.advance(STEP);
        assert_eq!(peers.admit(peer("10.0.0.1")), Ok(()));
    }

    #[test]
    fn a_flood_does_not_lock_a_peer_for_longer_than_a_minute() {
        let (peers, clock) = peers();
        for _ in 0..1000 {
            peers.failed(peer("10.0.0.1"));
        }
        clock.advance(STEP);
        assert_eq!(peers.admit(peer("10.0.0.1")), Ok(()));
    }

    #[test]
    fn addresses_of_one_network_of_ipv6_and_mapped_ipv4_share_a_limit() {
        assert_eq!(key(peer("2001:db8::1")), key(peer("2001:db8::ffff:1")));
        assert_eq!(key(peer("::ffff:10.0.0.1")), key(peer("10.0.0.1")));
        assert_ne!(key(peer("2001:db8:0:1::1")), key(peer("2001:db8::1")));
    }

    #[test]
    fn the_map_is_bounded() {
        let (peers, _) = peers();
        for number in 0..u32::try_from(REMEMBERED).unwrap() + 50 {
            peers.failed(Some(IpAddr::V4(Ipv4Addr::from(number + 1))));
        }
        assert_eq!(peers.forgiven.lock().len(), REMEMBERED);
    }
}
