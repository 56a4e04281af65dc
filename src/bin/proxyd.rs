//! The daemon: flags in, hand over, exit code out.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use clap::Subcommand;
use proxyd::config;
use proxyd::daemon::demo;
use proxyd::daemon::life;
use proxyd::daemon::verify;
use proxyd::model::problem::Problem;
use proxyd::observe::log;

/// Faster than glibc's where a request needs many small pieces: docs/PERFORMANCE.md has the figures.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Exit codes: 0 after a clean stop, 1 when it cannot start or the file is not valid, 2 on wrong
/// usage (clap's own).
const FAILED: u8 = 1;

/// A reverse proxy that moves all traffic from blue to green in one atomic store.
#[derive(Debug, Parser)]
#[command(name = "proxyd", version, propagate_version = true)]
struct Args {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve (also what plain `proxyd` does)
    Run {
        /// The configuration file; else ./proxy.yaml, else /etc/proxyd/proxy.yaml
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Validate the configuration file, and start nothing
    Check {
        /// The configuration file; else ./proxy.yaml, else /etc/proxyd/proxy.yaml
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// The two-minute tour: example targets, a proxy in front of them, live traffic
    Demo {
        /// Play the whole story, print the tally, exit 0 only if no request failed
        #[arg(long)]
        once: bool,
    },
    /// Print the JSON Schema of the configuration file
    Schema,
}

fn main() -> ExitCode {
    let args = Args::parse(); // prints help and wrong usage itself, and exits: 0 and 2
    let done = match args.command.unwrap_or(Command::Run { config: None }) {
        Command::Run { config } => find(config).and_then(|path| run(&path)),
        Command::Check { config } => find(config).and_then(|path| check(&path)),
        Command::Demo { once } => play(once),
        Command::Schema => {
            say(&config::schema::json());
            Ok(())
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            complain(&why);
            ExitCode::from(FAILED)
        }
    }
}

fn find(config: Option<PathBuf>) -> Result<PathBuf, String> {
    config.or_else(config::file::find).ok_or_else(|| {
        "proxyd: no configuration file: neither ./proxy.yaml nor /etc/proxyd/proxy.yaml\n  hint: name one with --config FILE, or try `proxyd demo`, which needs none".to_owned()
    })
}

fn run(path: &std::path::Path) -> Result<(), String> {
    log::start().map_err(|bad| format!("proxyd: {bad}"))?;
    life::run(path).map_err(|refused| refused.to_string())
}

fn check(path: &std::path::Path) -> Result<(), String> {
    let loaded = config::load(path).map_err(|problems| lines(&problems))?;
    let verified = verify::certificates(&loaded);
    if !verified.problems.is_empty() {
        return Err(lines(&verified.problems));
    }
    if !verified.missing.is_empty() {
        complain(&lines(&verified.missing));
    }
    say(&format!("{}: valid", path.display()));
    Ok(())
}

fn lines(problems: &[Problem]) -> String {
    problems
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}

fn play(once: bool) -> Result<(), String> {
    // What the daemon has to say would tear the live line apart; `PROXYD_LOG` asks for it.
    log::start_with("warn").map_err(|bad| format!("proxyd: {bad}"))?;
    let runtime = life::runtime().map_err(|refused| refused.to_string())?;
    match runtime.block_on(demo::run(once)) {
        Ok(true) => Ok(()),
        Ok(false) => Err("proxyd: demo: requests have failed".to_owned()),
        Err(error) => Err(format!("proxyd: {error:#}")),
    }
}

/// Whoever reads may have enough (`proxyd schema | head`): then the rest is not wanted.
fn say(text: &str) {
    drop(writeln!(std::io::stdout(), "{text}"));
}

#[expect(clippy::print_stderr, reason = "the one line that says why the daemon does not run")]
fn complain(why: &str) {
    eprintln!("{why}");
}
