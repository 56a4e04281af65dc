//! How long the content of a message is, and what may frame it (RFC 9112 §6).

use crate::http1::head::Version;
use crate::http1::names::is_token_byte;
use crate::model::fault::Fault;

/// How the content of a message ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    None,
    /// After so many bytes.
    Length(u64),
    /// With its last chunk.
    Chunked,
    /// With the connection. Only an answer may do this.
    UntilClose,
}

/// What the framing fields of one head claim.
#[derive(Debug, Default)]
pub(super) struct Claims<'b> {
    length: Option<&'b [u8]>,
    repeated: bool,
    contradicted: bool,
    coding: Option<&'b [u8]>,
    codings: u32,
}

/// What a `Transfer-Encoding` names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coding {
    /// `chunked`, once and alone.
    Chunked,
    /// A coding that this proxy does not know.
    Unknown,
    /// No list of codings, or one that ends nowhere.
    Bad,
}

impl<'b> Claims<'b> {
    /// Takes the value of a `Content-Length` line.
    pub(super) fn add_length(&mut self, value: &'b [u8]) {
        match self.length {
            Some(first) => {
                self.repeated = true;
                self.contradicted |= first != value;
            }
            None => self.length = Some(value),
        }
    }

    /// Takes the value of a `Transfer-Encoding` line.
    pub(super) fn add_coding(&mut self, value: &'b [u8]) {
        self.coding = Some(value);
        self.codings += 1;
    }

    /// How the content of a request ends. Refuses whatever two readers could read in two ways: a
    /// transfer coding beside a length, or with HTTP/1.0, or a length said twice (RFC 9112 §6.1,
    /// §6.3).
    pub(super) fn of_request(&self, version: Version) -> Result<Framing, Fault> {
        let Some(coding) = self.coding else {
            return match self.length {
                None => Ok(Framing::None),
                Some(_) if self.repeated => Err(Fault::BadFraming),
                Some(length) => read_length(length)
                    .map(Framing::Length)
                    .ok_or(Fault::BadFraming),
            };
        };
        if self.length.is_some() || version == Version::Http10 {
            return Err(Fault::BadFraming);
        }
        match read_coding(coding) {
            Coding::Chunked if self.codings == 1 => Ok(Framing::Chunked),
            Coding::Unknown => Err(Fault::TransferCoding),
            Coding::Chunked | Coding::Bad => Err(Fault::BadFraming),
        }
    }

    /// How the content of an answer that has some ends. Equal lengths count as one (RFC 9112 §6.3);
    /// `None`: it is not said in one clear way.
    pub(super) fn of_response(&self, version: Version) -> Option<Framing> {
        match (self.coding, self.length) {
            (None, None) => Some(Framing::UntilClose),
            (None, Some(_)) if self.contradicted => None,
            (None, Some(length)) => read_length(length).map(Framing::Length),
            (Some(_), Some(_)) => None,
            (Some(coding), None) => {
                let clear = self.codings == 1 && version == Version::Http11;
                (clear && read_coding(coding) == Coding::Chunked).then_some(Framing::Chunked)
            }
        }
    }
}

/// A length is a number, and nothing but digits (RFC 9110 §8.6). Lengths that a signed 64-bit number
/// cannot hold are refused: there are readers in which they turn around.
fn read_length(value: &[u8]) -> Option<u64> {
    // 19 digits cannot overflow 64 bits.
    if value.is_empty() || value.len() > 19 {
        return None;
    }
    let mut length = 0_u64;
    for byte in value {
        if !byte.is_ascii_digit() {
            return None;
        }
        length = length * 10 + u64::from(byte - b'0');
    }
    i64::try_from(length).is_ok().then_some(length)
}

