//! What is asked on the control socket, for the history: who asked what, and the answer. A promotion
//! that was let in records itself; here, too, is what was refused at the door.

use http::header;
use serde_json::Value;
use tokio::time::Instant;

use crate::control::answer::Answer;
use crate::control::command::Refusal;
use crate::control::command::history::Entry;
use crate::control::command::history::Generations;
use crate::control::history::blank;
use crate::control::supervisor::handle::Caller;
use crate::control::supervisor::handle::Handle;

/// These change nothing.
const LOOKS: [&str; 2] = ["probe", "explain"];

/// These record themselves, once they are let in: their answer is only their beginning.
const PROMOTIONS: [&str; 3] = ["promote", "rollback", "canary"];

/// The longest text of a request that is kept, in characters.
const TEXT_MAX: usize = 256;

/// A command that has been read and is being carried out. Dropped before its answer, it records that
/// the caller went away.
pub(super) struct Asked<'a> {
    handle: &'a Handle,
    caller: Caller,
    what: &'a str,
    request: Option<Value>,
    at: Instant,
    before: u64,
    answered: bool,
}

impl<'a> Asked<'a> {
    /// The command at this path, with its body.
    pub(super) fn now(handle: &'a Handle, caller: Caller, path: &'a str, body: &[u8]) -> Self {
        let what = path.strip_prefix("/v1/").unwrap_or(path);
        Self {
            handle,
            caller,
            what,
            request: serde_json::from_slice(body).ok().map(shortened),
            at: Instant::now(),
            before: handle.snapshot().generation,
            answered: LOOKS.contains(&what),
        }
    }

    /// Records the answer.
    pub(super) fn answered(mut self, answer: &Result<Answer, Refusal>) {
        if std::mem::replace(&mut self.answered, true) {
            return;
        }
        match answer {
            Ok(_) if PROMOTIONS.contains(&self.what) => {}
            Ok(answer) if goes_on(answer) => self.record("begun", None),
            Ok(_) => self.record("done", None),
            Err(refused) => self.record("refused", Some(refused)),
        }
    }

    fn record(&self, outcome: &str, refused: Option<&Refusal>) {
        let snapshot = self.handle.snapshot();
        let request = self.request.as_ref();
        let field = |name: &str| request.and_then(|request| request.get(name));
        let colour = field("colour").and_then(Value::as_str);
        let mut upstreams = named(field("upstreams"));
        upstreams.extend(named(field("upstream")));
        if let ([], [only]) = (upstreams.as_slice(), snapshot.upstreams.as_slice()) {
            upstreams.push(only.name.to_string());
        }
        let history = self.handle.history();
        let generation = Generations { before: self.before, after: snapshot.generation };
        history.record(&Entry {
            who: history.who(self.caller),
            upstreams,
            colour: colour.and_then(|word| word.parse().ok()),
            code: refused.map(|refused| refused.code),
            why: refused
                .iter()
                .map(|refused| refused.detail.clone())
                .collect(),
            seconds: (self.at.elapsed().as_secs_f64() * 1e3).round() / 1e3,
            request: self.request.clone(),
            ..blank(self.what, outcome, generation)
        });
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        if !self.answered {
            self.record("unanswered", None);
        }
    }
}

/// Whether events follow.
fn goes_on(answer: &Answer) -> bool {
    let media = answer.headers().get(header::CONTENT_TYPE);
    media.is_some_and(|media| media == "application/x-ndjson")
}

/// One name, or a list of them.
fn named(value: Option<&Value>) -> Vec<String> {
    let names = match value {
        Some(Value::Array(names)) => names.as_slice(),
        Some(name) => std::slice::from_ref(name),
        None => &[],
    };
    names
        .iter()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}

/// A page of HTML is no part of the history.
fn shortened(mut request: Value) -> Value {
    let texts = request
        .as_object_mut()
        .into_iter()
        .flat_map(|object| object.values_mut());
    for text in texts {
        if let Value::String(text) = text
            && let Some((end, _)) = text.char_indices().nth(TEXT_MAX)
        {
            text.truncate(end);
            text.push('…');
        }
    }
    request
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_come_as_a_word_or_as_a_list() {
        assert_eq!(named(Some(&json!("app"))), ["app"]);
        assert_eq!(named(Some(&json!(["app", 7, "api"]))), ["app", "api"]);
        assert_eq!(named(None), [""; 0]);
    }

    #[test]
    fn a_long_text_is_cut() {
        let short = shortened(json!({ "on": true, "page": "ü".repeat(9999) }));
        assert_eq!(short["on"], true);
        assert_eq!(short["page"].as_str().map(|page| page.chars().count()), Some(TEXT_MAX + 1));
        assert_eq!(shortened(json!([1])), json!([1]));
    }
}
