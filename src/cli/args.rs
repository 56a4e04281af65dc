//! What may be typed: the commands of `proxyctl`, their flags, and the text of `--help`.

pub mod canary;
pub mod looks;
pub mod maintenance;
pub mod pause;
pub mod target;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::builder::TypedValueParser;

use crate::model::colour::Colour;
use crate::model::on_fail::OnFail;
use crate::model::split::Share;

const AFTER_HELP: &str = "\
A deploy, line by line:
  COLOUR=$(proxyctl standby)                    which colour to start the new containers in
  proxyctl promote \"$COLOUR\" --gate-timeout 2m  gate, switch, drain; ends with the receipt
  proxyctl rollback                             back to the colour that was live before
  proxyctl guard blue -- docker rm -f app-blue  only while blue is neither live nor in use

Exit codes:
    0  done, or already so
    1  refused by the gate (probe: not all pass; reload: the file has problems); nothing changed
    2  wrong usage, unknown colour or upstream
    3  done, but requests had to be cut at the drain deadline
    4  busy: another promotion holds this upstream
    5  --expect-live did not hold
    6  taken back, by a person or automatically: nothing is safe to kill
    7  no daemon answers, or it went away before it said how it ended
    8  the state could not be made durable, nothing changed
  125  guard: refused, the command was not run (126: not executable, 127: not found);
       any other exit code of guard is that of the command
  130  interrupted (143: terminated); the message says what that meant

The control socket is --socket, else $PROXYCTL_SOCKET, else the one that ./proxy.yaml names,
else /run/proxyd/control.sock.";

const PROMOTE_HELP: &str = "\
Examples:
  proxyctl promote green
  proxyctl promote green --expect-live blue --build \"$GIT_COMMIT\" --gate-timeout 100s
  proxyctl promote green --upstream app --upstream api   one gate, one switch for both
  proxyctl promote green --bake 5m                       taken back by itself if it is worse
  proxyctl promote green --steps 1,10,50,100 --pause 60s judged at each step, then everybody
  proxyctl promote green --dry-run                       the gate's verdict, nothing changed

The last line is the receipt. \"safe_to_kill\" names the colour whose processes may be stopped now.";

const GUARD_HELP: &str = "\
Examples:
  proxyctl guard blue -- docker rm -f app-blue
  proxyctl guard green --upstream api -- ssh app1 systemctl stop api-green

While the command runs nobody can promote the colour (they get exit code 4). The guard never waits:
if the colour is live, in use or held by a promotion, it exits 125 and runs nothing.";

/// Moves the traffic of a running proxyd between blue and green.
#[derive(Debug, clap::Parser)]
#[command(name = "proxyctl", version, after_help = AFTER_HELP, max_term_width = 100)]
pub struct Args {
    /// What holds for every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What holds for every command; may stand before or after it.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Global {
    /// The control socket of proxyd
    #[arg(long, global = true, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Print what the daemon says as it says it: JSON, one object a line
    #[arg(long, global = true)]
    pub json: bool,
    /// Print nothing but errors (and the receipt, and what standby and events are asked for)
    #[arg(long, short, global = true)]
    pub quiet: bool,
}

