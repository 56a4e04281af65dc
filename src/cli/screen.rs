//! Where lines are printed: colour only on a terminal, and never a control character that came from
//! a target or a file.

use std::io;
use std::io::Write;

use crate::model::colour::Colour;

/// One of the two outputs of `proxyctl`.
pub struct Screen<'a> {
    to: &'a mut dyn Write,
    terminal: bool,
    coloured: bool,
    failed: Option<io::Error>,
}

/// How a piece of text looks on a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tone {
    /// As it is.
    #[default]
    Plain,
    /// What was hoped for.
    Good,
    /// What was not.
    Bad,
    /// What deserves a look.
    Warn,
    /// What the eye should find first.
    Strong,
    /// What it may skip.
    Faint,
    /// The name of a pool, in its own colour.
    Of(Colour),
}

/// A piece of a line.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Span {
    /// Its words.
    pub text: String,
    /// Its look.
    pub tone: Tone,
}

/// A line: spans, one after the other.
pub type Line = Vec<Span>;

/// A span.
pub fn span(tone: Tone, text: impl Into<String>) -> Span {
    Span { text: text.into(), tone }
}

/// A line of one tone.
pub fn line(tone: Tone, text: impl Into<String>) -> Line {
    vec![span(tone, text)]
}

impl<'a> Screen<'a> {
    /// A screen that is not a terminal, such as a pipe or a test.
    pub fn plain(to: &'a mut dyn Write) -> Self {
        Self { to, terminal: false, coloured: false, failed: None }
    }

    /// A screen that may be a terminal, and may be coloured if it is one.
    pub fn new(to: &'a mut dyn Write, terminal: bool, colours: bool) -> Self {
        Self { to, terminal, coloured: terminal && colours, failed: None }
    }

    /// The first error in writing. Later lines are not tried: a promotion must reach its end even
    /// when nobody reads about it any more.
    pub fn failure(&self) -> Option<&io::Error> {
        self.failed.as_ref()
    }

    /// Prints a line.
    pub fn print(&mut self, line: &[Span]) {
        let text = self.render(line);
        self.write(format!("{text}\n").as_bytes());
    }

    /// Prints lines.
    pub fn print_all<'l>(&mut self, lines: impl IntoIterator<Item = &'l Line>) {
        for line in lines {
            self.print(line);
        }
    }

    /// Prints text that may be of several lines.
    pub fn say(&mut self, text: &str) {
        for part in text.lines() {
            self.print(&line(Tone::Plain, part));
        }
    }

    /// Prints bytes unchanged, as a line of their own.
    pub fn pass_on(&mut self, bytes: &[u8]) {
        self.write(bytes);
        if !bytes.ends_with(b"\n") {
            self.write(b"\n");
        }
    }

    /// Empties a terminal; anything else has nothing to empty.
    pub fn clear(&mut self) {
        if self.terminal {
            self.write(b"\x1b[2J");
        }
    }

    /// Prints a page in place of the one before: on a terminal over it, else below it.
    pub fn redraw(&mut self, page: &[Line]) {
        if !self.terminal {
            return self.print_all(page);
        }
        // Home, each line cleared to its end, then what is left below: no flicker, no leftovers.
        let mut text = String::from("\x1b[H");
        for line in page {
            text.push_str(&self.render(line));
            text.push_str("\x1b[K\n");
        }
        text.push_str("\x1b[J");
        self.write(text.as_bytes());
    }

    fn render(&self, line: &[Span]) -> String {
        let mut text = String::new();
        for span in line {
            let clean = span.text.replace(char::is_control, "\u{fffd}");
            match span.tone.code().filter(|_| self.coloured) {
                Some(code) => text.push_str(&format!("\x1b[{code}m{clean}\x1b[0m")),
                None => text.push_str(&clean),
            }
        }
        text
    }

    fn write(&mut self, bytes: &[u8]) {
        if self.failed.is_some() {
            return;
        }
        let written = self.to.write_all(bytes).and_then(|()| self.to.flush());
        self.failed = written.err();
    }
}

