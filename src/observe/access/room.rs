//! The free end of a buffer, into which a line is written from the front. Nothing here allocates: a
//! line that does not fit says so, and is written again where there is more room.

use std::time::Duration;

use crate::observe::access::plain::copy_short;
use crate::observe::access::plain::is_all_plain;

/// The line does not fit into the room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Full;

/// What is left of a buffer. Whatever is put in takes the room and gives back what is left of it: by
/// value, so that the compiler keeps it in registers through the whole line.
#[derive(Debug)]
pub(super) struct Room<'a>(&'a mut [u8]);

/// Two digits at a time: half the divisions.
const PAIRS: [[u8; 2]; 100] = pairs();

impl<'a> Room<'a> {
    pub(super) fn new(buffer: &'a mut [u8]) -> Self {
        Self(buffer)
    }

    /// How many bytes still fit.
    pub(super) fn left(&self) -> usize {
        self.0.len()
    }

    /// Bytes whose number the compiler knows: a few moves instead of a call.
    #[inline(always)]
    pub(super) fn put<const N: usize>(self, bytes: &[u8; N]) -> Result<Self, Full> {
        let (to, rest) = self.0.split_first_chunk_mut::<N>().ok_or(Full)?;
        *to = *bytes;
        Ok(Self(rest))
    }

    /// The first `count` of a few bytes; wants room for all of them.
    #[inline(always)]
    fn put_first<const N: usize>(self, bytes: [u8; N], count: usize) -> Result<Self, Full> {
        *self.0.first_chunk_mut::<N>().ok_or(Full)? = bytes;
        Ok(Self(self.0.get_mut(count..).ok_or(Full)?))
    }

    /// Bytes that need no care.
    pub(super) fn put_slice(self, bytes: &[u8]) -> Result<Self, Full> {
        let (to, rest) = self.0.split_at_mut_checked(bytes.len()).ok_or(Full)?;
        to.copy_from_slice(bytes);
        Ok(Self(rest))
    }

    /// Puts all of `bytes`, unless there is one among them that does not stand for itself (see
    /// [`is_plain`](crate::observe::access::plain::is_plain)): then `odd` gets the same room instead.
    #[inline(always)]
    pub(super) fn put_plain(
        self,
        bytes: &[u8],
        odd: fn(Self, &[u8]) -> Result<Self, Full>,
    ) -> Result<Self, Full> {
        if bytes.len() >= 16 {
            return self.put_long(bytes, odd);
        }
        let to = self.0.get_mut(..bytes.len()).ok_or(Full)?;
        if !copy_short(to, bytes) {
            return odd(self, bytes);
        }
        Ok(Self(self.0.get_mut(bytes.len()..).ok_or(Full)?))
    }

    /// A function of its own, so that short texts need not save the registers that it takes.
    #[inline(never)]
    fn put_long(
        self,
        bytes: &[u8],
        odd: fn(Self, &[u8]) -> Result<Self, Full>,
    ) -> Result<Self, Full> {
        if is_all_plain(bytes) { self.put_slice(bytes) } else { odd(self, bytes) }
    }

    /// A number in decimal digits.
    #[inline(always)]
    pub(super) fn put_number(self, number: u64) -> Result<Self, Full> {
        if number < 10 { self.put(&[digit(number)]) } else { self.put_digits(number) }
    }

    #[inline(never)]
    fn put_digits(self, number: u64) -> Result<Self, Full> {
        if number >= 10_000 {
            let room = self.put_digits(number / 10_000)?;
            return room.put(&four_digits(number % 10_000));
        }
        let zeros =
            usize::from(number < 1000) + usize::from(number < 100) + usize::from(number < 10);
        let digits = u32::from_le_bytes(four_digits(number)) >> (8 * zeros);
        self.put_first(digits.to_le_bytes(), 4 - zeros)
    }

    /// The last three digits of a number.
    #[inline(always)]
    pub(super) fn put_thousandth(self, number: u64) -> Result<Self, Full> {
        let [_, digits @ ..] = four_digits(number % 1000);
        self.put(&digits)
    }

    /// Milliseconds with the microseconds behind the point.
    pub(super) fn put_millis(self, duration: Duration) -> Result<Self, Full> {
        let seconds = duration.as_secs().saturating_mul(1_000_000);
        let micros = seconds.saturating_add(u64::from(duration.subsec_micros()));
        let [_, a, b, c] = four_digits(micros % 1000);
        self.put_number(micros / 1000)?.put(&[b'.', a, b, c])
    }
}

