//! The field lines of a head: found, checked, told apart once, and kept as places in the head, so
//! that what passes can be copied as it came.

use crate::http1::head::host::LastHost;
use crate::http1::names;
use crate::http1::names::Known;
use crate::http1::scan;

/// How many fields have room on the stack.
const INLINE: usize = 24;

/// Lines of which is known whether they may be sent on unseen.
const ODD_BITS: usize = u64::BITS as usize;

/// Room for one head: for its fields, on the stack, and on the heap only for a head that has more
/// than 24; and for the host that was asked last. To make one costs next to nothing.
#[derive(Default)]
pub struct Fields {
    pub(super) spots: Spots,
    pub(super) last_host: LastHost,
}

/// Room for the fields of one head.
pub(super) struct Spots {
    inline: [Spot; INLINE],
    more: Vec<Spot>,
}

/// The field lines of one head, in order.
#[derive(Debug, Clone)]
pub struct FieldLines<'h, 'b> {
    pub(super) head: &'b [u8],
    pub(super) spots: &'h [Spot],
    /// Which of the first 64 must be looked at one by one before they are sent on, a bit for each;
    /// those behind them must.
    odd: u64,
}

/// One field line: its name and its value as they came, without the white space around them.
#[derive(Debug, Clone, Copy)]
pub struct FieldLine<'b> {
    /// The name.
    pub name: &'b [u8],
    /// The value; may be empty.
    pub value: &'b [u8],
    spot: Spot,
}

/// Where in a head a field line stands.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Spot {
    name: u32,
    colon: u32,
    value: u32,
    value_end: u32,
    known: Known,
    /// Whether it is `name: value`, with one space, a value and nothing else.
    clean: bool,
}

/// Where in a head a line stands that may be copied as it is.
#[derive(Debug, Clone, Copy)]
pub struct Clean {
    /// The first byte of its name.
    pub start: usize,
    /// The first byte of its value.
    pub value: usize,
    /// The byte after its value.
    pub value_end: usize,
    /// The first byte of the next line.
    pub end: usize,
}

/// Why a head has no field lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unread {
    /// They are not all there yet, and not wrong yet.
    Partial,
    /// They break the rules.
    Bad,
    /// There are too many.
    TooMany,
}

impl Fields {
    /// Empty room.
    #[inline]
    #[must_use]
    pub const fn new() -> Self {
        Self { spots: Spots::new(), last_host: LastHost::new() }
    }
}

impl Spots {
    #[inline]
    const fn new() -> Self {
        const EMPTY: Spot =
            Spot { name: 0, colon: 0, value: 0, value_end: 0, known: Known::Accept, clean: false };
        Self { inline: [EMPTY; INLINE], more: Vec::new() }
    }

    /// Keeps a line as number `at`.
    #[inline]
    fn keep(&mut self, at: usize, spot: Spot) {
        match self.inline.get_mut(at) {
            Some(room) => *room = spot,
            None => self.keep_more(at, spot),
        }
    }

    #[cold]
    fn keep_more(&mut self, at: usize, spot: Spot) {
        if at == INLINE {
            self.more.clear();
            self.more.extend_from_slice(&self.inline);
        }
        self.more.push(spot);
    }

    /// The first `count`.
    #[inline]
    fn kept(&self, count: usize) -> &[Spot] {
        self.inline.get(..count).unwrap_or(&self.more)
    }
}

impl Default for Spots {
    fn default() -> Self {
        Self::new()
    }
}

