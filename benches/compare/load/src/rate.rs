//! Requests at a fixed rate, whether or not the last ones have been answered: latency counts from
//! the moment a request was due, so that a proxy that stands still pays for all who wait.

use std::fmt::Write;
use std::fs;
use std::io;
use std::thread;
use std::time::Duration;
use std::time::Instant;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use crate::Failure;
use crate::args::Args;
use crate::client::Client;
use crate::client::Dialer;
use crate::report::Report;
use crate::wake_on_time;

const REQUEST: &[u8] =
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: load/1.0\r\nAccept: */*\r\n\r\n";

/// Until all threads stand at the start.
const LEAD: Duration = Duration::from_millis(300);

/// When one thread's requests are due.
struct Schedule {
    start: Instant,
    first: Duration,
    every: Duration,
    length: Duration,
}

/// What one thread saw; each sample is when a request was due and how long its answer took.
#[derive(Default)]
struct Seen {
    samples: Vec<(Duration, Duration)>,
    errors: u64,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let threads: u32 = args.number("threads", 32)?;
    let between = Duration::from_secs_f64(1.0 / args.number("rps", 2000.0)?);
    let length = Duration::from_secs_f64(args.number("secs", 5.0)?);
    let dialer = Dialer::new(args)?;
    let start = Instant::now() + LEAD;
    let began = (SystemTime::now() + LEAD).duration_since(UNIX_EPOCH)?;
    let mut seen = Vec::new();
    thread::scope(|scope| {
        let running: Vec<_> = (0..threads)
            .map(|at| {
                let schedule =
                    Schedule { start, first: between * at, every: between * threads, length };
                let dialer = &dialer;
                scope.spawn(move || one(dialer, &schedule))
            })
            .collect();
        seen.extend(
            running
                .into_iter()
                .map(|thread| thread.join().unwrap_or_default()),
        );
    });
    if let Some(path) = args.text("samples") {
        write_samples(path, &seen)?;
    }
    let mut report = Report::default();
    for one in seen {
        report.errors += one.errors;
        report
            .latencies
            .extend(one.samples.iter().map(|(_, took)| took));
    }
    report.print(length, began.as_nanos());
    Ok(())
}

fn one(dialer: &Dialer, schedule: &Schedule) -> Seen {
    wake_on_time();
    let mut seen = Seen::default();
    let mut client: Option<Client> = dialer.connect().ok();
    let mut due = schedule.first;
    while due < schedule.length {
        let at = schedule.start + due;
        thread::sleep(at.saturating_duration_since(Instant::now()));
        let answered = client
            .as_mut()
            .is_some_and(|client| client.ask(REQUEST).is_ok());
        if answered {
            seen.samples.push((due, at.elapsed()));
        } else {
            seen.errors += 1;
            client = dialer.connect().ok();
        }
        due += schedule.every;
    }
    seen
}

/// One line a request: when it was due and how long it took, in microseconds.
fn write_samples(path: &str, seen: &[Seen]) -> io::Result<()> {
    let mut text = String::new();
    for (due, took) in seen.iter().flat_map(|one| &one.samples) {
        writeln!(text, "{} {}", due.as_micros(), took.as_micros()).map_err(io::Error::other)?;
    }
    fs::write(path, text)
}
