//! How hosts are found in a table: by a hash that is made for short names.
//!
//! The names in the table are the operator's, and a request adds none: whatever a client asks for, it
//! meets no more of them than the table has at one place. So the hash need not withstand an
//! adversary, as the standard library's does at several times the price.

use std::hash::BuildHasherDefault;
use std::hash::Hasher;

/// For a `HashMap` with a host as its key.
pub(super) type ByHost = BuildHasherDefault<HostHasher>;

/// Eight bytes at a time: turn, mix in, multiply.
#[derive(Debug, Default)]
pub(super) struct HostHasher(u64);

/// Odd and without a pattern: the first 64 bits behind π's point.
const FACTOR: u64 = 0x243f_6a88_85a3_08d3;

impl HostHasher {
    fn mix(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(23) ^ word).wrapping_mul(FACTOR);
    }
}

impl Hasher for HostHasher {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.mix(u64::from_le_bytes(*word));
        }
        match bytes.last_chunk::<8>() {
            // Overlaps what was there before: cheaper than one byte after the other.
            Some(last) => self.mix(u64::from_le_bytes(*last)),
            None => rest.iter().for_each(|byte| self.mix(u64::from(*byte))),
        }
        self.mix(bytes.len() as u64);
    }

    /// The end mark of a string, of no use where strings are hashed alone and with their length.
    fn write_u8(&mut self, _mark: u8) {}

    /// The table looks at the lowest bits and at the highest; only the highest depend on all others.
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::hash::BuildHasher;

    #[test]
    fn names_that_differ_in_one_place_spread_over_the_table_and_its_tags() {
        let hosts = (0..4096).map(|at| format!("customer-{at}.example.com"));
        let hashes: Vec<u64> = hosts
            .map(|host| ByHost::default().hash_one(&*host))
            .collect();
        let spread = |part: fn(&u64) -> u64| hashes.iter().map(part).collect::<HashSet<_>>().len();
        assert_eq!(spread(|hash| *hash), 4096);
        assert_eq!(spread(|hash| hash >> 57), 128);
        // Thrown at random, 4096 names would meet 2589 of 4096 places.
        assert!(spread(|hash| hash & 4095) > 2400, "{}", spread(|hash| hash & 4095));
    }

    #[test]
    fn a_name_is_not_taken_for_its_beginning_or_its_end() {
        let hosts = ["", "a", "aa", "a.test", "a.a.test", "test", "aaaaaaaa", "aaaaaaaaa"];
        let hashes: HashSet<u64> = hosts
            .iter()
            .map(|host| ByHost::default().hash_one(host))
            .collect();
        assert_eq!(hashes.len(), hosts.len());
    }
}