/// Of a number below 10,000.
#[inline(always)]
fn four_digits(number: u64) -> [u8; 4] {
    let ([a, b], [c, d]) = (pair(number / 100), pair(number % 100));
    [a, b, c, d]
}

#[inline(always)]
fn pair(number: u64) -> [u8; 2] {
    let at = usize::try_from(number).unwrap_or(usize::MAX);
    PAIRS.get(at).copied().unwrap_or([b'0'; 2])
}

/// The last digit of a number below 256.
#[inline(always)]
fn digit(number: u64) -> u8 {
    b'0' + number.to_le_bytes()[0]
}

#[expect(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "worked out while compiling, where a place outside is an error"
)]
const fn pairs() -> [[u8; 2]; 100] {
    let mut pairs = [[0; 2]; 100];
    let mut number = 0;
    while number < 100 {
        pairs[number] = [b'0' + (number / 10) as u8, b'0' + (number % 10) as u8];
        number += 1;
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What is put into a room that is large enough.
    fn put(put: impl for<'a> Fn(Room<'a>) -> Result<Room<'a>, Full>) -> String {
        let mut buffer = [0; 200];
        let left = put(Room::new(&mut buffer)).unwrap().left();
        String::from_utf8(buffer[..200 - left].to_vec()).unwrap()
    }

    /// Whether `bytes` are put as they are; `None`: they do not fit.
    fn is_put_plain(buffer: &mut [u8], bytes: &[u8]) -> Option<bool> {
        // What is odd takes no room at all here, and there is never nothing to put.
        let left = buffer.len();
        let room = Room::new(buffer)
            .put_plain(bytes, |room, _| Ok(room))
            .ok()?;
        Some(bytes.is_empty() || room.left() < left)
    }

    #[test]
    fn what_does_not_fit_is_full_and_what_fits_exactly_is_not() {
        let mut buffer = [0; 20];
        for length in 0..=20 {
            assert!(
                Room::new(&mut buffer[..length])
                    .put_slice(&[b'a'; 20][..length])
                    .is_ok()
            );
            assert!(
                Room::new(&mut buffer[..length])
                    .put_slice(&[b'a'; 21][..=length])
                    .is_err()
            );
            assert_eq!(is_put_plain(&mut buffer[..length], &[b'a'; 20][..length]), Some(true));
            assert_eq!(is_put_plain(&mut buffer[..length], &[b'a'; 21][..=length]), None);
        }
        assert!(Room::new(&mut buffer[..3]).put(b"four").is_err());
        assert!(Room::new(&mut buffer[..4]).put(b"four").is_ok());
        assert!(Room::new(&mut buffer[..19]).put_number(u64::MAX).is_err());
        assert!(Room::new(&mut buffer).put_number(u64::MAX).is_ok());
    }

    #[test]
    fn a_number_has_neither_a_digit_too_few_nor_too_many() {
        for power in 0..20 {
            let power = 10_u64.pow(power);
            for number in [power - 1, power, power + 1] {
                assert_eq!(put(|room| room.put_number(number)), number.to_string());
            }
        }
    }

    #[test]
    fn a_duration_beyond_all_measure_is_still_a_number() {
        assert_eq!(put(|room| room.put_millis(Duration::MAX)), "18446744073709551.615");
        assert_eq!(put(|room| room.put_millis(Duration::from_nanos(1_999))), "0.001");
    }

    #[test]
    fn one_odd_byte_is_found_wherever_it_stands() {
        let mut buffer = [0; 100];
        let odd = [0, 0x1f, b'"', b'\\', 0x7f, 0x80, 0xff];
        for length in 0..100 {
            let plain = vec![b'~'; length];
            assert_eq!(is_put_plain(&mut buffer, &plain), Some(true));
            assert_eq!(buffer[..length], plain);
            for (at, odd) in (0..length).zip(odd.into_iter().cycle()) {
                let mut bytes = plain.clone();
                bytes[at] = odd;
                assert_eq!(
                    is_put_plain(&mut buffer, &bytes),
                    Some(false),
                    "{odd} at {at} of {length}"
                );
            }
        }
    }

    proptest! {
        #[test]
        fn numbers_are_written_as_they_are_read(number in any::<u64>(), shift in 0..64_u32) {
            let number = number >> shift;
            prop_assert_eq!(put(|room| room.put_number(number)), number.to_string());
        }
    }
}
