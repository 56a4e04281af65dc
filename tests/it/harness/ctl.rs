//! `proxyctl` as a child process, and the control socket spoken to directly.

use std::fs::File;
use std::io;
use std::io::BufRead;
use std::io::BufReader;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use rustix::process::Pid;
use rustix::process::Signal;
use serde_json::Value;

use super::client::Client;
use super::http::Answer;
use super::proxy::Proxy;
use super::wait::within;

/// How long a command may take, and may be silent: a gate, a warm-up or a drain are part of it.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a finished command said.
#[derive(Debug)]
pub struct Output {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// A command that still runs; its lines of stdout come as they are printed.
#[derive(Debug)]
pub struct Running {
    child: Option<Child>,
    lines: mpsc::Receiver<(Instant, String)>,
    seen: Vec<String>,
    stderr: tempfile::NamedTempFile,
}

impl Output {
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }

    /// Each line of stdout, which must be JSON.
    #[track_caller]
    pub fn events(&self) -> Vec<Value> {
        self.stdout.lines().map(parse).collect()
    }

    /// The last line of stdout, which must be JSON.
    #[track_caller]
    pub fn last_event(&self) -> Value {
        self.events()
            .pop()
            .unwrap_or_else(|| panic!("no event; stderr: {}", self.stderr))
    }

    /// The receipt of the only upstream.
    #[track_caller]
    pub fn receipt(&self) -> Value {
        let last = self.last_event();
        assert_eq!(last["receipts"].as_array().map(Vec::len), Some(1), "{last}");
        last["receipts"][0].clone()
    }

    /// stdout and stderr.
    pub fn said(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

impl Running {
    /// The next line and when it came; `None` at the end.
    pub fn line(&mut self) -> Option<(Instant, String)> {
        let (at, line) = self.lines.recv_timeout(PATIENCE).ok()?;
        self.seen.push(line.clone());
        Some((at, line))
    }

    /// Waits for the event of this name (`--json` only): it, and when it came.
    #[track_caller]
    pub fn event(&mut self, name: &str) -> (Instant, Value) {
        while let Some((at, line)) = self.line() {
            let event = parse(&line);
            if event["event"] == name {
                return (at, event);
            }
        }
        panic!("no event {name:?} in {:?}; stderr: {}", self.seen, self.stderr());
    }

    fn stderr(&self) -> String {
        std::fs::read_to_string(self.stderr.path()).unwrap_or_default()
    }

    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.as_ref().expect("it runs").id()).unwrap();
        rustix::process::kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
    }

    pub fn is_running(&mut self) -> bool {
        self.child
            .as_mut()
            .is_some_and(|child| child.try_wait().unwrap().is_none())
    }

    /// Waits for its end.
    #[track_caller]
    pub fn finish(mut self) -> Output {
        let child = self.child.as_mut().expect("it runs");
        let status = within(PATIENCE, "the command ends", || child.try_wait().unwrap());
        self.child = None;
        while self.line().is_some() {}
        Output {
            code: status.code().unwrap_or(-1),
            stdout: self.seen.iter().map(|line| format!("{line}\n")).collect(),
            stderr: self.stderr(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().ok();
            child.wait().ok();
        }
    }
}

#[track_caller]
fn parse(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|e| panic!("not JSON: {line:?}: {e}"))
}

/// Starts a command and hears its output.
pub fn start(mut command: Command) -> Running {
    let stderr = tempfile::NamedTempFile::new().unwrap();
    let to = File::options().append(true).open(stderr.path()).unwrap();
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(to);
    let mut child = command.spawn().unwrap();
    let stdout = BufReader::new(child.stdout.take().unwrap());
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in stdout.lines().map_while(Result::ok) {
            if sender.send((Instant::now(), line)).is_err() {
                return;
            }
        }
    });
    Running { child: Some(child), lines, seen: Vec::new(), stderr }
}

/// Runs `proxyd` with these arguments to its end.
#[track_caller]
pub fn proxyd(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_proxyd"));
    command.args(arguments);
    start(command).finish()
}

/// Runs `proxyctl` with these arguments, and no socket, to its end.
#[track_caller]
pub fn proxyctl(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_proxyctl"));
    command.args(arguments).env_remove("PROXYCTL_SOCKET");
    start(command).finish()
}

impl Proxy {
    /// Runs `proxyctl` to its end.
    #[track_caller]
    pub fn ctl<'a>(&self, arguments: impl AsRef<[&'a str]>) -> Output {
        self.ctl_start(arguments).finish()
    }

    /// Starts `proxyctl`.
    pub fn ctl_start<'a>(&self, arguments: impl AsRef<[&'a str]>) -> Running {
        let mut command = Command::new(env!("CARGO_BIN_EXE_proxyctl"));
        command
            .arg("--socket")
            .arg(self.socket())
            .args(arguments.as_ref());
        start(command)
    }

    /// `promote --json`, which must end with 0; its receipt.
    #[track_caller]
    pub fn promote(&self, colour: &str) -> Value {
        self.ctl(["promote", colour, "--json"]).expect(0).receipt()
    }

    /// A connection to the control socket.
    pub fn control(&self) -> io::Result<Client> {
        Client::unix(&self.socket())
    }

    /// One request on the control socket.
    #[track_caller]
    pub fn control_post(&self, path: &str, body: &Value) -> Answer {
        let body = body.to_string();
        let json = [("Content-Type", "application/json")];
        self.control()
            .unwrap()
            .request("POST", path, &json, body.as_bytes())
    }

    #[track_caller]
    pub fn status(&self) -> Value {
        self.try_status().expect("status")
    }

    pub fn try_status(&self) -> Option<Value> {
        let answer = self.control().ok()?.try_get("/v1/status").ok()?;
        Some(answer.expect(200).json())
    }

    /// The upstream `app` of the status.
    #[track_caller]
    pub fn app(&self) -> Value {
        self.status()["upstreams"]["app"].clone()
    }

    /// The live colour of `app`.
    #[track_caller]
    pub fn live(&self) -> String {
        self.app()["live"].as_str().unwrap().to_owned()
    }

    #[track_caller]
    pub fn generation(&self) -> u64 {
        self.status()["generation"].as_u64().unwrap()
    }

    /// Requests in flight on a pool of `app`.
    #[track_caller]
    pub fn in_flight(&self, colour: &str) -> u64 {
        self.app()["pools"][colour]["in_flight"].as_u64().unwrap()
    }
}
