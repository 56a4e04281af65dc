//! The rule that gives a request its colour.

mod share;
mod user;

pub use share::BadShare;
pub use share::Share;
pub use user::Place;
pub use user::User;

use crate::model::colour::Colour;

/// How an upstream's requests are divided between its two pools.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split {
    /// Every request gets this colour: the live one.
    AllTo(Colour),
    /// A canary: a part of the users gets the other colour than the live one.
    Weighted {
        /// The live colour.
        live: Colour,
        /// How many get the other one.
        share: Share,
        /// What makes this canary's users others than the next one's.
        salt: u64,
    },
}

impl Split {
    /// The colour that new requests get when no exception applies.
    #[must_use]
    pub fn live(self) -> Colour {
        match self {
            Self::AllTo(colour) => colour,
            Self::Weighted { live, .. } => live,
        }
    }

    /// The colour of one user.
    #[must_use]
    pub fn colour_of(self, user: User) -> Colour {
        match self {
            Self::AllTo(colour) => colour,
            Self::Weighted { live, share, salt } => {
                // A hundred places for each tenth of a percent.
                let is_taken = user.place(salt).before() < u64::from(share.tenths()) * 100;
                if is_taken { live.other() } else { live }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::net::Ipv4Addr;

    use super::*;

    fn weighted(percent: &str, salt: u64) -> Split {
        Split::Weighted { live: Colour::Blue, share: percent.parse().unwrap(), salt }
    }

    fn users() -> impl Iterator<Item = User> + Clone {
        let address = |at: u32| IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + at));
        (0..10_000).map(move |at| User::of_address(address(at)))
    }

    fn taken(split: Split) -> Vec<User> {
        let is_taken = |user: &User| split.colour_of(*user) == Colour::Green;
        users().filter(is_taken).collect()
    }

    #[test]
    fn a_share_of_neighbouring_addresses_is_as_large_as_it_says_whatever_the_salt() {
        for salt in 0..200 {
            let count = taken(weighted("10", salt)).len();
            assert!((880..=1120).contains(&count), "{count} of 10000 with salt {salt}");
        }
        assert_eq!(taken(weighted("0", 1)).len(), 0);
        assert_eq!(taken(weighted("100", 1)).len(), 10_000);
    }

    #[test]
    fn a_growing_share_moves_nobody_back() {
        for salt in [0, 1, 77, u64::MAX] {
            let mut before: Vec<User> = Vec::new();
            for share in ["0", "0.1", "1", "5", "10", "25", "50", "99.9", "100"] {
                let split = weighted(share, salt);
                let back = |user: &&User| split.colour_of(**user) == Colour::Blue;
                assert_eq!(before.iter().filter(back).count(), 0, "{share} with salt {salt}");
                before = taken(split);
            }
            assert_eq!(before.len(), 10_000);
        }
    }

    #[test]
    fn another_canary_draws_other_users() {
        let first = taken(weighted("10", 1));
        for salt in 2..50 {
            let both = first
                .iter()
                .filter(|user| weighted("10", salt).colour_of(**user) == Colour::Green)
                .count();
            // A tenth of a tenth, give or take five standard deviations.
            assert!((50..=150).contains(&both), "{both} with salt {salt}");
        }
    }
}
