//! What is asked on the control socket, for the history: who asked what, and the answer. A promotion
//! that was let in records itself; here, too, is what was refused at the door.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;

use bytes::Bytes;
use http::header;
use http_body::Frame;
use http_body::SizeHint;
use http_body_util::BodyExt;
use serde_json::Value;
use tokio::time::Instant;

use crate::control::answer::Answer;
use crate::control::answer::Body;
use crate::control::command::Code;
use crate::control::command::Refusal;
use crate::control::command::history::Entry;
use crate::control::command::history::Generations;
use crate::control::history::blank;
use crate::control::supervisor::handle::Caller;
use crate::control::supervisor::handle::Handle;

/// These change nothing.
const LOOKS: [&str; 2] = ["probe", "explain"];

/// These record themselves, once they are let in: what becomes of them does not depend on whether
/// anybody reads their answer.
const PROMOTIONS: [&str; 3] = ["promote", "rollback", "canary"];

/// The longest text of a request that is kept, in characters.
const TEXT_MAX: usize = 256;

/// A command that has been read and is being carried out. Dropped before its answer, it records that
/// the caller went away.
pub(super) struct Asked {
    handle: Handle,
    caller: Caller,
    what: String,
    request: Option<Value>,
    /// Ties the line of its beginning to that of its end.
    id: Option<String>,
    at: Instant,
    before: u64,
    /// What its end is called, unless an event says it; `None`: it has been recorded, or need not be.
    ends: Option<&'static str>,
}

impl Asked {
    /// The command at this path, with its body.
    pub(super) fn now(handle: &Handle, caller: Caller, path: &str, body: &[u8]) -> Self {
        let what = path.strip_prefix("/v1/").unwrap_or(path);
        Self {
            handle: handle.clone(),
            caller,
            what: what.to_owned(),
            request: serde_json::from_slice(body).ok().map(shortened),
            id: None,
            at: Instant::now(),
            before: handle.snapshot().generation,
            ends: (!LOOKS.contains(&what)).then_some("unanswered"),
        }
    }

    /// Records the answer. One that goes on is recorded at its beginning and at its end.
    ///
    /// # Errors
    ///
    /// The refusal that it was given.
    pub(super) fn answered(mut self, done: Result<Answer, Refusal>) -> Result<Answer, Refusal> {
        if self.ends.is_none() {
            return done;
        }
        let promotes = PROMOTIONS.contains(&self.what.as_str());
        match &done {
            Ok(_) if promotes => {}
            Ok(answer) if goes_on(answer) => {
                self.id = Some(format!("{:08x}", fastrand::u32(..)));
                self.record("begun", None, None);
                self.ends = Some("ended");
                return done.map(|answer| answer.map(|body| watched(body, self)));
            }
            Ok(_) => self.record("done", None, None),
            Err(refused) => {
                self.record("refused", Some((refused.code, refused.detail.clone())), None);
            }
        }
        self.ends = None;
        done
    }

    fn record(&self, outcome: &str, refused: Option<(Code, String)>, event: Option<Value>) {
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
        let (code, why) = refused.unzip();
        history.record(&Entry {
            who: history.who(self.caller),
            id: self.id.clone(),
            upstreams,
            colour: colour.and_then(|word| word.parse().ok()),
            code,
            why: why.into_iter().collect(),
            seconds: (self.at.elapsed().as_secs_f64() * 1e3).round() / 1e3,
            request: self.request.clone(),
            event,
            ..blank(&self.what, outcome, generation)
        });
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        if let Some(ends) = self.ends {
            self.record(ends, None, None);
        }
    }
}

/// An answer that goes on, and what its last line was.
struct Watched {
    body: Body,
    asked: Asked,
    last: Option<Bytes>,
}

fn watched(body: Body, asked: Asked) -> Body {
    Watched { body, asked, last: None }.boxed_unsync()
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &frame
            && let Some(line) = frame.data_ref()
        {
            self.last = Some(line.clone());
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Watched {
    /// It has been answered, or nobody reads on. The last event says how it went, if it says anything
    /// but that it began.
    fn drop(&mut self) {
        let Some(ends) = self.asked.ends.take() else { return };
        let last = self
            .last
            .as_deref()
            .and_then(|line| serde_json::from_slice::<Value>(line).ok());
        let name = last
            .as_ref()
            .and_then(|last| last.get("event"))
            .and_then(Value::as_str);
        // Held as long as its caller wished: that is all there is to say.
        let name = name
            .filter(|name| *name != "guarded")
            .unwrap_or(ends)
            .to_owned();
        self.asked.record(&name, None, last);
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
