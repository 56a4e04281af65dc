//! The parameters that a request on the control socket carries in its path.

use std::borrow::Cow;

use crate::control::command::Code;
use crate::control::command::Refusal;
use crate::control::supervisor::refusal::refusal;

/// `a=1&b=2`, as it was sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Query<'a>(&'a str);

impl<'a> Query<'a> {
    pub(super) fn of(query: Option<&'a str>) -> Self {
        Self(query.unwrap_or_default())
    }

    /// The first parameter of this name, decoded.
    pub(super) fn get(self, name: &str) -> Option<Cow<'a, str>> {
        self.all(name).next()
    }

    /// Every parameter of this name, decoded.
    pub(super) fn all(self, name: &str) -> impl Iterator<Item = Cow<'a, str>> {
        let pairs = self.0.split('&').filter_map(|pair| pair.split_once('='));
        pairs
            .filter(move |(key, _)| *key == name)
            .map(|(_, value)| decoded(value))
    }

    /// Whether the parameter is there and is neither `0` nor `false`.
    pub(super) fn has(self, name: &str) -> bool {
        self.get(name)
            .is_some_and(|value| !matches!(&*value, "0" | "false"))
    }

    /// Refuses parameters that nothing takes: a misspelt one must not be taken for absent.
    ///
    /// # Errors
    ///
    /// The first one that is not `known`.
    pub(super) fn only(self, known: &[&str]) -> Result<(), Refusal> {
        let names = self
            .0
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| pair.split_once('=').map_or(pair, |(name, _)| name));
        for name in names {
            if !known.contains(&name) {
                let detail = format!("there is no parameter \"{name}\"");
                let refused = refusal(422, Code::Unknown, "malformed request", detail);
                let hint = Some(format!("this path takes {}", known.join(", ")));
                return Err(Refusal { hint, ..refused });
            }
        }
        Ok(())
    }
}

/// `%41` and `+` undone (as forms and `curl --data-urlencode` write them); bytes that are no text
/// become U+FFFD.
fn decoded(text: &str) -> Cow<'_, str> {
    if !text.contains(['%', '+']) {
        return Cow::Borrowed(text);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        let hex = |digit: &u8| char::from(*digit).to_digit(16);
        match (first, after) {
            (b'+', _) => bytes.push(b' '),
            (b'%', [high, low, after @ ..]) => match hex(high).zip(hex(low)) {
                Some((high, low)) => {
                    bytes.extend(u8::try_from(high * 16 + low));
                    rest = after;
                }
                None => bytes.push(b'%'),
            },
            (byte, _) => bytes.push(*byte),
        }
    }
    Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_parameter_is_found_by_its_name_and_decoded() {
        let query = Query::of(Some("colour=green&upstream=a%2Fb+c&probes=1&off=0"));
        assert_eq!(query.get("colour").as_deref(), Some("green"));
        assert_eq!(query.get("upstream").as_deref(), Some("a/b c"));
        assert_eq!(query.get("stream"), None);
        assert_eq!(Query::of(Some("u=a&v=x&u=b")).all("u").collect::<Vec<_>>(), ["a", "b"]);
        assert!(query.has("probes") && !query.has("off") && !query.has("none"));
        assert_eq!(Query::of(Some("x=%4&y=%zz&z=%ff")).get("y").as_deref(), Some("%zz"));
    }

    #[test]
    fn an_unknown_parameter_is_named() {
        let query = Query::of(Some("colour=green&upsteam=app"));
        let refused = query.only(&["colour", "upstream"]).unwrap_err();
        assert!(refused.detail.contains("upsteam"), "{refused:?}");
        assert_eq!(Query::of(None).only(&[]), Ok(()));
        assert_eq!(query.only(&["colour", "upsteam"]), Ok(()));
    }

    proptest! {
        #[test]
        fn no_query_panics(text in ".*", name in "[a-z%+]{0,3}") {
            let query = Query::of(Some(&text));
            let _value = query.get(&name);
            let _only = query.only(&["a"]);
        }
    }
}
