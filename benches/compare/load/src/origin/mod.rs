//! A cheap HTTP/1.1 origin: one thread, edge-triggered epoll, `sendfile` for files. It answers every
//! request with 200, reads bodies and forgets them, and never closes a connection by itself.

mod request;

use std::collections::HashMap;
use std::fs;
use std::fs::File;
use std::io;
use std::net::Ipv4Addr;
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::os::fd::OwnedFd;

use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use rustix::event::epoll::CreateFlags;
use rustix::event::epoll::EventData;
use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::SendFlags;
use rustix::net::SocketFlags;
use rustix::net::sockopt;

use crate::Failure;
use crate::args::Args;
use crate::origin::request::Reader;
use crate::origin::request::Request;

const BACKLOG: i32 = 8192;

/// What is read at once.
const SCRATCH: usize = 64 * 1024;

const BODY: &[u8; 100] = b"hello hello hello hello hello hello hello hello hello hello \
hello hello hello hello hello hello hel\n";

/// Something that an event may be for, filed under its descriptor.
enum Slot {
    Listener(TcpListener),
    Connection(Connection),
}

struct Connection {
    socket: OwnedFd,
    reader: Reader,
    /// The file being sent, by name, and how much of it has been.
    sending: Option<(Vec<u8>, u64)>,
    close: bool,
}

/// What can be answered.
struct Pages {
    small: Vec<u8>,
    files: HashMap<Vec<u8>, Page>,
}

struct Page {
    head: Vec<u8>,
    file: File,
    length: u64,
}

/// Whether a connection is to be kept.
#[derive(PartialEq)]
enum Fate {
    Keep,
    Drop,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let port = args.port()?;
    let pages = Pages::of(args.text("dir").ok_or("--dir is missing")?)?;
    let poll = epoll::create(CreateFlags::CLOEXEC)?;
    let mut slots = Vec::new();
    for at in 1..=args.number("addresses", 1)? {
        let listener = TcpListener::bind((Ipv4Addr::from_bits(0x7f00_0000 + at), port))?;
        rustix::net::listen(&listener, BACKLOG)?;
        listener.set_nonblocking(true)?;
        watch(&poll, &listener, EventFlags::IN)?;
        place(&mut slots, listener.as_raw_fd(), Slot::Listener(listener));
    }
    let mut events = Vec::with_capacity(512);
    let mut scratch = vec![0; SCRATCH];
    loop {
        events.clear();
        match epoll::wait(&poll, spare_capacity(&mut events), None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &events {
            turn(&poll, &mut slots, event.data.u64(), &pages, &mut scratch);
        }
    }
}

/// Serves one event.
fn turn(poll: &OwnedFd, slots: &mut Vec<Option<Slot>>, at: u64, pages: &Pages, scratch: &mut [u8]) {
    let Some(place) = usize::try_from(at).ok().and_then(|at| slots.get_mut(at)) else {
        return;
    };
    match place {
        None => {}
        Some(Slot::Connection(connection)) => {
            let fate = connection.pump(scratch, pages);
            place.take_if(|_| fate == Fate::Drop);
        }
        Some(Slot::Listener(listener)) => {
            let accepted: Vec<OwnedFd> = std::iter::from_fn(|| accept(poll, listener)).collect();
            for socket in accepted {
                let descriptor = socket.as_raw_fd();
                let reader = Reader::default();
                let connection = Connection { socket, reader, sending: None, close: false };
                self::place(slots, descriptor, Slot::Connection(connection));
            }
        }
    }
}

/// One connection that waits; `None` when there are no more.
fn accept(poll: &OwnedFd, listener: &TcpListener) -> Option<OwnedFd> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = rustix::net::accept_with(listener, flags).ok()?;
    sockopt::set_tcp_nodelay(&socket, true).ok()?;
    let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
    watch(poll, &socket, flags).ok()?;
    Some(socket)
}

