//! `target`, `roll`, `pool` and `deploy`.

use clap::Args;
use clap::Subcommand;

use crate::cli::args::Manner;
use crate::cli::args::colour;
use crate::cli::args::on_fail;
use crate::model::colour::Colour;
use crate::model::on_fail::OnFail;
use crate::model::split::Share;

/// What `roll --help` ends with.
pub const ROLL_HELP: &str = "\
Examples:
  proxyctl roll app --exec 'ssh {host} ./restart.sh {port}'
  proxyctl roll app --exec 'docker restart web-{port}' --parallel 2 --min-healthy 75%
  proxyctl roll app --exec 'ssh {host} ./restart.sh' --dry-run

Each target is drained, then the command runs while nothing is in flight there, then it must pass two
fresh probes. The roll stops at the first that does not come back, leaves that one draining, and says
how to go on. Meanwhile nobody else can promote or roll the upstream (they get exit code 4).";

/// What `deploy --help` ends with.
pub const DEPLOY_HELP: &str = "\
The whole story in one line: the colour that is not live gets these targets, must pass the gate, is made
live, and the other one drains; the last line is the receipt. If the gate refuses, the colour has its
former targets again and nothing has changed (exit 1). Of two deploys at once one is told to wait (4).
With --steps it gets a part of the users first; once that has begun, it keeps its new targets.";

/// `target`.
#[derive(Debug, Subcommand)]
pub enum Target {
    /// Send a target no new requests; its last ones may finish
    Drain {
        /// The upstream
        upstream: String,
        /// The target's address, as `status` shows it
        target: String,
        /// Return once nothing is left on it, with a receipt
        #[arg(long)]
        wait: bool,
        /// How long its requests may take before they are cut [default: promotion.drain_timeout]
        #[arg(long, value_name = "DURATION")]
        timeout: Option<String>,
        /// Although no other target of its pool is ready and healthy
        #[arg(long)]
        force: bool,
    },
    /// Send it requests again, once two fresh probes in a row are good
    Ready {
        /// The upstream
        upstream: String,
        /// The target's address
        target: String,
        /// How long to wait for its probes [default: promotion.gate_timeout]
        #[arg(long, value_name = "DURATION")]
        gate_timeout: Option<String>,
        /// Without a probe: nothing vouches for it
        #[arg(long)]
        force: bool,
    },
}

/// `pool`.
#[derive(Debug, Subcommand)]
pub enum Pool {
    /// Give the standby colour other targets; kept across restarts, shown as differing from the file
    Set {
        /// The colour
        #[arg(value_parser = colour())]
        colour: Colour,
        /// Its targets' addresses
        #[arg(required = true, value_name = "ADDRESS")]
        targets: Vec<String>,
        /// The upstream, if there are several
        #[arg(long, value_name = "NAME")]
        upstream: Option<String>,
        /// Although the colour is live: requests go to the new targets at once, nothing vouches for them
        #[arg(long)]
        force: bool,
    },
    /// Give the colour the targets of the file again
    Reset {
        /// The colour
        #[arg(value_parser = colour())]
        colour: Colour,
        /// The upstream, if there are several
        #[arg(long, value_name = "NAME")]
        upstream: Option<String>,
        /// Although the colour is live
        #[arg(long)]
        force: bool,
    },
}

/// `deploy`.
#[derive(Debug, Args)]
pub struct Deploy {
    /// A target of the new version; may be repeated
    #[arg(long = "target", required = true, value_name = "ADDRESS")]
    pub targets: Vec<String>,
    /// The upstream, if there are several
    #[arg(long, value_name = "NAME")]
    pub upstream: Option<String>,
    /// How.
    #[command(flatten)]
    pub manner: Manner,
    /// Every target must present this build (health.build_header)
    #[arg(long, value_name = "ID", conflicts_with = "force")]
    pub build: Option<String>,
    /// Compare it for so long, after the switch, with the colour it replaced: 5m (promotion.bake)
    #[arg(long, value_name = "DURATION")]
    pub bake: Option<String>,
    /// Percent of the users, step by step, each judged before the next: 1,10,50,100
    #[arg(long, value_name = "PERCENT", value_delimiter = ',')]
    pub steps: Vec<Share>,
    /// How long each step is judged, at least [default: 60s]
    #[arg(long, value_name = "DURATION", requires = "steps")]
    pub pause: Option<String>,
    /// What becomes of it if it is worse: revert, freeze or notify (promotion.on_fail)
    #[arg(long, value_name = "WHAT", value_parser = on_fail())]
    pub on_fail: Option<OnFail>,
}

/// `roll`.
#[derive(Debug, Clone, Default, Args)]
pub struct Roll {
    /// The upstream: its live colour, or its only pool
    pub upstream: String,
    /// The command for each target, run by `sh -c`; {host} {port} {target} {upstream} stand for its own
    #[arg(long, value_name = "COMMAND")]
    pub exec: String,
    /// Only these targets, in this order; may be repeated
    #[arg(long = "target", value_name = "ADDRESS")]
    pub targets: Vec<String>,
    /// How many at a time
    #[arg(long, value_name = "N", default_value = "1", value_parser = at_least_one)]
    pub parallel: usize,
    /// Never fewer ready and healthy targets than so many, or 75% [default: all but --parallel]
    #[arg(long, value_name = "N|P%", value_parser = Least::parse)]
    pub min_healthy: Option<Least>,
    /// How long a target's requests may take before they are cut
    #[arg(long, value_name = "DURATION")]
    pub drain_timeout: Option<String>,
    /// How long to wait until a target passes its probes again
    #[arg(long, value_name = "DURATION")]
    pub gate_timeout: Option<String>,
    /// Print what would be done; change nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// How many targets must go on serving.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Least {
    /// So many.
    Count(usize),
    /// So many of a hundred; rounded up.
    Percent(usize),
}

impl Least {
    /// How many of `all`.
    #[must_use]
    pub fn of(self, all: usize) -> usize {
        match self {
            Self::Count(count) => count,
            Self::Percent(percent) => all.saturating_mul(percent).div_ceil(100),
        }
    }

    fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("\"{text}\" is neither a number nor a percentage: 2, or 75%");
        match text.strip_suffix('%') {
            Some(percent) => {
                let percent = percent.parse().ok().filter(|percent| *percent <= 100);
                percent.map(Self::Percent).ok_or_else(wrong)
            }
            None => text.parse().map(Self::Count).map_err(|_no_number| wrong()),
        }
    }
}

fn at_least_one(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| format!("\"{text}\" is not a number from 1 on"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_many_must_stay_is_a_number_or_a_percentage_rounded_up() {
        assert_eq!(Least::parse("2").unwrap().of(5), 2);
        assert_eq!(Least::parse("50%").unwrap().of(5), 3);
        assert_eq!(Least::parse("100%").unwrap().of(3), 3);
        assert_eq!(Least::parse("0%").unwrap().of(3), 0);
        for bad in ["", "%", "-1", "101%", "1.5", "two"] {
            assert!(Least::parse(bad).is_err(), "{bad}");
        }
        assert!(at_least_one("0").is_err());
    }
}
