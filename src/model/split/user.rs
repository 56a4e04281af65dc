//! Who a canary counts as one user, and where in its line each of them stands.
//!
//! Each canary puts all users in a line of its own, by a hash with the canary's salt, and takes the
//! front of it. A larger share takes more of the same line: nobody is moved back. The next canary has
//! another salt, and other users stand at its front. The hash spreads; it hides nothing: whoever likes
//! to change sides only has to throw the cookie away.

use std::net::IpAddr;

/// In how many places the line of all users is divided: a hundred for the finest share.
const PLACES: u64 = 100_000;

/// Sets what stands for an address of either family apart from the other.
const IPV4: u64 = 0x9e37_79b9_7f4a_7c15;
const IPV6: u64 = 0xd1b5_4a32_d192_ed03;

/// One user, as a number: what the cookie holds, or what stands for a client's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct User(pub u64);

/// A place in the line of one canary's users: 0 is the first to get the standby colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place(u64);

impl User {
    /// Everybody who comes from this address; of IPv6, from this /64: a host changes the rest of its
    /// address every day (RFC 8981).
    #[must_use]
    pub fn of_address(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V4(v4) => mix(u64::from(v4.to_bits()) ^ IPV4),
            IpAddr::V6(v6) => mix((v6.to_bits() >> 64) as u64 ^ IPV6),
        })
    }

    /// Where it stands in the line that `salt` makes.
    #[must_use]
    pub fn place(self, salt: u64) -> Place {
        let hash = mix(self.0 ^ mix(salt));
        Place(((u128::from(hash) * u128::from(PLACES)) >> 64) as u64)
    }

    /// A user who stands at this place of the line that `salt` makes: one of many, by `random`.
    #[must_use]
    pub fn at_place(place: Place, salt: u64, random: u64) -> Self {
        const EACH: u64 = u64::MAX / PLACES;
        // The first hash that leads to this place, rounded up.
        let first = (u128::from(place.0) << 64).div_ceil(u128::from(PLACES)) as u64;
        let hash = first.saturating_add(random % EACH);
        Self(unmix(hash) ^ mix(salt))
    }
}

impl Place {
    /// How many places are before this one.
    #[must_use]
    pub fn before(self) -> u64 {
        self.0
    }
}

/// The finalizer of `SplitMix64` (Steele, Lea, Flood 2014): each bit of its outcome depends on each of
/// the word's, and no two words have the same.
fn mix(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// The word that [`mix`] makes this of.
fn unmix(mixed: u64) -> u64 {
    let word = mixed ^ (mixed >> 31) ^ (mixed >> 62);
    let word = word.wrapping_mul(0x3196_42b2_d24d_8ec3);
    let word = word ^ (word >> 27) ^ (word >> 54);
    let word = word.wrapping_mul(0x96de_1b17_3f11_9089);
    word ^ (word >> 30) ^ (word >> 60)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_mixed_word_leads_back(word: u64) {
            prop_assert_eq!(unmix(mix(word)), word);
            prop_assert_eq!(mix(unmix(word)), word);
        }

        #[test]
        fn whoever_is_put_at_a_place_stands_there(user: u64, salt: u64, random: u64) {
            let place = User(user).place(salt);
            prop_assert!(place.before() < PLACES);
            prop_assert_eq!(User::at_place(place, salt, random).place(salt), place);
        }
    }

    #[test]
    fn the_first_and_the_last_place_can_be_had_too() {
        for place in [Place(0), Place(PLACES - 1)] {
            for random in [0, 1, u64::MAX] {
                assert_eq!(User::at_place(place, 7, random).place(7), place);
            }
        }
    }

    #[test]
    fn a_users_place_is_the_same_in_every_build() {
        // Canaries outlive the process, and the version.
        assert_eq!(User(1).place(1), Place(51_532));
        assert_eq!(User(u64::MAX).place(0), Place(70_630));
        let address = User::of_address(IpAddr::V4(Ipv4Addr::LOCALHOST));
        assert_eq!(address.place(1), Place(77_500));
    }

    #[test]
    fn an_ipv6_host_is_known_by_its_network() {
        let of = |text: &str| User::of_address(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:192.0.2.7"), of("192.0.2.7"));
        assert_ne!(of("192.0.2.7"), of("192.0.2.8"));
    }
}
