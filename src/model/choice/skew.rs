//! Whether what one colour does not have is asked of the other one: a page that was loaded a minute
//! ago, from the other colour, still finds its script. Pure.

use crate::model::pattern::Pattern;
use crate::sync::lease::Door;

/// Which paths may be asked of the other colour (`skew` of an upstream).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SkewSettings {
    /// Any of these; not empty.
    pub paths: Vec<Pattern>,
}

impl SkewSettings {
    /// Whether a request is one of those: it asks for something, sends nothing, and changes nothing.
    #[must_use]
    pub fn covers(&self, method: &[u8], target: &[u8]) -> bool {
        matches!(method, b"GET" | b"HEAD") && self.paths.iter().any(|path| path.matches(target))
    }
}

/// Whether the other colour may be asked: it served until a moment ago, or it serves a canary's
/// share. A colour that is only tried out in a preview has nothing that a page could be missing.
#[must_use]
pub fn may_be_asked(other: Door) -> bool {
    matches!(other, Door::Warm | Door::Open)
}

/// Whether an answer says that the colour does not have it. Nothing else does: 410 is meant so.
#[must_use]
pub fn is_missing(status: u16) -> bool {
    status == 404
}

/// Whether the other colour's answer is sent instead of the 404.
#[must_use]
pub fn is_found(status: u16) -> bool {
    matches!(status, 200..300 | 304)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_get_or_head_of_a_path_that_was_named_is_covered() {
        let skew = SkewSettings { paths: vec!["/assets/*".parse().unwrap()] };
        assert!(
            skew.covers(b"GET", b"/assets/app.1f.js?v=2") && skew.covers(b"HEAD", b"/assets/a")
        );
        assert!(!skew.covers(b"POST", b"/assets/a") && !skew.covers(b"GET", b"/api/assets/a"));
    }

    #[test]
    fn a_whole_or_partial_or_unchanged_answer_is_found_and_only_404_is_missing() {
        assert!([200, 206, 304].into_iter().all(is_found));
        assert!(
            ![301, 302, 404, 410, 416, 500, 503]
                .into_iter()
                .any(is_found)
        );
        assert!(is_missing(404) && ![200, 403, 410, 500].into_iter().any(is_missing));
    }

    #[test]
    fn a_colour_is_asked_while_it_is_warm_or_serves() {
        let asked = [Door::Open, Door::Warm, Door::Exceptional, Door::Shut].map(may_be_asked);
        assert_eq!(asked, [true, true, false, false]);
    }
}