impl<'h, 'b> FieldLines<'h, 'b> {
    /// Reads the lines from `at` on, and the blank line after them, into `room`: as many as
    /// `max`. Shows each to `see`, which says whether it may be sent on unseen.
    ///
    /// Every line ends with CRLF, is not folded, and has no white space before its colon
    /// (RFC 9112 §2.2, §5).
    #[inline]
    pub(super) fn read(
        bytes: &'b [u8],
        mut at: usize,
        room: &'h mut Spots,
        max: usize,
        mut see: impl FnMut(Known, &'b [u8]) -> bool,
    ) -> Result<Self, Unread> {
        // Places are numbers of 32 bits; no limit of a head is as large.
        let bytes = bytes.get(..u32::MAX as usize).unwrap_or(bytes);
        let mut count = 0;
        let mut odd = 0;
        let mut rest = bytes.get(at..).unwrap_or_default();
        loop {
            if let [b'\r', b'\n', ..] = rest {
                let head = bytes.get(..at + 2).unwrap_or(bytes);
                return Ok(Self { head, spots: room.kept(count), odd });
            }
            let colon = scan::control_or(b':', rest);
            let Some((name, [b':', after @ ..])) = rest.split_at_checked(colon) else {
                return Err(no_field(rest));
            };
            let known = names::read(name).ok_or(Unread::Bad)?;
            let (line, next) = split_line(after)?;
            if count == max {
                return Err(Unread::TooMany);
            }
            let after_colon = at + colon + 1;
            let line_end = after_colon + line.len();
            let (value, start, clean) = match line {
                [b' ', value @ ..] if is_trimmed(value) => (value, after_colon + 1, true),
                _ => {
                    let value = line.trim_ascii_start();
                    (value.trim_ascii_end(), line_end - value.len(), false)
                }
            };
            let passes = see(known, value) && clean;
            if count < ODD_BITS {
                odd |= u64::from(!passes) << count;
            }
            let spot = Spot {
                name: place(at),
                colon: place(after_colon - 1),
                value: place(start),
                value_end: place(start + value.len()),
                known,
                clean,
            };
            room.keep(count, spot);
            count += 1;
            at = line_end + 2;
            rest = next;
        }
    }

    /// How many lines in front may be sent on unseen.
    #[inline]
    fn passing(&self) -> usize {
        (self.odd.trailing_zeros() as usize)
            .min(self.spots.len())
            .min(ODD_BITS)
    }

    /// Leaves out so many in front, at most [`ODD_BITS`].
    #[inline]
    fn skip_lines(&mut self, count: usize) {
        self.spots = self.spots.get(count..).unwrap_or_default();
        // Whoever is beyond the bits must be looked at.
        self.odd = match u32::try_from(count) {
            Ok(count @ 0..64) => self.odd >> count | !(u64::MAX >> count),
            Ok(_) | Err(_) => u64::MAX,
        };
    }

    /// The lines in front that may be sent on unseen, as one piece of the head from its first byte to
    /// the byte after its last; none if the first must be looked at. Leaves them out.
    #[inline]
    pub(in crate::http1) fn take_passing(&mut self) -> Option<(usize, usize)> {
        let count = self.passing();
        let first = self.spots.first().filter(|_| count > 0)?;
        let start = first.name as usize;
        // The blank line is behind the last one.
        let end = match self.spots.get(count) {
            Some(next) => next.name as usize,
            None => self.head.len().saturating_sub(2),
        };
        self.skip_lines(count);
        Some((start, end))
    }

    /// The whole head in which they stand, from its first line to the blank line.
    #[inline]
    pub(in crate::http1) fn received(&self) -> &'b [u8] {
        self.head
    }
}

impl<'b> Iterator for FieldLines<'_, 'b> {
    type Item = FieldLine<'b>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let spot = self.spots.first()?;
        self.skip_lines(1);
        let part = |start: u32, end: u32| {
            self.head
                .get(start as usize..end as usize)
                .unwrap_or_default()
        };
        let (name, value) = (part(spot.name, spot.colon), part(spot.value, spot.value_end));
        Some(FieldLine { name, value, spot: *spot })
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        self.spots.iter().size_hint()
    }
}

impl ExactSizeIterator for FieldLines<'_, '_> {}

impl FieldLine<'_> {
    #[inline]
    pub(in crate::http1) fn known(&self) -> Known {
        self.spot.known
    }

    /// Where in the head the line stands with its end, and where in the head its value begins; only
    /// if nothing in the line is to be written otherwise.
    #[inline]
    pub(in crate::http1) fn clean(&self) -> Option<Clean> {
        let Spot { name, value, value_end, clean, .. } = self.spot;
        let [start, value, value_end] = [name, value, value_end].map(|at| at as usize);
        clean.then_some(Clean { start, value, value_end, end: value_end + 2 })
    }
}

/// The text up to the next CRLF, and what comes after it (RFC 9112 §2.2).
#[inline(always)]
pub(super) fn split_line(text: &[u8]) -> Result<(&[u8], &[u8]), Unread> {
    match text.split_at_checked(scan::control(text)) {
        Some((line, [b'\r', b'\n', next @ ..])) => Ok((line, next)),
        _ => split_odd_line(text),
    }
}

