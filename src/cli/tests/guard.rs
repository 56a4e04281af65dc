//! guard: what is run, what is not, and how long the connection is held.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use clap::Parser;
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::sync::mpsc::UnboundedSender;

use crate::cli::args::Args;
use crate::cli::fake::Fake;
use crate::cli::fake::Reply;
use crate::cli::fake::Seen;
use crate::cli::fake::lines;
use crate::cli::fake::problem;
use crate::cli::fake::quiet;
use crate::cli::fake::run;
use crate::cli::run::Hand;
use crate::cli::screen::Screen;
use crate::cli::signals::Caught;
use crate::cli::signals::Signals;

const GUARD: &str = "POST /v1/guard";

fn guarding() -> Fake {
    let guarded = r#"{"event":"guarded","upstream":"app","colour":"blue"}"#;
    Fake::new(&[(GUARD, Reply::Held(lines(&[guarded])))])
}

/// A pipe in the file system: a command that reads it runs until the test lets it end.
fn pipe() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe");
    assert!(
        Command::new("mkfifo")
            .arg(&path)
            .status()
            .unwrap()
            .success()
    );
    (folder, path)
}

/// Returns once the command has opened the pipe, that is, runs.
async fn running(pipe: &Path) -> File {
    let pipe = pipe.to_owned();
    tokio::task::spawn_blocking(move || File::create(pipe).unwrap())
        .await
        .unwrap()
}

/// Each piece of text as it is printed.
struct Tap(UnboundedSender<String>);

impl Write for Tap {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0
            .send(String::from_utf8_lossy(bytes).into_owned())
            .ok();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn the_exit_code_of_the_command_is_passed_on() {
    let mut fake = guarding();
    for (script, code) in [("exit 0", 0), ("exit 3", 3), ("exit 125", 125), ("kill -9 $$", 137)] {
        let words = ["guard", "blue", "--upstream", "app", "--", "sh", "-c", script];
        let ran = run(fake.socket(), &words, quiet()).await;
        assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (code, "", ""), "{script}");
    }
    let (line, body) = fake.asked().await;
    assert_eq!((line.as_str(), body.as_str()), (GUARD, r#"{"colour":"blue","upstream":"app"}"#));
}

#[tokio::test]
async fn a_command_that_cannot_be_run_exits_127_or_126_and_lets_go() {
    let mut fake = guarding();
    let ran = fake.run("guard blue -- /nonexistent/command").await;
    assert_eq!(ran.code, 127);
    assert_eq!(ran.err, "proxyctl: guard: /nonexistent/command: command not found\n");
    assert_eq!(fake.closed().await, GUARD);
    assert_eq!(fake.run("guard blue -- /").await.code, 126);
}

#[tokio::test]
async fn refused_exits_125_and_runs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mark = folder.path().join("ran").display().to_string();
    let refused = r#"{"event":"refused","code":"busy","reasons":[{"upstream":"app","colour":"blue","what":"a promotion gates"}]}"#;
    for (reply, code) in [
        (problem(409, "in_use", "app: blue is live"), 125),
        (problem(409, "busy", "app: a promotion gates"), 125),
        (problem(404, "unknown", "several upstreams: api, app"), 2),
        (Reply::Lines(lines(&[refused])), 125),
        (Reply::Lines(Vec::new()), 7),
        (Reply::Broken(Vec::new()), 7),
        (Reply::Whole(500, "oops".to_owned()), 7),
    ] {
        let ran = Fake::new(&[(GUARD, reply)])
            .run(&format!("guard blue -- touch {mark}"))
            .await;
        assert_eq!((ran.code, ran.out.as_str()), (code, ""), "{}", ran.err);
        assert!(ran.err.starts_with("proxyctl: "), "{}", ran.err);
    }
    let words = ["guard", "blue", "--", "touch", &mark];
    assert_eq!(run("/nonexistent/s".into(), &words, quiet()).await.code, 7);
    assert!(!Path::new(&mark).exists());
}

#[tokio::test]
async fn the_connection_is_held_until_the_command_has_ended() {
    let mut fake = guarding();
    let (_folder, pipe) = pipe();
    let line = format!("guard blue -- cat {}", pipe.display());
    let (socket, words): (_, Vec<String>) =
        (fake.socket(), line.split(' ').map(str::to_owned).collect());
    let test = async {
        let open = running(&pipe).await;
        assert!(matches!(fake.seen.recv().await, Some(Seen::Asked(..))));
        // A second client is served after the guard's: had the guard's been closed, it would show.
        fake.run("guard blue -- true").await;
        assert!(matches!(fake.seen.recv().await, Some(Seen::Asked(..))));
        assert_eq!(fake.closed().await, GUARD, "the second one's");
        assert!(fake.seen.try_recv().is_err(), "the first one's is open");
        drop(open);
    };
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (ran, ()) = tokio::join!(run(socket, &words, quiet()), test);
    assert_eq!(ran.code, 0);
    assert_eq!(fake.closed().await, GUARD);
}

/// The exit code of a guard that is sent a signal while its command waits for the end of a pipe.
async fn signalled(caught: Caught) -> u8 {
    let fake = guarding();
    let (_folder, pipe) = pipe();
    let (sender, receiver) = mpsc::unbounded_channel();
    let line = format!("guard blue -- cat {}", pipe.display());
    let test = async {
        let open = running(&pipe).await;
        sender.send(caught).unwrap();
        if caught == Caught::Terminate {
            sender.closed().await; // the command has ended, with the pipe still open
        }
        drop(open);
    };
    let (ran, ()) = tokio::join!(fake.run_with(&line, Signals::Scripted(receiver)), test);
    ran.code
}

#[tokio::test]
async fn ctrl_c_is_left_to_the_command_and_sigterm_passed_on_to_it() {
    assert_eq!(signalled(Caught::Interrupt).await, 0);
    assert_eq!(signalled(Caught::Other).await, 0);
    assert_eq!(signalled(Caught::Terminate).await, 143);
}

#[tokio::test]
async fn a_daemon_that_goes_away_is_reported_and_the_command_runs_on() {
    let fake = guarding();
    let (_folder, pipe) = pipe();
    let script = format!("cat {}; exit 3", pipe.display());
    let args =
        Args::try_parse_from(["proxyctl", "guard", "blue", "--", "sh", "-c", &script]).unwrap();
    let (sender, mut printed) = mpsc::unbounded_channel();
    let (mut out, mut err) = (Vec::new(), Tap(sender));
    let mut hand = Hand::new(fake.socket(), Screen::plain(&mut out), Screen::plain(&mut err));
    hand.signals = quiet();
    let test = async {
        let open = running(&pipe).await;
        fake.die.notify_waiters();
        let warning = printed.recv().await.unwrap();
        assert!(warning.contains("the daemon went away: the command runs on"), "{warning}");
        drop(open);
    };
    let (code, ()) = tokio::join!(hand.run(args), test);
    assert_eq!(code, 3);
}
