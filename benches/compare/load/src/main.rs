//! The origin that proxies are measured in front of, and the loads that wrk and h2load do not have.
//! Blocking threads, no runtime: a tool that is itself cheap leaves its core to the load.
//!
//! ```text
//! load origin  --port P --dir FOLDER [--addresses N]   answers 100 B, or a file of FOLDER by its name
//! load connect --port P [--tls [--tls12] [--resume]] [--threads 16] [--secs 4]   a connection a request
//! load rate    --port P [--tls] [--rps 2000] [--threads 32] [--secs 5] [--samples FILE]   open loop
//! load idle    --port P [--tls] [--count 5000]   holds that many connections until stdin closes
//! ```
//!
//! Every load prints one line of JSON; `idle` prints it when all connections stand.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "its figures go to stdout")]

mod args;
mod client;
mod connect;
mod idle;
mod origin;
mod rate;
mod report;

use std::num::NonZeroU64;
use std::process::ExitCode;

use crate::args::Args;

/// What any part may fail with: it is said once, and ends the tool.
type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let mode = words.next().unwrap_or_default();
    let done = Args::parse(words).and_then(|args| match mode.as_str() {
        "origin" => origin::run(&args),
        "connect" => connect::run(&args),
        "rate" => rate::run(&args),
        "idle" => idle::run(&args),
        _ => Err(format!("\"{mode}\" is none of origin, connect, rate, idle").into()),
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("load: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Lets this thread's sleeps end within a microsecond of their time; the default is 50.
fn wake_on_time() {
    // Where the kernel does not have it, latencies read a little longer for every proxy alike.
    let _: Result<_, _> = rustix::thread::set_current_timer_slack(NonZeroU64::new(1000));
}