/// The only control character that may stand in a line (RFC 9110 §5.5) seldom does.
#[cold]
fn split_odd_line(text: &[u8]) -> Result<(&[u8], &[u8]), Unread> {
    let end = text
        .iter()
        .position(|b| !names::is_value_byte(*b))
        .unwrap_or(text.len());
    match text.split_at_checked(end) {
        Some((line, [b'\r', b'\n', next @ ..])) => Ok((line, next)),
        Some((_, [] | [b'\r'])) => Err(Unread::Partial),
        Some(_) | None => Err(Unread::Bad),
    }
}

/// Whether a value is there and has no white space around it.
#[inline]
fn is_trimmed(value: &[u8]) -> bool {
    let is_visible = |b: Option<&u8>| b.is_some_and(|b| *b > b' ');
    is_visible(value.first()) && is_visible(value.last())
}

/// A place in a head, which is never as long as 4 GiB.
#[inline]
fn place(at: usize) -> u32 {
    at as u32
}

/// What begins neither with a name and a colon nor with a blank line.
#[cold]
fn no_field(rest: &[u8]) -> Unread {
    let may_go_on = rest == b"\r" || rest.iter().all(|b| names::is_token_byte(*b));
    if may_go_on { Unread::Partial } else { Unread::Bad }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8]) -> Result<usize, Unread> {
        let mut room = Spots::new();
        FieldLines::read(text, 0, &mut room, 100, |_, _| true).map(|fields| fields.len())
    }

    #[test]
    fn a_name_with_a_control_character_is_refused_also_where_it_looks_like_a_known_one() {
        for name in ["Content-Length", "keep-alive", "HTTP2-Settings", "x-other", "x"] {
            assert_eq!(read(format!("{name}: 1\r\n\r\n").as_bytes()), Ok(1));
            let controls = (0..=b' ').chain([0x7f, 0x80, 0xff]);
            let places = controls.flat_map(|b| (0..=name.len()).map(move |at| (b, at)));
            for (control, at) in places {
                let (before, after) = name.split_at(at);
                let put_in = [before.as_bytes(), &[control], after.as_bytes(), b": 1\r\n\r\n"];
                assert_eq!(read(&put_in.concat()), Err(Unread::Bad), "{put_in:?}");
                let mut instead = put_in.concat();
                instead.remove(at + 1);
                assert!(at == name.len() || read(&instead) == Err(Unread::Bad), "{instead:?}");
            }
        }
    }

    #[test]
    fn room_that_was_used_for_many_lines_serves_again() {
        let mut room = Spots::default();
        for count in [30, 3, 24, 25, 40] {
            let names: Vec<String> = (0..count).map(|n| format!("a{n}")).collect();
            let lines: String = names.iter().map(|name| format!("{name}: 1\r\n")).collect();
            let text = lines + "\r\n";
            let fields = FieldLines::read(text.as_bytes(), 0, &mut room, 100, |_, _| true);
            let read: Vec<_> = fields.into_iter().flatten().map(|line| line.name).collect();
            assert_eq!(read, names.iter().map(String::as_bytes).collect::<Vec<_>>());
        }
    }

    #[test]
    fn as_many_lines_as_are_counted_pass_at_once_and_those_behind_them_are_looked_at() {
        let text = "x: 1\r\n".repeat(70) + "\r\n";
        let mut room = Spots::new();
        let fields = FieldLines::read(text.as_bytes(), 0, &mut room, 100, |_, _| true);
        let mut fields = fields.unwrap();
        assert_eq!(fields.take_passing(), Some((0, 64 * 6)));
        assert_eq!((fields.len(), fields.take_passing()), (6, None));
        assert_eq!(fields.nth(5).map(|line| line.value), Some(&b"1"[..]));
    }

    #[test]
    fn only_a_line_with_one_space_and_a_value_is_copied_as_it_is() {
        let is_clean = |line: &str| {
            let text = format!("{line}\r\n\r\n");
            let mut room = Spots::new();
            let fields = FieldLines::read(text.as_bytes(), 0, &mut room, 1, |_, _| true);
            fields.is_ok_and(|mut fields| fields.next().is_some_and(|line| line.clean().is_some()))
        };
        for line in ["a: b", "a: b c", "a: \u{e4}", "a: b\tc", "a: :"] {
            assert!(is_clean(line), "{line:?}");
        }
        for line in ["a:b", "a:", "a: ", "a:  b", "a: b ", "a: b\t", "a: \tb", "a:\tb", "a:\t"] {
            assert!(!is_clean(line), "{line:?}");
        }
    }
}
