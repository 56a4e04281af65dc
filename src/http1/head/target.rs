//! The forms of a request target, and the host in it (RFC 9112 §3.2).

use crate::model::fault::Fault;
use crate::model::route::host_of;

/// A target in absolute form, in parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Absolute<'b> {
    default_port: &'static str,
    /// The host and port.
    pub(super) authority: &'b str,
    /// What comes after: empty, or begins with `/` or `?`.
    pub(super) onward: &'b str,
}

impl Absolute<'_> {
    /// Whether its authority is one, and the one that `Host` names where there is one. The scheme's
    /// own port may be named or not.
    pub(super) fn agrees_with(&self, host: Option<&str>) -> bool {
        let without = |text: &'_ str| -> usize {
            text.strip_suffix(self.default_port)
                .or(text.strip_suffix(':'))
                .unwrap_or(text)
                .len()
        };
        let same = |host: &str| {
            let (a, b) = (self.authority, host);
            let bare = (a.get(..without(a)), b.get(..without(b)));
            matches!(bare, (Some(a), Some(b)) if a.eq_ignore_ascii_case(b))
        };
        host_of(self.authority).is_some() && host.is_none_or(same)
    }
}

/// The parts of a target in absolute form, `http` or `https`; `None` for every other form.
#[inline]
pub(super) fn absolute(target: &str) -> Option<Absolute<'_>> {
    match target.as_bytes() {
        [b'h' | b'H', ..] => parts(target),
        _ => None,
    }
}

fn parts(target: &str) -> Option<Absolute<'_>> {
    let (scheme, rest) = target.split_once("://")?;
    let default_port = match scheme.len() {
        4 if scheme.eq_ignore_ascii_case("http") => ":80",
        5 if scheme.eq_ignore_ascii_case("https") => ":443",
        _ => return None,
    };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, onward) = rest.split_at_checked(end)?;
    Some(Absolute { default_port, authority, onward })
}

/// Whether the target has a form that belongs to the method. It holds no fragment: that is no part of
/// a target (RFC 9112 §3.2), as the request line is read.
pub(super) fn check(method: &str, target: &str) -> Result<(), Fault> {
    let fits = match target.as_bytes() {
        [b'/', ..] => true,
        b"*" => method == "OPTIONS",
        _ => method == "CONNECT" || absolute(target).is_some(),
    };
    if fits { Ok(()) } else { Err(Fault::Malformed) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_belongs_to_its_methods() {
        for (method, target) in [
            ("GET", "/"),
            ("GET", "//a/../b?c=\"<d>\"\\"),
            ("GET", "http://a.test"),
            ("GET", "HTTPS://a.test/x"),
            ("OPTIONS", "*"),
            ("CONNECT", "a.test:443"),
        ] {
            assert_eq!(check(method, target), Ok(()), "{method} {target}");
        }
        for (method, target) in [
            ("GET", "*"),
            ("OPTIONS", "**"),
            ("GET", "a.test:443"),
            ("GET", "x"),
            ("GET", "?a"),
            ("GET", "ftp://a.test/"),
            ("GET", "http:/a.test/"),
            ("GET", "https//a.test/"),
            ("GET", "h://a.test/"),
            ("GET", "httpsx://a.test/"),
        ] {
            assert_eq!(check(method, target), Err(Fault::Malformed), "{method} {target}");
        }
    }

    #[test]
    fn an_absolute_form_has_an_authority_and_the_rest() {
        let parts = |target| absolute(target).map(|parts| (parts.authority, parts.onward));
        assert_eq!(parts("http://a.test/b?c"), Some(("a.test", "/b?c")));
        assert_eq!(parts("http://a.test?c/d"), Some(("a.test", "?c/d")));
        assert_eq!(parts("http://a.test"), Some(("a.test", "")));
        assert_eq!(parts("/http://a.test"), None);
    }

    #[test]
    fn the_authority_must_be_what_host_says_but_for_the_schemes_own_port() {
        let agrees = |target, host| absolute(target).is_some_and(|it| it.agrees_with(host));
        assert!(agrees("http://a.test/", None));
        assert!(agrees("http://a.test/", Some("A.TEST:80")));
        assert!(agrees("https://a.test:443/", Some("a.test")));
        assert!(agrees("http://a.test:/", Some("a.test")));
        assert!(agrees("http://[::1]:80/", Some("[::1]")));
        assert!(!agrees("http://a.test/", Some("a.test:443")));
        assert!(!agrees("http://a.test:81/", Some("a.test")));
        assert!(!agrees("http://a.test/", Some("b.test")));
        assert!(!agrees("http:///", None));
        assert!(!agrees("http://u@a.test/", None));
        assert!(!agrees("http://u@a.test/", Some("u@a.test")));
    }
}
