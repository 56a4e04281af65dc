//! The head of a request, as the target is sent it.

use crate::http1::framing::Framing;
use crate::http1::head::Clean;
use crate::http1::names::Known;
use crate::http1::rewrite::ClientFacts;
use crate::http1::rewrite::Line;
use crate::http1::rewrite::Lines;
use crate::http1::rewrite::Look;
use crate::http1::rewrite::Marks;
use crate::http1::rewrite::Nominated;
use crate::http1::rewrite::Opening;
use crate::http1::rewrite::Run;
use crate::http1::rewrite::Span;
use crate::http1::rewrite::forwarding;
use crate::http1::rewrite::forwarding::Claimed;
use crate::http1::rewrite::line;
use crate::http1::rewrite::number;

/// A request on its way to a target: what its head says beside the fields that pass. No text in it
/// may hold a line end.
#[derive(Debug, Clone, Copy)]
pub struct Onward<'a> {
    /// The method.
    pub method: &'a str,
    /// The path and query, or `*`. `/` is put before it where it begins otherwise.
    pub target: &'a str,
    /// The value of `Host`.
    pub host: &'a [u8],
    /// How its content will be framed.
    pub body: Framing,
    /// Whether `Expect` passes: the target is to say `100 Continue`, because the client still holds
    /// the content back.
    pub expects_continue: bool,
    /// What to upgrade to.
    pub upgrade: Option<&'a [u8]>,
    /// The id that logs tie it to.
    pub request_id: &'a [u8],
    /// Whether `Connection` nominates fields
    /// ([`nominates`](crate::http1::head::RequestHead::nominates)).
    pub nominates: bool,
    /// One more field that ends here, by its name.
    pub ends_here: Option<&'static str>,
    /// Who sent it.
    pub client: &'a ClientFacts,
}

/// A head being written.
struct Writer<'o, 'a, 'f, F> {
    out: &'o mut Vec<u8>,
    onward: &'a Onward<'a>,
    nominated: Nominated<'f>,
    /// All fields.
    fields: F,
    /// The lines that pass as they came, and are not written yet.
    run: Run,
    marks: Marks,
    claimed: Claimed,
    has_id: bool,
    has_length: bool,
    has_cookie: bool,
}

/// Appends the head to send to `out`, made from the `fields` as received; the blank line that ends
/// it included. `out` must stay below 4 GiB.
#[inline]
#[expect(
    clippy::needless_pass_by_value,
    reason = "iterators and views, which are made to be moved"
)]
pub fn request<'f>(out: &mut Vec<u8>, onward: &Onward<'_>, fields: impl Lines<'f>) -> Marks {
    let mut nominated = Nominated::new(onward.nominates, &fields);
    nominated.names.extend(onward.ends_here.map(str::as_bytes));
    let mut writer = Writer {
        out,
        onward,
        nominated,
        fields: fields.clone(),
        run: Run::default(),
        marks: Marks::default(),
        claimed: Claimed::default(),
        has_id: false,
        has_length: false,
        has_cookie: false,
    };
    writer.reserve();
    let mut opened = 0;
    match fields.opening(onward) {
        Some(opening) => {
            writer.open(&opening);
            opened = 1;
        }
        None => writer.start(),
    }
    let closely = writer.nominated.any();
    fields.show(opened, closely, &mut writer);
    writer.pause();
    writer.end();
    writer.marks
}

impl<'f, F: Lines<'f>> Look<'f, F::Line> for Writer<'_, '_, 'f, F> {
    #[inline]
    fn pass(&mut self, start: usize, end: usize) {
        self.run.extend(self.out, self.fields.head(), start, end);
    }

    #[inline]
    fn line(&mut self, line: F::Line, rest: &(impl Iterator<Item = F::Line> + Clone)) {
        if !self.nominated.has(line.name()) {
            self.field(line, rest);
        }
    }
}

