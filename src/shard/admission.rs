//! Who may still come in: seats of the node, connections of an address.
//!
//! One of the few places that threads share (see [`crate::shard::counters`]): a limit over all
//! shards cannot live in one of them. The map is locked for a look-up per accept and
//! per end of a connection, never while bytes are written.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::base::permits::{Bucket, Rate};
use crate::base::time::Now;
use crate::conn::machine::Door;

/// Addresses remembered at most, those without a connection included. Past it, addresses
/// without one are forgotten, full buckets first.
const ADDRESSES_MAX: usize = 65_536;
/// Sockets beyond the seats that may be open at once: those that ask for health, and those
/// that have not said yet what they want.
const SPARE_SOCKETS_MIN: usize = 64;

/// What one address holds.
#[derive(Debug, Default)]
struct Presence {
    connections: u32,
    bucket: Bucket,
}

/// The node's limits on coming in.
#[derive(Debug)]
pub struct Admission {
    seats_max: usize,
    per_address_max: u32,
    connect_rate: Rate,
    /// Sockets for which there are descriptors.
    descriptors: usize,
    seats: AtomicUsize,
    sockets: AtomicUsize,
    addresses: Mutex<HashMap<u128, Presence>>,
}

/// An IPv4 address counts by itself; of an IPv6 address, the /64 that one customer usually has.
fn network(address: IpAddr) -> u128 {
    match address.to_canonical() {
        IpAddr::V4(v4) => u128::from(v4.to_ipv6_mapped()),
        IpAddr::V6(v6) => u128::from(v6) >> 64 << 64,
    }
}

impl Admission {
    /// Limits: WebSockets of the node, sockets of an address, connects of an address a minute.
    #[must_use]
    pub fn new(seats_max: usize, per_address_max: u32, connects_per_minute: u32) -> Admission {
        Admission {
            seats_max,
            per_address_max,
            connect_rate: Rate::per_minute(connects_per_minute),
            descriptors: usize::MAX,
            seats: AtomicUsize::new(0),
            sockets: AtomicUsize::new(0),
            addresses: Mutex::new(HashMap::new()),
        }
    }

    /// There are descriptors for so many sockets only.
    pub fn limit_descriptors(&mut self, sockets: usize) {
        self.descriptors = sockets;
    }

    /// Whether there is a descriptor for another socket. Where there is none, accepting pauses:
    /// the kernel keeps who waits.
    #[must_use]
    pub fn has_descriptor(&self) -> bool {
        self.sockets.load(Ordering::Relaxed) < self.descriptors
    }

    /// Counts a socket that was accepted. `false`: there are too many; it is not counted.
    #[must_use]
    pub fn take_socket(&self) -> bool {
        take(&self.sockets, self.sockets_max())
    }

    /// Sockets that may be open at once.
    #[must_use]
    pub fn sockets_max(&self) -> usize {
        self.seats_max + SPARE_SOCKETS_MIN.max(self.seats_max / 8)
    }

    /// A socket is gone.
    pub fn return_socket(&self) {
        self.sockets.fetch_sub(1, Ordering::Relaxed);
    }

    /// A WebSocket is gone.
    pub fn return_seat(&self) {
        self.seats.fetch_sub(1, Ordering::Relaxed);
    }

    /// A connection that [`Door::enter`] let in is gone.
    pub fn leave(&self, address: IpAddr) {
        let mut addresses = self.lock();
        if let Some(presence) = addresses.get_mut(&network(address)) {
            debug_assert!(presence.connections > 0);
            presence.connections -= 1;
        }
    }

    /// WebSockets and sockets that are open, addresses that are remembered.
    #[must_use]
    pub fn counts(&self) -> (usize, usize, usize) {
        let addresses = self.lock().len();
        (self.seats.load(Ordering::Relaxed), self.sockets.load(Ordering::Relaxed), addresses)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u128, Presence>> {
        self.addresses.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn take(count: &AtomicUsize, max: usize) -> bool {
    count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < max).then_some(n + 1)).is_ok()
}

impl Door for Admission {
    fn take_seat(&self) -> bool {
        take(&self.seats, self.seats_max)
    }

