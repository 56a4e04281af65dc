//! Header blocks as a client writes them byte for byte (RFC 7541): literals that use no table, so
//! that anything can be said in them.

/// A field of any bytes.
pub type Field<'a> = (&'a [u8], &'a [u8]);

/// One literal field, not indexed, with a new name (§6.2.2).
pub fn literal(block: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    block.push(0);
    text(block, name);
    text(block, value);
}

/// A block of such fields.
pub fn block(fields: &[Field<'_>]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        literal(&mut block, name, value);
    }
    block
}

/// The head of a request.
pub fn request(method: &str, host: &str, target: &str) -> Vec<u8> {
    block(&[
        (b":method", method.as_bytes()),
        (b":scheme", b"https"),
        (b":authority", host.as_bytes()),
        (b":path", target.as_bytes()),
    ])
}

/// A string, not coded by Huffman (§5.2).
fn text(block: &mut Vec<u8>, text: &[u8]) {
    let mut length = text.len();
    if length < 127 {
        block.push(length as u8);
    } else {
        block.push(127);
        length -= 127;
        while length >= 128 {
            block.push((length % 128) as u8 | 128);
            length /= 128;
        }
        block.push(length as u8);
    }
    block.extend_from_slice(text);
}

/// The status that a block of an answer begins with, in the few ways in which it is said.
pub fn status(block: &[u8]) -> Option<u16> {
    match block {
        // The static table.
        [known @ 0x88..=0x8e, ..] => [200, 204, 206, 304, 400, 404, 500]
            .get(usize::from(known - 0x88))
            .copied(),
        // The name from the table, and three digits.
        [0x48 | 0x08, 3, digits @ ..] => str::from_utf8(digits.get(..3)?).ok()?.parse().ok(),
        [0x48 | 0x08, 0x82 | 0x83, digits @ ..] => coded_number(digits),
        _ => None,
    }
}

/// Three digits, coded by Huffman: 0 to 2 by five bits, the others by six.
fn coded_number(bytes: &[u8]) -> Option<u16> {
    let mut bits = 0_u32;
    for byte in bytes.iter().chain([0; 4].iter()).take(4) {
        bits = bits << 8 | u32::from(*byte);
    }
    let mut number = 0;
    for _ in 0..3 {
        let five = bits >> 27;
        let (digit, length) = if five < 3 { (five, 5) } else { ((bits >> 26) - 0x16, 6) };
        number = number * 10 + u16::try_from(digit).ok()?;
        bits <<= length;
    }
    Some(number)
}