impl<'f, F: Lines<'f>> Writer<'_, '_, 'f, F> {
    /// Grows the buffer once, by more than the head needs.
    fn reserve(&mut self) {
        const NAMES_AND_NUMBERS: usize = 384;
        let onward = self.onward;
        let own = onward.target.len() + onward.host.len() * 3 + onward.request_id.len();
        let client = onward.client.lines.len() + onward.client.forwarded.len();
        self.out
            .reserve(self.fields.room() + own + client + NAMES_AND_NUMBERS);
    }

    /// Begins with what the received head begins with.
    #[inline]
    fn open(&mut self, opening: &Opening) {
        let onward = self.onward;
        let start = self.out.len();
        let at = |from: usize, length: usize| {
            let start = start + from;
            Span { start: place(start), end: place(start + length) }
        };
        self.marks.method = at(0, onward.method.len());
        self.marks.target = at(opening.target, onward.target.len());
        self.marks.host = at(opening.host.value, onward.host.len());
        self.run = Run { start: 0, end: opening.host.end };
    }

    fn start(&mut self) {
        let onward = self.onward;
        self.marks.method = self.put(onward.method.as_bytes());
        self.out.push(b' ');
        let start = self.at();
        if !onward.target.starts_with('/') && onward.target != "*" {
            self.out.push(b'/');
        }
        self.marks.target = Span { start, ..self.put(onward.target.as_bytes()) };
        self.out.extend_from_slice(b" HTTP/1.1\r\nHost: ");
        self.marks.host = self.put(onward.host);
        self.out.extend_from_slice(b"\r\n");
    }

    /// Writes what becomes of one field; `rest` are the ones after it.
    #[inline]
    fn field(&mut self, line: F::Line, rest: &(impl Iterator<Item = F::Line> + Clone)) {
        let known = line.known();
        if let (true, Some(clean)) = (is_plain(known), line.clean()) {
            self.run.add(self.out, self.fields.head(), clean);
            if known == Known::UserAgent {
                self.marks.user_agent = self.first(self.marks.user_agent, clean);
            } else if known == Known::Referer {
                self.marks.referer = self.first(self.marks.referer, clean);
            }
        } else {
            self.other_field(known, line, rest);
        }
    }

    /// Where the value of a line that was just added to the run will stand, unless there is one.
    #[inline]
    fn first(&self, first: Option<Span>, line: Clean) -> Option<Span> {
        first.or_else(|| {
            let at = |at: usize| {
                let start = self.out.len() + at;
                place(start.saturating_sub(self.run.start))
            };
            Some(Span { start: at(line.value), end: at(line.value_end) })
        })
    }

    fn other_field(
        &mut self,
        known: Known,
        field: F::Line,
        rest: &(impl Iterator<Item = F::Line> + Clone),
    ) {
        let (name, value) = (field.name(), field.value());
        let trusted = self.onward.client.trusted;
        match known {
            Known::Other | Known::Accept => self.write(name, value),
            Known::UserAgent => {
                let span = self.mark(name, value);
                self.marks.user_agent.get_or_insert(span);
            }
            Known::Referer => {
                let span = self.mark(name, value);
                self.marks.referer.get_or_insert(span);
            }
            Known::Cookie => self.cookie(field, rest),
            Known::ContentLength => self.length(name),
            Known::Expect if self.onward.expects_continue => self.write(name, value),
            Known::XRequestId => self.request_id(name),
            Known::XForwardedHost if trusted => {
                self.claimed.host = true;
                self.write(name, value);
            }
            Known::XForwardedPort if trusted => {
                self.claimed.port = true;
                self.write(name, value);
            }
            Known::XForwardedProto if trusted => {
                self.claimed.proto = true;
                self.write(name, value);
            }
            Known::XRealIp if trusted => {
                self.claimed.real_ip = true;
                self.write(name, value);
            }
            Known::XForwardedOther if trusted => self.write(name, value),
            Known::Underscored => self.marks.underscored += 1,
            // Ends here, is written elsewhere, or is a claim of somebody who is not believed.
            Known::Connection
            | Known::Expect
            | Known::Forwarded
            | Known::Hop
            | Known::Host
            | Known::TransferEncoding
            | Known::Upgrade
            | Known::XForwardedFor
            | Known::XForwardedHost
            | Known::XForwardedOther
            | Known::XForwardedPort
            | Known::XForwardedProto
            | Known::XRealIp => {}
        }
    }

    /// HTTP/2 may split `Cookie` into several lines; HTTP/1.1 knows only one (RFC 9113 §8.2.3).
    fn cookie(&mut self, first: F::Line, rest: &(impl Iterator<Item = F::Line> + Clone)) {
        if self.has_cookie {
            return;
        }
        self.has_cookie = true;
        let mut more = rest
            .clone()
            .filter(|line| line.known() == Known::Cookie)
            .peekable();
        if let (None, Some(clean)) = (more.peek(), first.clean()) {
            self.run.add(self.out, self.fields.head(), clean);
            return;
        }
        self.pause();
        self.out.extend_from_slice(first.name());
        self.out.extend_from_slice(b": ");
        self.out.extend_from_slice(first.value());
        for line in more {
            self.out.extend_from_slice(b"; ");
            self.out.extend_from_slice(line.value());
        }
        self.out.extend_from_slice(b"\r\n");
    }

    /// The length of the content as it was understood, where the client said it.
    fn length(&mut self, name: &[u8]) {
        if let (Framing::Length(length), false) = (self.onward.body, self.has_length) {
            self.has_length = true;
            self.pause();
            self.out.extend_from_slice(name);
            self.out.extend_from_slice(b": ");
            number(self.out, length);
            self.out.extend_from_slice(b"\r\n");
        }
    }

    fn request_id(&mut self, name: &[u8]) {
        if !self.has_id {
            self.has_id = true;
            self.marks.request_id = self.mark(name, self.onward.request_id);
        }
    }

    /// Says the request's id, where the client did not.
    fn own_request_id(&mut self) {
        if self.has_id {
            return;
        }
        self.has_id = true;
        self.out.extend_from_slice(b"X-Request-ID: ");
        let start = self.at();
        match <&[u8; 32]>::try_from(self.onward.request_id) {
            // The ids that the proxy makes: of a length that the compiler knows.
            Ok(id) => self.out.extend_from_slice(id),
            Err(_) => self.out.extend_from_slice(self.onward.request_id),
        }
        self.marks.request_id = Span { start, end: self.at() };
        self.out.extend_from_slice(b"\r\n");
    }

    #[inline]
    fn end(&mut self) {
        let onward = self.onward;
        self.own_request_id();
        if onward.client.trusted {
            forwarding::extend(
                self.out,
                onward.client,
                onward.host,
                &self.claimed,
                &self.nominated,
                &self.fields,
            );
        } else {
            forwarding::set(self.out, onward.client, onward.host);
        }
        self.length(b"Content-Length");
        if onward.body == Framing::Chunked {
            self.out
                .extend_from_slice(b"Transfer-Encoding: chunked\r\n");
        }
        if let Some(upgrade) = onward.upgrade {
            self.out.extend_from_slice(b"Connection: upgrade\r\n");
            line(self.out, b"Upgrade", upgrade);
        }
        self.out.extend_from_slice(b"\r\n");
    }

    /// Writes the lines that pass as they came, before anything else is written.
    #[inline]
    fn pause(&mut self) {
        self.run.write(self.out, self.fields.head());
    }

    /// Writes a field line.
    fn write(&mut self, name: &[u8], value: &[u8]) {
        self.pause();
        line(self.out, name, value);
    }

    /// Writes a field line and says where its value stands.
    fn mark(&mut self, name: &[u8], value: &[u8]) -> Span {
        self.pause();
        self.out.extend_from_slice(name);
        self.out.extend_from_slice(b": ");
        let span = self.put(value);
        self.out.extend_from_slice(b"\r\n");
        span
    }

    fn put(&mut self, text: &[u8]) -> Span {
        let start = self.at();
        self.out.extend_from_slice(text);
        Span { start, end: self.at() }
    }

    fn at(&self) -> u32 {
        place(self.out.len())
    }
}

/// A place in a buffer, which stays below 4 GiB.
#[inline]
fn place(at: usize) -> u32 {
    at as u32
}

/// Whether a field passes whatever else the head says.
#[inline]
fn is_plain(known: Known) -> bool {
    matches!(known, Known::Other | Known::Accept | Known::UserAgent | Known::Referer)
}
