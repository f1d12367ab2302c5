//! Too many failed logins from one address for one user: a pause before the next is tried.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use dashmap::DashMap;

/// The stretch over which failures are counted.
const WINDOW: Duration = Duration::from_secs(60);
/// Entries above which old ones are dropped, so that a scan of many addresses cannot fill the memory.
const MOST_ENTRIES: usize = 50_000;

/// Failed logins by address and user.
#[derive(Debug, Default)]
pub struct Throttle {
    failures: DashMap<(IpAddr, String), (Instant, u32)>,
}

impl Throttle {
    /// Whether a login may be tried at `now`, when `limit` failures a minute are allowed.
    pub fn allows(&self, address: IpAddr, user: &str, limit: u32, now: Instant) -> bool {
        match self.failures.get(&(address, user.to_owned())) {
            Some(entry) => now.duration_since(entry.0) >= WINDOW || entry.1 < limit,
            None => true,
        }
    }

    /// Notes a failure at `now`.
    pub fn failed(&self, address: IpAddr, user: &str, now: Instant) {
        if self.failures.len() >= MOST_ENTRIES {
            self.failures.retain(|_, (since, _)| now.duration_since(*since) < WINDOW);
            if self.failures.len() >= MOST_ENTRIES {
                self.failures.clear();
            }
        }
        let mut entry = self.failures.entry((address, user.to_owned())).or_insert((now, 0));
        if now.duration_since(entry.0) >= WINDOW {
            *entry = (now, 0);
        }
        entry.1 += 1;
    }

    /// Forgets the failures after a login that succeeded.
    pub fn succeeded(&self, address: IpAddr, user: &str) {
        self.failures.remove(&(address, user.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_block_their_own_address_and_user_for_a_minute() {
        let throttle = Throttle::default();
        let (here, there) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2]));
        let start = Instant::now();
        for _ in 0..3 {
            assert!(throttle.allows(here, "app", 3, start));
            throttle.failed(here, "app", start);
        }
        assert!(!throttle.allows(here, "app", 3, start));
        assert!(throttle.allows(there, "app", 3, start) && throttle.allows(here, "studio", 3, start));
        assert!(throttle.allows(here, "app", 3, start + WINDOW));
    }
}
