//! Every `proxyctl` line of the manuals is one that `proxyctl` takes.

use std::fs;
use std::path::Path;

use clap::Parser;

use crate::cli::args::Args;

const MANUALS: [&str; 3] = ["docs/RELEASING.md", "docs/OPERATING.md", "README.md"];

/// The commands in a manual's blocks, each as words.
fn commands(text: &str) -> Vec<Vec<String>> {
    let mut commands = Vec::new();
    let mut fenced = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        let is_block = fenced || line.starts_with("    ");
        if let Some(at) = line.find("proxyctl ").filter(|_| is_block) {
            // What installs or names the program is no call of it.
            let before = line.get(..at).unwrap_or_default();
            if before.trim_end_matches(['"', '(', '$', ' ']).is_empty() || before.ends_with("$(") {
                commands.push(words(line.get(at..).unwrap_or_default()));
            }
        }
    }
    commands
}

/// As a shell would split it, up to the end of the command.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quote = None;
    for char in line.chars() {
        let last = words.last_mut().expect("there is always one");
        match (quote, char) {
            (Some(open), _) if char == open => quote = None,
            (Some(_), _) => last.push(char),
            (None, '\'' | '"') => quote = Some(char),
            (None, '#' | '|' | ';' | ')' | '&' | '…') => break,
            (None, ' ') => words.push(String::new()),
            (None, _) => last.push(char),
        }
    }
    words.retain(|word| !word.is_empty());
    for word in &mut words {
        // Variables of a script that stand for a colour.
        if ["$COLOUR", "$NEW", "$OLD"].contains(&word.as_str()) {
            "green".clone_into(word);
        }
    }
    words
}

#[test]
fn every_command_of_the_manuals_is_one_that_proxyctl_takes() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut seen = 0;
    for manual in MANUALS {
        for words in commands(&fs::read_to_string(top.join(manual)).unwrap()) {
            let refused = Args::try_parse_from(&words).err();
            let refused = refused.filter(|error| error.exit_code() != 0);
            assert!(refused.is_none(), "{manual}: {words:?}\n{}", refused.unwrap());
            seen += 1;
        }
    }
    assert!(seen > 40, "only {seen} commands were found");
}

#[test]
fn a_line_is_split_as_a_shell_would() {
    let split = |line: &str| words(line).join("|");
    assert_eq!(
        split("proxyctl roll app --exec 'ssh {host} x'  # why"),
        "proxyctl|roll|app|--exec|ssh {host} x"
    );
    assert_eq!(split("proxyctl promote \"$NEW\" --all || exit"), "proxyctl|promote|green|--all");
    assert_eq!(
        commands("```sh\nA=$(proxyctl standby)\n```\nproxyctl x\n"),
        [["proxyctl", "standby"]]
    );
}