/// What to do.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Show every upstream: live colour, health, last probes, requests in flight, promotions
    Status {
        /// Show it anew every second, until Ctrl-C
        #[arg(long, short)]
        watch: bool,
    },
    /// Make a colour live: gate, switch, drain, receipt
    #[command(after_help = PROMOTE_HELP)]
    Promote(Promote),
    /// Make the colour live again that was live before
    Rollback(Rollback),
    /// Give a part of the users the standby colour, or another part than before
    #[command(after_help = canary::CANARY_HELP)]
    Canary(canary::Canary),
    /// Show the standby colour to whoever has the link that is printed
    #[command(after_help = canary::PREVIEW_HELP)]
    Preview(canary::Preview),
    /// Run a command only while a colour is neither live nor in use
    #[command(after_help = GUARD_HELP)]
    Guard(Guard),
    /// Print the colour that is not live, alone on a line
    Standby {
        /// The upstream, if there are several
        #[arg(long, value_name = "NAME")]
        upstream: Option<String>,
    },
    /// Probe every target of a colour once, freshly; exit 0 only if all pass
    Probe {
        /// The colour to probe
        #[arg(value_parser = colour())]
        colour: Colour,
        /// Which upstreams.
        #[command(flatten)]
        which: Which,
    },
    /// Drain one target, or make it ready again
    #[command(subcommand)]
    Target(target::Target),
    /// Restart the targets of an upstream one after the other, without losing a request
    #[command(after_help = target::ROLL_HELP)]
    Roll(target::Roll),
    /// Set the targets of a colour at run time
    #[command(subcommand)]
    Pool(target::Pool),
    /// Give the standby colour new targets and make it live: gate, switch, drain, receipt
    #[command(after_help = target::DEPLOY_HELP)]
    Deploy(target::Deploy),
    /// Tell clients that an application is being maintained, or let them in again
    #[command(subcommand)]
    Maintenance(maintenance::Maintenance),
    /// Hold requests for a moment: they wait, and go to whatever is live once they are let go
    Pause(pause::Pause),
    /// Let the requests go that a pause holds
    Resume(pause::Resume),
    /// Apply the configuration file now, and report its problems
    Reload,
    /// Say what stands in the way of a promotion, and show each target's last probes
    Why(looks::Why),
    /// Tell what would become of a request: route, colour, targets, headers, and why
    Explain(looks::Explain),
    /// Show who changed what, when, and what came of it; the newest last
    History(looks::History),
    /// Follow what happens: probe flips, promotions, drains, reloads
    Events,
    /// Print the completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// Which upstreams a command is about.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Which {
    /// The upstream, if there are several; may be repeated
    #[arg(long = "upstream", value_name = "NAME", conflicts_with = "all")]
    pub upstreams: Vec<String>,
    /// Every upstream that has two colours
    #[arg(long)]
    pub all: bool,
}

/// How a promotion is carried out.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Manner {
    /// How long to wait until every target passes, such as 100s or 2m
    #[arg(long, value_name = "DURATION")]
    pub gate_timeout: Option<String>,
    /// How long the retired colour may finish its requests before they are cut
    #[arg(long, value_name = "DURATION")]
    pub drain_timeout: Option<String>,
    /// Return once switched; the drain runs on
    #[arg(long)]
    pub no_wait: bool,
    /// Skip the gate: for emergencies, nothing vouches for the colour
    #[arg(long)]
    pub force: bool,
}

/// `promote`.
#[derive(Debug, clap::Args)]
pub struct Promote {
    /// The colour to make live
    #[arg(value_parser = colour())]
    pub colour: Colour,
    /// Which upstreams.
    #[command(flatten)]
    pub which: Which,
    /// How.
    #[command(flatten)]
    pub manner: Manner,
    /// Refuse (exit 5) unless this colour is live now
    #[arg(long, value_name = "COLOUR", value_parser = colour())]
    pub expect_live: Option<Colour>,
    /// Every target must present this build (health.build_header)
    #[arg(long, value_name = "ID", conflicts_with = "force")]
    pub build: Option<String>,
    /// Compare it for so long, after the switch, with the colour it replaced: 5m (promotion.bake)
    #[arg(long, value_name = "DURATION", conflicts_with = "dry_run")]
    pub bake: Option<String>,
    /// Percent of the users, step by step, each judged before the next: 1,10,50,100
    #[arg(long, value_name = "PERCENT", value_delimiter = ',', conflicts_with = "dry_run")]
    pub steps: Vec<Share>,
    /// How long each step is judged, at least [default: 60s]
    #[arg(long, value_name = "DURATION", requires = "steps")]
    pub pause: Option<String>,
    /// What becomes of it if it is worse: revert, freeze or notify (promotion.on_fail)
    #[arg(long, value_name = "WHAT", value_parser = on_fail())]
    pub on_fail: Option<OnFail>,
    /// Say what the gate says and what is in flight; change nothing
    #[arg(long, conflicts_with_all = ["force", "no_wait"])]
    pub dry_run: bool,
}

/// `rollback`.
#[derive(Debug, clap::Args)]
pub struct Rollback {
    /// Which upstreams.
    #[command(flatten)]
    pub which: Which,
    /// How.
    #[command(flatten)]
    pub manner: Manner,
}