fn read_coding(value: &[u8]) -> Coding {
    if value.eq_ignore_ascii_case(b"chunked") {
        return Coding::Chunked;
    }
    let mut verdict = Coding::Bad;
    for element in value.split(|b| *b == b',') {
        let mut parts = element.split(|b| *b == b';');
        let name = parts.next().unwrap_or_default().trim_ascii();
        if name.is_empty() || !name.iter().all(|b| is_token_byte(*b)) {
            return Coding::Bad;
        }
        if !name.eq_ignore_ascii_case(b"chunked") {
            verdict = Coding::Unknown;
        }
    }
    verdict
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(lengths: &[&str], codings: &[&str], version: Version) -> Result<Framing, Fault> {
        claims(lengths, codings).of_request(version)
    }

    fn claims<'b>(lengths: &[&'b str], codings: &[&'b str]) -> Claims<'b> {
        let mut claims = Claims::default();
        for length in lengths {
            claims.add_length(length.as_bytes());
        }
        for coding in codings {
            claims.add_coding(coding.as_bytes());
        }
        claims
    }

    #[test]
    fn a_request_says_once_and_clearly_where_its_content_ends() {
        let now = Version::Http11;
        assert_eq!(request(&[], &[], now), Ok(Framing::None));
        assert_eq!(request(&["0"], &[], now), Ok(Framing::Length(0)));
        assert_eq!(request(&["007"], &[], now), Ok(Framing::Length(7)));
        assert_eq!(request(&["5"], &[], Version::Http10), Ok(Framing::Length(5)));
        let most = Framing::Length(i64::MAX.unsigned_abs());
        assert_eq!(request(&["9223372036854775807"], &[], now), Ok(most));
        assert_eq!(request(&[], &["Chunked"], now), Ok(Framing::Chunked));
    }

    #[test]
    fn a_request_whose_length_is_no_single_number_is_refused() {
        let bad = [
            "",
            "+5",
            "-5",
            "5 5",
            "5, 5",
            "5,5",
            "0x5",
            "5.0",
            "1e3",
            "\u{ff15}",
            "9223372036854775808",
            "18446744073709551621",
            "00000000000000000005",
        ];
        for value in bad {
            assert_eq!(request(&[value], &[], Version::Http11), Err(Fault::BadFraming), "{value}");
        }
        assert_eq!(request(&["5", "5"], &[], Version::Http11), Err(Fault::BadFraming));
        assert_eq!(request(&["5", "6"], &[], Version::Http11), Err(Fault::BadFraming));
    }

    #[test]
    fn a_request_whose_transfer_coding_is_not_chunked_alone_is_refused() {
        let now = Version::Http11;
        assert_eq!(request(&["5"], &["chunked"], now), Err(Fault::BadFraming));
        assert_eq!(request(&[], &["chunked"], Version::Http10), Err(Fault::BadFraming));
        assert_eq!(request(&[], &["chunked", "chunked"], now), Err(Fault::BadFraming));
        for value in ["", ",", "chunked,", "chunked, chunked", "chunked;a=b", "\"chunked\"", "a b"]
        {
            assert_eq!(request(&[], &[value], now), Err(Fault::BadFraming), "{value}");
        }
        for value in ["gzip", "gzip, chunked", "chunked, identity", "xchunked", "identity;q=1"] {
            assert_eq!(request(&[], &[value], now), Err(Fault::TransferCoding), "{value}");
        }
    }

    #[test]
    fn an_answer_may_repeat_its_length_but_not_contradict_itself() {
        let of = |lengths: &[&str], codings: &[&str]| {
            claims(lengths, codings).of_response(Version::Http11)
        };
        assert_eq!(of(&[], &[]), Some(Framing::UntilClose));
        assert_eq!(of(&["5", "5"], &[]), Some(Framing::Length(5)));
        assert_eq!(of(&["5", "6"], &[]), None);
        assert_eq!(of(&["x"], &[]), None);
        assert_eq!(of(&["5"], &["chunked"]), None);
        assert_eq!(of(&[], &["CHUNKED"]), Some(Framing::Chunked));
        assert_eq!(of(&[], &["gzip, chunked"]), None);
        assert_eq!(of(&[], &["chunked", "chunked"]), None);
        assert_eq!(claims(&[], &["chunked"]).of_response(Version::Http10), None);
    }
}
