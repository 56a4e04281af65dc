//! Where the fields to rewrite come from: pairs of name and value, or the lines of a received head,
//! of which whole runs can be copied as they came.

use std::ptr;

use crate::http1::head::Clean;
use crate::http1::head::FieldLine;
use crate::http1::head::FieldLines;
use crate::http1::head::RequestHead;
use crate::http1::head::Version;
use crate::http1::names::Known;
use crate::http1::names::known;
use crate::http1::rewrite::Onward;

/// Fields to rewrite, in order.
pub trait Lines<'f>: Clone {
    /// One of them.
    type Line: Line<'f>;

    /// Each of them.
    fn each(&self) -> impl Iterator<Item = Self::Line> + Clone;

    /// Shows them in order, without the first `skip`: runs of lines that pass as they came whole, and
    /// every other line by itself. With `closely` every line by itself.
    #[inline]
    fn show(&self, skip: usize, _closely: bool, to: &mut impl Look<'f, Self::Line>) {
        one_by_one(self.each(), skip, to);
    }

    /// How many bytes they need at most.
    fn room(&self) -> usize;

    /// The head in which they stand as lines, if they do.
    fn head(&self) -> &'f [u8] {
        &[]
    }

    /// Whether the head begins exactly as it would be written.
    fn opening(&self, _onward: &Onward<'_>) -> Option<Opening> {
        None
    }
}

/// What looks at fields.
pub trait Look<'f, L> {
    /// These bytes of the head are lines that pass as they came.
    fn pass(&mut self, start: usize, end: usize);

    /// This line is to be looked at; `rest` are all those behind it.
    fn line(&mut self, line: L, rest: &(impl Iterator<Item = L> + Clone));
}

#[inline]
fn one_by_one<'f, L>(
    mut rest: impl Iterator<Item = L> + Clone,
    skip: usize,
    to: &mut impl Look<'f, L>,
) {
    for _ in 0..skip {
        rest.next();
    }
    while let Some(line) = rest.next() {
        to.line(line, &rest);
    }
}

/// One field to rewrite.
pub trait Line<'f>: Copy {
    /// The name.
    fn name(&self) -> &'f [u8];

    /// The value.
    fn value(&self) -> &'f [u8];

    /// Which field it is.
    fn known(&self) -> Known;

    /// Where its line stands, if it can be copied as it is.
    fn clean(&self) -> Option<Clean> {
        None
    }
}

/// The start of a received head up to its first field line `Host: …`, that one included.
#[derive(Debug, Clone, Copy)]
pub struct Opening {
    /// The first byte of the target.
    pub target: usize,
    /// Where the line `Host` stands.
    pub host: Clean,
}

impl<'f, I: Iterator<Item = (&'f [u8], &'f [u8])> + Clone> Lines<'f> for I {
    type Line = (&'f [u8], &'f [u8]);

    fn each(&self) -> impl Iterator<Item = Self::Line> + Clone {
        self.clone()
    }

    fn room(&self) -> usize {
        self.clone().map(|(n, v)| n.len() + v.len() + 4).sum()
    }
}

impl<'f> Line<'f> for (&'f [u8], &'f [u8]) {
    fn name(&self) -> &'f [u8] {
        self.0
    }

    fn value(&self) -> &'f [u8] {
        self.1
    }

    #[inline]
    fn known(&self) -> Known {
        known(self.0)
    }
}

impl<'f> Lines<'f> for FieldLines<'_, 'f> {
    type Line = FieldLine<'f>;

    #[inline]
    fn each(&self) -> impl Iterator<Item = Self::Line> + Clone {
        self.clone()
    }

    #[inline]
    fn show(&self, skip: usize, closely: bool, to: &mut impl Look<'f, Self::Line>) {
        if closely {
            return one_by_one(self.each(), skip, to);
        }
        let mut rest = self.clone();
        for _ in 0..skip {
            rest.next();
        }
        loop {
            if let Some((start, end)) = rest.take_passing() {
                to.pass(start, end);
            }
            let Some(line) = rest.next() else { return };
            to.line(line, &rest);
        }
    }

    #[inline]
    fn room(&self) -> usize {
        // A line may get a space that it had not.
        self.received().len() + self.len()
    }

    #[inline]
    fn head(&self) -> &'f [u8] {
        self.received()
    }
}

impl<'f> Lines<'f> for &RequestHead<'_, 'f> {
    type Line = FieldLine<'f>;

    #[inline]
    fn each(&self) -> impl Iterator<Item = Self::Line> + Clone {
        self.fields.clone()
    }

    #[inline]
    fn show(&self, skip: usize, closely: bool, to: &mut impl Look<'f, Self::Line>) {
        self.fields.show(skip, closely, to);
    }

    #[inline]
    fn room(&self) -> usize {
        self.fields.room()
    }

    #[inline]
    fn head(&self) -> &'f [u8] {
        self.fields.received()
    }

    #[inline]
    fn opening(&self, onward: &Onward<'_>) -> Option<Opening> {
        let first = self.fields.clone().next()?;
        let host = first.clean()?;
        let is_origin = matches!(self.target.as_bytes(), [b'/', ..] | b"*");
        // The same place in memory is the same text, and looked at in no time. The host is not there, if
        // it is the one that was read last.
        let same = ptr::eq(onward.method, self.method)
            && ptr::eq(onward.target, self.target)
            && onward.host == first.value;
        let fits = is_origin && same && self.version == Version::Http11 && first.name == b"Host";
        fits.then_some(Opening { target: self.method.len() + 1, host })
    }
}

impl<'f> Line<'f> for FieldLine<'f> {
    #[inline]
    fn name(&self) -> &'f [u8] {
        self.name
    }

    #[inline]
    fn value(&self) -> &'f [u8] {
        self.value
    }

    #[inline]
    fn known(&self) -> Known {
        self.known()
    }

    #[inline]
    fn clean(&self) -> Option<Clean> {
        self.clean()
    }
}
