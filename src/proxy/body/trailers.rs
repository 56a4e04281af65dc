//! Trailer fields between the map of `http` and the lines of HTTP/1.

use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;

use crate::http1::chunked::may_follow;
use crate::proxy::head::is_blank_ended;

/// The fields that may pass, as lines; `None` if one of them is malformed.
pub(super) fn to_lines(map: Option<&HeaderMap>) -> Option<Vec<u8>> {
    let mut lines = Vec::new();
    for (name, value) in map.into_iter().flatten() {
        if is_blank_ended(value.as_bytes()) {
            return None;
        }
        if may_follow(name.as_str().as_bytes()) {
            lines.extend_from_slice(name.as_str().as_bytes());
            lines.extend_from_slice(b": ");
            lines.extend_from_slice(value.as_bytes());
            lines.extend_from_slice(b"\r\n");
        }
    }
    Some(lines)
}

/// The fields of clean lines; `None` where there are none.
pub(super) fn from_lines(lines: &[u8]) -> Option<HeaderMap> {
    if lines.is_empty() {
        return None;
    }
    let mut map = HeaderMap::new();
    for line in lines.split(|byte| *byte == b'\n') {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) = line.split_at(colon);
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        let pair = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value));
        if let (Ok(name), Ok(value)) = pair {
            map.append(name, value);
        }
    }
    (!map.is_empty()).then_some(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_pass_survives_the_way_there_and_back() {
        let mut map = HeaderMap::new();
        map.append("x-sum", HeaderValue::from_static("7"));
        map.append("x-sum", HeaderValue::from_static("a: b"));
        let clean = map.clone();
        map.append("content-length", HeaderValue::from_static("9"));
        let lines = to_lines(Some(&map)).unwrap();
        assert_eq!(lines, b"x-sum: 7\r\nx-sum: a: b\r\n");
        assert_eq!(from_lines(&lines), Some(clean));
        map.append("x-a", HeaderValue::from_static(" 1"));
        assert_eq!(to_lines(Some(&map)), None);
    }

    #[test]
    fn none_is_none() {
        assert_eq!(from_lines(&to_lines(None).unwrap()), None);
    }
}