/// `guard`.
#[derive(Debug, clap::Args)]
pub struct Guard {
    /// The colour that must be neither live nor in use
    #[arg(value_parser = colour())]
    pub colour: Colour,
    /// The upstream, if there are several
    #[arg(long, value_name = "NAME")]
    pub upstream: Option<String>,
    /// Although the colour is held for an instant rollback, which is given up
    #[arg(long)]
    pub ignore_hold: bool,
    /// The command and its arguments, after `--`
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

/// Refused here already, so that a misspelt colour is wrong usage even when no daemon answers.
pub(super) fn colour() -> impl TypedValueParser<Value = Colour> {
    PossibleValuesParser::new(Colour::BOTH.map(Colour::as_str))
        .try_map(|word| word.parse::<Colour>())
}

pub(super) fn on_fail() -> impl TypedValueParser<Value = OnFail> {
    PossibleValuesParser::new(OnFail::ALL.map(OnFail::as_str))
        .try_map(|word| word.parse::<OnFail>())
}

impl Which {
    /// As the control socket takes it: absent rather than empty.
    #[must_use]
    pub fn named(&self) -> Option<Vec<String>> {
        (!self.upstreams.is_empty()).then(|| self.upstreams.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;
    use clap::Parser;

    fn parse(line: &str) -> Result<Args, clap::Error> {
        Args::try_parse_from(line.split(' '))
    }

    fn refused(line: &str) -> String {
        let error = parse(line).expect_err(line);
        assert_eq!(error.exit_code(), 2, "{line}");
        error.to_string()
    }

    #[test]
    fn the_definition_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn global_flags_stand_before_or_after_the_command() {
        for line in [
            "proxyctl --socket /s --json --quiet status",
            "proxyctl status --socket /s --json --quiet",
            "proxyctl --json status -q --socket=/s",
        ] {
            let Global { socket, json, quiet } = parse(line).unwrap().global;
            assert_eq!((socket, json, quiet), (Some("/s".into()), true, true), "{line}");
        }
        let guarded = parse("proxyctl guard blue --json -- docker --socket x").unwrap();
        assert!(guarded.global.json);
        assert_eq!(guarded.global.socket, None, "what stands after -- belongs to the command");
    }

    #[test]
    fn a_promote_takes_every_flag() {
        let line = "proxyctl promote green --upstream app --upstream api --gate-timeout 100s --drain-timeout 30s --no-wait --expect-live blue --build b1";
        let Command::Promote(promote) = parse(line).unwrap().command else { panic!("{line}") };
        assert_eq!(promote.colour, Colour::Green);
        assert_eq!(promote.which.named(), Some(vec!["app".to_owned(), "api".to_owned()]));
        assert_eq!(promote.manner.gate_timeout.as_deref(), Some("100s"));
        assert_eq!(promote.manner.drain_timeout.as_deref(), Some("30s"));
        assert!(promote.manner.no_wait && !promote.manner.force && !promote.dry_run);
        assert_eq!(promote.expect_live, Some(Colour::Blue));
        assert_eq!(promote.build.as_deref(), Some("b1"));
        let Command::Rollback(back) = parse("proxyctl rollback --all --force").unwrap().command
        else {
            panic!("a rollback")
        };
        assert!(back.which.all && back.manner.force);
        assert_eq!(back.which.named(), None);
    }

    #[test]
    fn a_guard_takes_its_command_only_after_two_dashes() {
        let Command::Guard(guard) = parse("proxyctl guard blue -- rm -f x").unwrap().command else {
            panic!("a guard")
        };
        assert_eq!(guard.command, ["rm", "-f", "x"]);
        refused("proxyctl guard blue");
        refused("proxyctl guard blue --");
        refused("proxyctl guard blue rm -f x");
    }

    #[test]
    fn wrong_usage_is_refused_with_exit_code_2() {
        let text = refused("proxyctl promote purple");
        assert!(text.contains("purple") && text.contains("blue, green"), "{text}");
        refused("proxyctl");
        refused("proxyctl promote");
        refused("proxyctl promote green blue");
        refused("proxyctl promote green --all --upstream app");
        refused("proxyctl promote green --force --dry-run");
        refused("proxyctl promote green --force --build b1");
        refused("proxyctl promote green --expect-live red");
        refused("proxyctl stauts");
        refused("proxyctl completions");
    }

    #[test]
    fn help_lists_every_exit_code_and_version_names_the_program() {
        let help = Args::command().render_long_help().to_string();
        for code in ["0", "1", "2", "3", "4", "5", "6", "7", "8", "125", "130"] {
            assert!(help.contains(&format!("{code:>5}  ")), "{code} is missing:\n{help}");
        }
        let version = parse("proxyctl --version").expect_err("prints and ends");
        assert_eq!(version.exit_code(), 0);
        assert_eq!(version.to_string(), format!("proxyctl {}\n", env!("CARGO_PKG_VERSION")));
    }
}
