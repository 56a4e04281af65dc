//! `pause` and `resume`.

use crate::cli::args::Which;

/// `pause`.
#[derive(Debug, clap::Args)]
pub struct Pause {
    /// The upstream, if there are several
    #[arg(value_name = "UPSTREAM", conflicts_with_all = ["upstreams", "all"])]
    pub upstream: Option<String>,
    /// Which upstreams.
    #[command(flatten)]
    pub which: Which,
    /// Hold only requests that may change something: those whose method is not GET, HEAD, OPTIONS or TRACE
    #[arg(long)]
    pub writes_only: bool,
    /// How long each request is held at the most [default: 20s]
    #[arg(long, value_name = "DURATION")]
    pub max: Option<String>,
    /// When the pause is over by itself [default: 5m]
    #[arg(long = "for", value_name = "DURATION")]
    pub lasts: Option<String>,
}

/// `resume`.
#[derive(Debug, clap::Args)]
pub struct Resume {
    /// The upstream, if there are several
    #[arg(value_name = "UPSTREAM", conflicts_with_all = ["upstreams", "all"])]
    pub upstream: Option<String>,
    /// Which upstreams.
    #[command(flatten)]
    pub which: Which,
    /// Over which time the requests are let go [default: 2s]
    #[arg(long, value_name = "DURATION")]
    pub over: Option<String>,
}
