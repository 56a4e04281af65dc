//! Header blocks that cannot be undone (RFC 9113 §4.3, RFC 7541), and requests that are malformed
//! (RFC 9113 §8).

use crate::h2_conformance::COMPRESSION_ERROR;
use crate::h2_conformance::Case;
use crate::h2_conformance::Then::Ends;
use crate::h2_conformance::check;
use crate::h2_conformance::never;
use crate::harness::h2::END_HEADERS;
use crate::harness::h2::END_STREAM;
use crate::harness::h2::HEADERS;

const ALL: u8 = END_HEADERS | END_STREAM;

/// A request that must not arrive, then `more`.
fn and(more: &[u8]) -> Vec<u8> {
    [never().as_slice(), more].concat()
}

#[test]
fn a_block_that_cannot_be_undone_is_a_compression_error() {
    check(&[
        Case {
            what: "RFC 7541 §6.1 the index 0",
            act: |f| f.send(HEADERS, ALL, 1, &and(&[0x80])),
            then: Ends(COMPRESSION_ERROR),
        },
        Case {
            what: "RFC 7541 §2.3.3 an index beyond both tables",
            act: |f| f.send(HEADERS, ALL, 1, &and(&[0x80 | 70])),
            then: Ends(COMPRESSION_ERROR),
        },
        Case {
            what: "RFC 7541 §5.1 a number without an end",
            act: |f| f.send(HEADERS, ALL, 1, &and(&[0xff; 20])),
            then: Ends(COMPRESSION_ERROR),
        },
        Case {
            what: "RFC 9113 §4.3 a block that ends within a field",
            act: |f| f.send(HEADERS, ALL, 1, &and(&[0, 10, b'x'])),
            then: Ends(COMPRESSION_ERROR),
        },
        Case {
            what: "RFC 7541 §5.2 padding of more than 7 bits",
            act: |f| f.send(HEADERS, ALL, 1, &and(&[0, 1, b'x', 0x82, 0x1f, 0xff])),
            then: Ends(COMPRESSION_ERROR),
        },
        Case {
            what: "RFC 7541 §5.2 padding of zeros",
            act: |f| f.send(HEADERS, ALL, 1, &and(&[0, 1, b'x', 0x81, 0x18])),
            then: Ends(COMPRESSION_ERROR),
        },
        Case {
            what: "RFC 7541 §5.2 the end of the string, coded",
            act: |f| f.send(HEADERS, ALL, 1, &and(&[0, 1, b'x', 0x84, 0xff, 0xff, 0xff, 0xff])),
            then: Ends(COMPRESSION_ERROR),
        },
        Case {
            what: "RFC 7541 §4.2 a size of the table after a field",
            act: |f| f.send(HEADERS, ALL, 1, &and(&[0x20])),
            then: Ends(COMPRESSION_ERROR),
        },
        Case {
            what: "RFC 7541 §6.3 a table larger than is allowed",
            act: |f| f.send(HEADERS, ALL, 1, &[&[0x3f, 0xe2, 0x1f], never().as_slice()].concat()),
            then: Ends(COMPRESSION_ERROR),
        },
    ]);
}
