//! What a load came to, as one line of JSON.

use std::time::Duration;

/// Latencies and failures of one load.
#[derive(Default)]
pub(crate) struct Report {
    /// One for each request that was answered.
    pub(crate) latencies: Vec<Duration>,
    /// Requests that were not answered with 200.
    pub(crate) errors: u64,
    /// Handshakes that resumed a session.
    pub(crate) resumed: u64,
}

impl Report {
    /// Adds what another thread saw.
    pub(crate) fn add(&mut self, other: Self) {
        self.latencies.extend(other.latencies);
        self.errors += other.errors;
        self.resumed += other.resumed;
    }

    /// The line; `began` is the wall clock in nanoseconds, 0 where nobody asks.
    pub(crate) fn print(mut self, took: Duration, began: u128) {
        self.latencies.sort_unstable();
        let at = |part| micros(percentile(&self.latencies, part));
        println!(
            concat!(
                r#"{{"requests":{},"errors":{},"resumed":{},"secs":{:.3},"began":{},"#,
                r#""p50":{:.1},"p90":{:.1},"p99":{:.1},"p999":{:.1}}}"#
            ),
            self.latencies.len(),
            self.errors,
            self.resumed,
            took.as_secs_f64(),
            began,
            at(500),
            at(900),
            at(990),
            at(999),
        );
    }
}

/// Of sorted values the one below which `part` of a thousand lie.
fn percentile(sorted: &[Duration], part: usize) -> Duration {
    let last = sorted.len().saturating_sub(1);
    sorted.get(last * part / 1000).copied().unwrap_or_default()
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}
