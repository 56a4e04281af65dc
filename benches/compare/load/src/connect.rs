//! A new connection for each request, from a fixed number of threads, as fast as they get through.

use std::thread;
use std::time::Duration;
use std::time::Instant;

use crate::Failure;
use crate::args::Args;
use crate::client::Dialer;
use crate::report::Report;
use crate::wake_on_time;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/// After a failure, so that a proxy that refuses is not drowned.
const PAUSE: Duration = Duration::from_millis(5);

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let length = Duration::from_secs_f64(args.number("secs", 4.0)?);
    let dialers = (0..args.number("threads", 16)?)
        .map(|_| Dialer::new(args))
        .collect::<Result<Vec<_>, _>>()?;
    let start = Instant::now();
    let mut all = Report::default();
    thread::scope(|scope| {
        let threads: Vec<_> = dialers
            .iter()
            .map(|dialer| scope.spawn(move || one(dialer, start + length)))
            .collect();
        for thread in threads {
            all.add(thread.join().unwrap_or_default());
        }
    });
    all.print(start.elapsed(), 0);
    Ok(())
}

fn one(dialer: &Dialer, end: Instant) -> Report {
    wake_on_time();
    let mut report = Report::default();
    while Instant::now() < end {
        let began = Instant::now();
        let done = dialer.connect().and_then(|mut client| {
            client.ask(REQUEST)?;
            report.resumed += u64::from(client.resumed());
            client.close();
            Ok(())
        });
        match done {
            Ok(()) => report.latencies.push(began.elapsed()),
            Err(error) => {
                if report.errors == 0 {
                    eprintln!("load: connect: {error}");
                }
                report.errors += 1;
                thread::sleep(PAUSE);
            }
        }
    }
    report
}
