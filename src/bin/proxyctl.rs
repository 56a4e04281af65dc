//! The hand: flags in, hand over, exit code out.

use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use proxyd::cli::args::Args;
use proxyd::cli::locate::locate;
use proxyd::cli::run::Hand;
use proxyd::cli::screen::Screen;

fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse(); // prints help and wrong usage itself, and exits: 0 and 2
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let variable = std::env::var_os("PROXYCTL_SOCKET");
    let located = locate(args.global.socket.clone(), variable, Path::new("proxy.yaml"));
    let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
    let (out_is_terminal, err_is_terminal) = (out.is_terminal(), err.is_terminal());
    let colours = may_have_colours();
    let mut hand = Hand::new(
        located.socket,
        Screen::new(&mut out, out_is_terminal, colours),
        Screen::new(&mut err, err_is_terminal, colours),
    );
    hand.doubt = located.doubt;
    hand.client.say_command(&command_line());
    Ok(ExitCode::from(runtime.block_on(hand.run(args))))
}

/// As it was typed, for the history. Words that are no text show as such.
fn command_line() -> String {
    let words = std::env::args_os()
        .skip(1)
        .map(|word| word.to_string_lossy().into_owned());
    let name = std::iter::once("proxyctl".to_owned());
    name.chain(words).collect::<Vec<_>>().join(" ")
}

/// <https://no-color.org>: any value but the empty one. A dumb terminal knows no colours either.
fn may_have_colours() -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    !refused && std::env::var_os("TERM").is_none_or(|terminal| terminal != "dumb")
}
