//! `maintenance`.

use std::path::PathBuf;

use crate::cli::args::Which;

/// `maintenance`.
#[derive(Debug, clap::Subcommand)]
pub enum Maintenance {
    /// Answer 503 with a page and Retry-After to all but the networks that are let through
    On {
        /// Which upstreams.
        #[command(flatten)]
        which: Which,
        /// When it is over by itself, such as 30m or 12h [default: 4h]
        #[arg(long = "for", value_name = "DURATION")]
        lasts: Option<String>,
        /// A network or address whose clients are served all the same; may be repeated
        #[arg(long, value_name = "NETWORK")]
        allow: Vec<String>,
        /// When clients are told to come back [default: 2m]
        #[arg(long, value_name = "DURATION")]
        retry_after: Option<String>,
        /// A file of HTML to show instead of the proxy's own page
        #[arg(long, value_name = "FILE")]
        page: Option<PathBuf>,
    },
    /// Let clients in again
    Off {
        /// Which upstreams.
        #[command(flatten)]
        which: Which,
    },
}
