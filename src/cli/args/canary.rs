//! `canary` and `preview`.

use crate::cli::args::Manner;
use crate::cli::args::Which;
use crate::cli::args::colour;
use crate::model::colour::Colour;
use crate::model::split::Share;

/// Examples of `canary`.
pub const CANARY_HELP: &str = "\
Examples:
  proxyctl canary green --weight 5      gate, then 5 % of the users get green, always the same ones
  proxyctl canary green --weight 12.5   more of them; nobody is moved back
  proxyctl promote green                everybody
  proxyctl canary green --weight 0      nobody: drains green and ends with the receipt";

/// Examples of `preview`.
pub const PREVIEW_HELP: &str = "\
Examples:
  proxyctl preview green            prints a link for a browser and a line for curl, good for an hour
  proxyctl preview green --for 8h   until the evening
  proxyctl preview green --off      no link is worth anything any more";

/// `canary`.
#[derive(Debug, clap::Args)]
pub struct Canary {
    /// The standby colour
    #[arg(value_parser = colour())]
    pub colour: Colour,
    /// Percent of the users, such as 5, 0.1 or 12.5; 0 ends the canary
    #[arg(long, value_name = "PERCENT")]
    pub weight: Share,
    /// Which upstreams.
    #[command(flatten)]
    pub which: Which,
    /// How.
    #[command(flatten)]
    pub manner: Manner,
    /// Every target must present this build (health.build_header)
    #[arg(long, value_name = "ID", conflicts_with = "force")]
    pub build: Option<String>,
}

/// `preview`.
#[derive(Debug, clap::Args)]
pub struct Preview {
    /// The standby colour
    #[arg(value_parser = colour())]
    pub colour: Colour,
    /// Which upstreams.
    #[command(flatten)]
    pub which: Which,
    /// When it is over by itself, such as 30m or 12h [default: 1h]
    #[arg(long = "for", value_name = "DURATION", conflicts_with = "off")]
    pub lasts: Option<String>,
    /// End it now
    #[arg(long)]
    pub off: bool,
}
