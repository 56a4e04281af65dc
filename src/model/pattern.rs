//! A pattern of paths, as in `/assets/*` or `*.js`: `*` stands for any bytes, none and `/` included.
//! Everything else stands for itself, in the raw spelling of the request.

use std::fmt;
use std::str::FromStr;

/// The longest pattern that makes sense, in bytes.
const LONGEST: usize = 1024;

/// A pattern of paths. Matching takes one pass over the path for each `*`, and allocates nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    text: Box<str>,
}

/// Why a pattern cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadPattern {
    /// It can match no path.
    #[error("begins with neither / nor *")]
    Beginning,
    /// It holds what only a query or another kind of pattern could mean.
    #[error("holds \"{0}\", which stands for nothing here")]
    Sign(char),
    /// It is longer than any use for it.
    #[error("is longer than {LONGEST} bytes")]
    Long,
}

impl Pattern {
    /// Whether the path of this raw target (path and query) matches, all of it.
    #[must_use]
    pub fn matches(&self, target: &[u8]) -> bool {
        let path = target
            .split(|byte| *byte == b'?')
            .next()
            .unwrap_or_default();
        let Some((first, rest)) = self.text.split_once('*') else {
            return path == self.text.as_bytes();
        };
        let Some(mut left) = path.strip_prefix(first.as_bytes()) else { return false };
        let (between, last) = rest.rsplit_once('*').unwrap_or(("", rest));
        let Some(to_last) = left.strip_suffix(last.as_bytes()) else { return false };
        left = to_last;
        // The first place that will do leaves the most for the rest.
        for part in between.split('*').filter(|part| !part.is_empty()) {
            let found = left
                .windows(part.len())
                .position(|window| window == part.as_bytes());
            let Some(at) = found else { return false };
            left = left.get(at + part.len()..).unwrap_or_default();
        }
        true
    }
}

impl FromStr for Pattern {
    type Err = BadPattern;

    fn from_str(text: &str) -> Result<Self, BadPattern> {
        if !text.starts_with(['/', '*']) {
            return Err(BadPattern::Beginning);
        }
        if text.len() > LONGEST {
            return Err(BadPattern::Long);
        }
        let strange = |sign: char| {
            matches!(sign, '?' | '#' | '[' | ']' | '{' | '}' | '\\') || !sign.is_ascii_graphic()
        };
        match text.chars().find(|sign| strange(*sign)) {
            Some(sign) => Err(BadPattern::Sign(sign)),
            None => Ok(Self { text: text.into() }),
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, target: &str) -> bool {
        pattern
            .parse::<Pattern>()
            .unwrap()
            .matches(target.as_bytes())
    }

    #[test]
    fn a_star_stands_for_any_bytes_and_the_query_is_not_looked_at() {
        for (pattern, target, expected) in [
            ("/assets/*", "/assets/app.1f3c.js", true),
            ("/assets/*", "/assets/", true),
            ("/assets/*", "/assets", false),
            ("/assets/*", "/old/assets/a", false),
            ("*.js", "/a/b/app.js?v=1", true),
            ("*.js", "/app.json", false),
            ("*.js", "/app?x=.js", false),
            ("/a/*/b*.css", "/a/x/y/bc.css", true),
            ("/a/*/b*.css", "/a/b.css", false),
            ("/a*a", "/a", false),
            ("/a*a", "/aa", true),
            ("/one", "/one", true),
            ("/one", "/one/", false),
            ("*", "/", true),
            ("**x**", "/x", true),
            ("/*ab*ab", "/abab", true),
            ("/*ab*ab", "/ab", false),
        ] {
            assert_eq!(matches(pattern, target), expected, "{pattern} {target}");
        }
    }

    #[test]
    fn what_stands_for_nothing_is_refused_by_name() {
        for (text, why) in [
            ("assets/*", BadPattern::Beginning),
            ("", BadPattern::Beginning),
            ("/a?", BadPattern::Sign('?')),
            ("*.{js,css}", BadPattern::Sign('{')),
            ("/a b", BadPattern::Sign(' ')),
            ("/caf\u{e9}", BadPattern::Sign('\u{e9}')),
        ] {
            assert_eq!(text.parse::<Pattern>(), Err(why), "{text}");
        }
        assert_eq!(format!("/{}", "a".repeat(LONGEST)).parse::<Pattern>(), Err(BadPattern::Long));
    }

    /// Against the plain definition: any number of bytes for each star.
    #[test]
    fn it_matches_what_the_definition_says() {
        fn by_definition(pattern: &[u8], path: &[u8]) -> bool {
            match pattern.split_first() {
                None => path.is_empty(),
                Some((b'*', rest)) => (0..=path.len()).any(|at| by_definition(rest, &path[at..])),
                Some((byte, rest)) => path.first() == Some(byte) && by_definition(rest, &path[1..]),
            }
        }
        let mut random = fastrand::Rng::with_seed(5);
        let mut both = [0, 0];
        for _ in 0..20_000 {
            let mut draw = |signs: &[u8], length: usize| -> String {
                let length = random.usize(..length);
                let signs = (0..length).map(|_| char::from(signs[random.usize(..signs.len())]));
                format!("/{}", signs.collect::<String>())
            };
            let (pattern, path) = (draw(b"ab**", 6), draw(b"ab", 7));
            let expected = by_definition(pattern.as_bytes(), path.as_bytes());
            both[usize::from(expected)] += 1;
            assert_eq!(matches(&pattern, &path), expected, "{pattern} {path}");
        }
        assert!(both[0] > 1000 && both[1] > 1000, "{both:?}");
    }
}
