//! The commands that look closely: `why`, `history`, `explain`.

use crate::cli::args::Which;
use crate::cli::args::colour;
use crate::model::colour::Colour;

/// `history`.
#[derive(Debug, clap::Args)]
pub struct History {
    /// The newest so many
    #[arg(short, long, value_name = "NUMBER", default_value_t = 20)]
    pub number: usize,
    /// About this upstream only
    #[arg(long, value_name = "NAME")]
    pub upstream: Option<String>,
    /// Of this last while only, such as 2h or 30m
    #[arg(long, value_name = "DURATION")]
    pub since: Option<String>,
}

/// `why`.
#[derive(Debug, clap::Args)]
pub struct Why {
    /// The colour that is to be promoted
    #[arg(value_parser = colour())]
    pub colour: Colour,
    /// Which upstreams.
    #[command(flatten)]
    pub which: Which,
    /// Every target must present this build (health.build_header)
    #[arg(long, value_name = "ID")]
    pub build: Option<String>,
}

/// `explain`.
#[derive(Debug, clap::Args)]
pub struct Explain {
    /// The URL, such as `https://app.example.com/cart?x=1`
    pub url: String,
    /// A header field, such as 'Cookie: a=b'; may be repeated
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    pub headers: Vec<String>,
    /// The method [default: GET]
    #[arg(short = 'X', long, value_name = "METHOD")]
    pub method: Option<String>,
    /// The address that the request comes from [default: 127.0.0.1]
    #[arg(long, value_name = "ADDRESS")]
    pub from: Option<String>,
}