fn watch(
    poll: &OwnedFd,
    what: &(impl AsRawFd + std::os::fd::AsFd),
    flags: EventFlags,
) -> io::Result<()> {
    let at = u64::try_from(what.as_raw_fd()).map_err(io::Error::other)?;
    Ok(epoll::add(poll, what, EventData::new_u64(at), flags)?)
}

fn place(slots: &mut Vec<Option<Slot>>, descriptor: i32, slot: Slot) {
    let at = usize::try_from(descriptor).unwrap_or_default();
    if slots.len() <= at {
        slots.resize_with(at + 1, || None);
    }
    if let Some(place) = slots.get_mut(at) {
        *place = Some(slot);
    }
}

impl Connection {
    /// Reads and answers until the socket has nothing more to read or takes nothing more.
    fn pump(&mut self, scratch: &mut [u8], pages: &Pages) -> Fate {
        loop {
            match self.send_file(pages) {
                Ok(true) if self.close => return Fate::Drop,
                Ok(true) => {}
                Ok(false) => return Fate::Keep,
                Err(_) => return Fate::Drop,
            }
            let got = match rustix::io::read(&self.socket, &mut *scratch) {
                Ok(0) => return Fate::Drop,
                Ok(got) => got,
                Err(Errno::AGAIN) => return Fate::Keep,
                Err(_) => return Fate::Drop,
            };
            let request = self.reader.feed(scratch.get(..got).unwrap_or_default());
            let answered = request.map(|request| self.answer(request, pages));
            match answered {
                None | Some(Ok(Fate::Keep)) => {}
                Some(Ok(Fate::Drop) | Err(_)) => return Fate::Drop,
            }
            // Edge-triggered: a short read means that the socket is empty.
            if self.sending.is_none() && got < scratch.len() {
                return Fate::Keep;
            }
        }
    }

    fn answer(&mut self, request: Request, pages: &Pages) -> Result<Fate, Errno> {
        self.close = request.close;
        let page = pages.files.get(&request.path);
        let (bytes, flags) = match page {
            None => (&pages.small, SendFlags::NOSIGNAL),
            Some(page) => (&page.head, SendFlags::NOSIGNAL | SendFlags::MORE),
        };
        // Between requests the socket's buffer is empty: a head fits.
        if rustix::net::send(&self.socket, bytes, flags)? != bytes.len() {
            return Err(Errno::NOBUFS);
        }
        self.sending = page.map(|_| (request.path, 0));
        let over = self.close && self.sending.is_none();
        Ok(if over { Fate::Drop } else { Fate::Keep })
    }

    /// Whether nothing is left to be sent.
    fn send_file(&mut self, pages: &Pages) -> Result<bool, Errno> {
        let Some((path, offset)) = &mut self.sending else { return Ok(true) };
        let page = pages.files.get(path).ok_or(Errno::NOENT)?;
        while *offset < page.length {
            let left = usize::try_from(page.length - *offset).unwrap_or(usize::MAX);
            match rustix::fs::sendfile(&self.socket, &page.file, Some(offset), left) {
                Ok(_) => {}
                Err(Errno::AGAIN) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        self.sending = None;
        Ok(true)
    }
}

impl Pages {
    /// Every file of the folder, by its name.
    fn of(folder: &str) -> io::Result<Self> {
        let mut small = head(100, "text/plain");
        small.extend_from_slice(BODY);
        let mut files = HashMap::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let file = File::open(entry.path())?;
            let length = file.metadata()?.len();
            let path = format!("/{}", entry.file_name().to_string_lossy()).into_bytes();
            let head = head(length, "application/octet-stream");
            files.insert(path, Page { head, file, length });
        }
        Ok(Self { small, files })
    }
}

fn head(length: u64, kind: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 200 OK\r\nServer: origin\r\nDate: Mon, 23 Nov 2026 00:00:00 GMT\r\n\
         Content-Type: {kind}\r\nContent-Length: {length}\r\nETag: \"5f3c-abc\"\r\n\r\n"
    )
    .into_bytes()
}
