//! How many topics and groups a client may bring into being: a bound against loops gone wild.

use std::collections::HashMap;
use std::net::IpAddr;

use parking_lot::Mutex;

use crate::limits::{CREATION_WINDOW_MS, CREATIONS_PER_WINDOW_MAX};
use crate::refusal::Refusal;

/// Addresses remembered at a time; the table is emptied when it is full, which only forgives.
const ADDRESSES_MAX: usize = 10_000;

/// Creations by client address in the current window.
#[derive(Default)]
pub(crate) struct Creations {
    /// Held for one look-up, and only when something is created.
    counts: Mutex<HashMap<IpAddr, (i64, usize)>>,
}

impl Creations {
    /// Counts one creation of `address`.
    pub(crate) fn admit(&self, address: IpAddr, now_ms: i64) -> Result<(), Refusal> {
        let mut counts = self.counts.lock();
        if counts.len() >= ADDRESSES_MAX {
            counts.clear();
        }
        let (since, count) = counts.entry(address).or_insert((now_ms, 0));
        if now_ms - *since >= CREATION_WINDOW_MS {
            (*since, *count) = (now_ms, 0);
        }
        if *count >= CREATIONS_PER_WINDOW_MAX {
            return Err(Refusal::Busy { what: "too many topics and groups created by this client within a minute" });
        }
        *count += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn a_window_admits_its_number_and_then_begins_anew() {
        let creations = Creations::default();
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        for _ in 0..CREATIONS_PER_WINDOW_MAX {
            assert!(creations.admit(address, 0).is_ok());
        }
        assert!(creations.admit(address, CREATION_WINDOW_MS - 1).is_err());
        assert!(creations.admit(address, CREATION_WINDOW_MS).is_ok());
    }
}