impl Tone {
    /// The parameters of the escape sequence (ECMA-48, SGR).
    fn code(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Good => Some("32"),
            Self::Bad => Some("31"),
            Self::Warn => Some("33"),
            Self::Strong => Some("1"),
            Self::Faint => Some("2"),
            Self::Of(Colour::Blue) => Some("1;34"),
            Self::Of(Colour::Green) => Some("1;32"),
        }
    }
}

/// Rows as lines, each column as wide as its widest cell.
pub fn table(rows: Vec<Vec<Span>>) -> Vec<Line> {
    let mut widths: Vec<usize> = Vec::new();
    for row in &rows {
        widths.resize(widths.len().max(row.len()), 0);
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.text.chars().count());
        }
    }
    rows.into_iter().map(|row| aligned(row, &widths)).collect()
}

fn aligned(row: Vec<Span>, widths: &[usize]) -> Line {
    let mut out = Line::new();
    let mut owed = 0; // spaces before the next cell that has words: none hang off a line's end
    for (cell, width) in row.into_iter().zip(widths) {
        let length = cell.text.chars().count();
        if length > 0 {
            out.push(span(Tone::Plain, " ".repeat(owed)));
            out.push(cell);
            owed = 0;
        }
        owed += width - length + 2;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(terminal: bool, colours: bool, line: &[Span]) -> String {
        let mut bytes = Vec::new();
        Screen::new(&mut bytes, terminal, colours).print(line);
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn colours_appear_only_on_a_terminal_that_may_have_them() {
        let words = [span(Tone::Good, "200"), span(Tone::Plain, " ok")];
        assert_eq!(printed(true, true, &words), "\x1b[32m200\x1b[0m ok\n");
        assert_eq!(printed(true, false, &words), "200 ok\n");
        assert_eq!(printed(false, true, &words), "200 ok\n");
    }

    #[test]
    fn a_targets_words_cannot_steer_the_terminal() {
        let words = [span(Tone::Bad, "build \x1b]0;owned\x07\r\n")];
        assert_eq!(
            printed(false, false, &words),
            "build \u{fffd}]0;owned\u{fffd}\u{fffd}\u{fffd}\n"
        );
    }

    #[test]
    fn a_table_aligns_its_columns_and_leaves_no_space_at_the_end() {
        let cell = |text: &str| span(Tone::Plain, text);
        let rows = vec![
            vec![cell("TARGET"), cell("ANSWER"), cell("MS")],
            vec![cell("10.0.0.1:80"), cell("200"), cell("")],
            vec![cell(""), cell("x"), cell("1")],
        ];
        let lines: Vec<String> = table(rows)
            .iter()
            .map(|line| line.iter().map(|s| s.text.as_str()).collect())
            .collect();
        assert_eq!(
            lines,
            ["TARGET       ANSWER  MS", "10.0.0.1:80  200", "             x       1"]
        );
    }

    #[test]
    fn a_page_is_drawn_over_the_last_one_only_on_a_terminal() {
        let page = [line(Tone::Plain, "a")];
        let mut bytes = Vec::new();
        Screen::new(&mut bytes, true, false).redraw(&page);
        Screen::plain(&mut bytes).redraw(&page);
        assert_eq!(String::from_utf8(bytes).unwrap(), "\x1b[Ha\x1b[K\n\x1b[Ja\n");
    }

    #[test]
    fn the_first_failure_to_write_is_kept_and_nothing_more_is_tried() {
        let mut room = [0_u8; 3];
        let mut full: &mut [u8] = &mut room;
        let mut screen = Screen::plain(&mut full);
        screen.say("four");
        screen.say("x");
        assert_eq!(screen.failure().unwrap().kind(), io::ErrorKind::WriteZero);
        assert_eq!(&room, b"fou");
    }
}
