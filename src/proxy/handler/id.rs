//! Ids of requests that came without one.

/// 32 digits that no other request has.
pub(super) fn new() -> [u8; 32] {
    let mut id = [0; 32];
    let (eights, _) = id.as_chunks_mut::<8>();
    for pair in eights.as_chunks_mut::<2>().0 {
        let random = fastrand::u64(..);
        let [first, second] = pair;
        *first = digits(random & 0xffff_ffff);
        *second = digits(random >> 32);
    }
    id
}

/// Eight hexadecimal digits of a number below 2^32, the lowest first: all in one word, a byte for each.
fn digits(number: u64) -> [u8; 8] {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let number = (number | number << 16) & 0x0000_ffff_0000_ffff;
    let number = (number | number << 8) & 0x00ff_00ff_00ff_00ff;
    let number = (number | number << 4) & (ONES * 0x0f);
    // Six more make a carry of whatever is above nine.
    let letters = ((number + ONES * 6) >> 4) & ONES;
    let text = number + ONES * u64::from(b'0') + letters * u64::from(b'a' - b'9' - 1);
    text.to_le_bytes()
}