    fn enter(&self, address: IpAddr, now: Now) -> Result<(), u64> {
        /// When a connection of the address may have ended; nobody can know.
        const CROWDED_RETRY_MS: u64 = 5_000;
        let mut addresses = self.lock();
        if addresses.len() >= ADDRESSES_MAX {
            let rate = self.connect_rate;
            addresses.retain(|_, p| p.connections > 0 || !p.bucket.is_full(rate, now.mono));
            if addresses.len() >= ADDRESSES_MAX {
                addresses.retain(|_, p| p.connections > 0);
            }
        }
        let presence = addresses.entry(network(address)).or_default();
        presence.bucket.try_take(self.connect_rate, now.mono).map_err(|r| r.retry_after_ms)?;
        if presence.connections >= self.per_address_max {
            return Err(CROWDED_RETRY_MS);
        }
        presence.connections += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Now = Now { mono: 1_000_000, wall: 0 };

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_has_its_share_and_an_ipv6_network_is_one_address() {
        let admission = Admission::new(10, 2, 300);
        let same = ["2001:db8::1", "2001:db8::ffff:1"];
        assert!(same.iter().all(|a| admission.enter(ip(a), NOW).is_ok()));
        assert!(admission.enter(ip("2001:db8::2"), NOW).is_err());
        assert!(admission.enter(ip("2001:db8:0:1::2"), NOW).is_ok(), "another /64");
        assert!(admission.enter(ip("192.0.2.1"), NOW).is_ok());
        assert!(admission.enter(ip("::ffff:192.0.2.1"), NOW).is_ok());
        assert!(admission.enter(ip("192.0.2.1"), NOW).is_err(), "mapped and plain are one");
        assert!(admission.enter(ip("192.0.2.2"), NOW).is_ok(), "its neighbour is another");
        admission.leave(ip("192.0.2.1"));
        assert!(admission.enter(ip("192.0.2.1"), NOW).is_ok());
    }

    #[test]
    fn connects_have_a_burst_and_a_sustained_rate() {
        let admission = Admission::new(10_000, 10_000, 60);
        let from = ip("192.0.2.1");
        let enter = |ms| admission.enter(from, NOW.plus(ms));
        assert_eq!((0..100).filter(|_| enter(0).is_ok()).count(), 60);
        assert_eq!(enter(0), Err(1_000));
        let later = (0..600_000).step_by(100).filter(|&ms| enter(ms).is_ok()).count();
        assert_eq!(later, 599);
    }

    #[test]
    fn seats_and_sockets_run_out_and_come_back() {
        let admission = Admission::new(2, 9, 9);
        assert!(admission.take_seat() && admission.take_seat() && !admission.take_seat());
        admission.return_seat();
        assert!(admission.take_seat());
        let sockets = (0..1000).filter(|_| admission.take_socket()).count();
        assert_eq!(sockets, 2 + SPARE_SOCKETS_MIN);
        admission.return_socket();
        assert!(admission.take_socket());
    }

    #[test]
    fn addresses_are_forgotten_when_there_are_too_many() {
        let admission = Admission::new(10, 10, 2);
        let v6 = |n: u64| IpAddr::from((u128::from(n) << 64).to_be_bytes());
        admission.enter(v6(1 << 40), NOW).unwrap();
        for n in 0..ADDRESSES_MAX as u64 + 10 {
            let address = v6(1 << 41 | n);
            admission.enter(address, NOW).unwrap();
            admission.leave(address);
        }
        assert!(admission.counts().2 <= ADDRESSES_MAX);
        admission.leave(v6(1 << 40)); // Still known: it had a connection.
    }
}
