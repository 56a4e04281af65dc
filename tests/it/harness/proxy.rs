//! A `proxyd` process under test, in a folder of its own. When the test is over it is stopped with
//! SIGTERM and audited: it must exit 0, must not have panicked, and must have lost nothing.

use std::fs;
use std::fs::File;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::ExitStatus;
use std::thread;

use rustix::process::Pid;
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use super::address;
use super::client::Client;
use super::config;
use super::config::HOST;
use super::h2::H2;
use super::metrics::Metrics;
use super::origin::Origin;
use super::wait::eventually;
use super::wait::eventually_some;
use super::wire::Wire;
use super::ws::WebSocket;

/// What a proxy is started with.
#[derive(Debug)]
pub struct Setup {
    folder: TempDir,
    address: String,
    pub config: Value,
    files_limit: Option<u32>,
}

/// A running `proxyd`.
#[derive(Debug)]
pub struct Proxy {
    folder: TempDir,
    address: String,
    pub config: Value,
    child: Option<Child>,
    files_limit: Option<u32>,
    audited: bool,
}

impl Setup {
    /// A pool of the upstream `app`.
    pub fn blue(self, origins: &[&Origin]) -> Self {
        self.pool("blue", origins)
    }

    pub fn green(self, origins: &[&Origin]) -> Self {
        self.pool("green", origins)
    }

    fn pool(self, colour: &str, origins: &[&Origin]) -> Self {
        let targets = config::targets(origins);
        self.with(&serde_json::json!({ "upstreams": { "app": { colour: targets } } }))
    }

    /// Another promotable upstream, with the health and promotion settings of `app`.
    pub fn upstream(self, name: &str, blue: &[&Origin], green: &[&Origin]) -> Self {
        let mut upstream = self.config["upstreams"]["app"].clone();
        upstream["blue"] = config::targets(blue);
        upstream["green"] = config::targets(green);
        self.with(&serde_json::json!({ "upstreams": { name: upstream } }))
    }

    /// Puts `change` over the configuration: objects key by key, null removes.
    pub fn with(mut self, change: &Value) -> Self {
        config::merge(&mut self.config, change);
        self
    }

    /// The folder that relative paths of the configuration start from.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    /// Lowers RLIMIT_NOFILE of the process.
    pub fn files_limit(mut self, limit: u32) -> Self {
        self.files_limit = Some(limit);
        self
    }

    /// Starts `proxyd` and waits until it serves.
    #[track_caller]
    pub fn start(self) -> Proxy {
        let mut proxy = self.prepare();
        proxy.start_again();
        proxy
    }

    /// Writes everything, starts nothing.
    pub fn prepare(self) -> Proxy {
        let Self { folder, address, config, files_limit } = self;
        let proxy = Proxy { folder, address, config, child: None, files_limit, audited: true };
        proxy.write_config();
        proxy
    }
}

impl Proxy {
    pub fn setup() -> Setup {
        let folder = tempfile::Builder::new().prefix("it-").tempdir().unwrap();
        let address = address::own();
        let config = config::defaults(folder.path(), &address);
        Setup { folder, address, config, files_limit: None }
    }

    /// The usual start: one upstream with these pools, blue live.
    #[track_caller]
    pub fn between(blue: &[&Origin], green: &[&Origin]) -> Self {
        Self::setup().blue(blue).green(green).start()
    }

    // The process.

    /// Starts the process and waits until it serves.
    #[track_caller]
    pub fn start_again(&mut self) {
        self.spawn();
        self.wait_until_it_serves();
    }

    pub fn spawn(&mut self) {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.stderr_path())
            .unwrap();
        let mut command = self.command();
        command.stdout(log.try_clone().unwrap()).stderr(log);
        self.child = Some(command.spawn().unwrap());
        self.audited = false;
    }

    fn command(&self) -> Command {
        let program = env!("CARGO_BIN_EXE_proxyd");
        let mut command = match self.files_limit {
            Some(limit) => {
                let mut shell = Command::new("sh");
                let line = format!("ulimit -n {limit}; exec \"$0\" \"$@\"");
                shell.args(["-c", &line, program]);
                shell
            }
            None => Command::new(program),
        };
        command.args(["run", "--config"]).arg(self.config_path());
        command
    }

    #[track_caller]
    pub fn wait_until_it_serves(&mut self) {
        eventually("proxyd answers on its control socket and listens", || {
            if let Some(status) = self.exited() {
                panic!("proxyd ended with {status:?}:\n{}", self.stderr());
            }
            let Some(status) = self.try_status() else { return false };
            let listeners = status["listeners"].as_array().unwrap();
            !listeners.is_empty()
                && listeners.iter().all(|listener| {
                    let address: Option<SocketAddr> = listener["address"]
                        .as_str()
                        .and_then(|text| text.parse().ok());
                    address.is_some_and(|address| TcpStream::connect(address).is_ok())
                })
        });
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("proxyd runs").id()
    }

    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid()).unwrap();
        rustix::process::kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
    }

    /// `kill -9`.
    pub fn kill9(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// How the process ended, if it has.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.child.as_mut()?.try_wait().unwrap()
    }

    /// Waits for the end of the process; its exit code.
    #[track_caller]
    pub fn exit_code(&mut self) -> i32 {
        let status = eventually_some("proxyd ends", || self.exited());
        self.child = None;
        status
            .code()
            .unwrap_or_else(|| panic!("killed by {:?}", status.signal()))
    }

    /// SIGTERM, the audit, and a new process on the same files.
    #[track_caller]
    pub fn restart(&mut self) {
        self.stop();
        self.start_again();
    }

    /// SIGTERM and the audit.
    #[track_caller]
    pub fn stop(&mut self) {
        self.audit();
        self.signal(Signal::TERM);
        let code = self.exit_code();
        assert_eq!(code, 0, "exit code after SIGTERM:\n{}", self.stderr());
        self.assert_calm();
    }

    /// Nothing is left in flight; the ledger says that every request ended in exactly one outcome,
    /// and that none was lost.
    #[track_caller]
    fn audit(&mut self) {
        self.audited = true;
        if !self.config["admin"].is_object() {
            return;
        }
        let in_flight = || self.metrics().sum("proxy_requests_in_flight", &[]);
        eventually("every lease comes back", || in_flight() == 0.0);
        eventually("every request is in the ledger once", || {
            let metrics = self.metrics();
            let ended = metrics.sum("proxy_requests_outcome_total", &[]);
            ended == metrics.sum("proxy_requests_total", &[])
                && ended == metrics.value("proxy_requests_accepted_total", &[])
        });
        let lost = self
            .metrics()
            .value("proxy_requests_outcome_total", &[("outcome", "lost")]);
        assert_eq!(lost, 0.0, "requests lost by the proxy:\n{}", self.stderr());
    }

    fn assert_calm(&self) {
        let stderr = self.stderr();
        assert!(!stderr.contains("panicked"), "a panic:\n{stderr}");
        assert!(!stderr.contains("have no outcome"), "the ledger at the end:\n{stderr}");
    }

    /// This test leaves the process in a state that the audit at the end does not fit.
    pub fn skip_audit(&mut self) {
        self.audited = true;
    }

    // Files.

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn config_path(&self) -> PathBuf {
        self.file("proxy.yaml")
    }

    pub fn socket(&self) -> PathBuf {
        PathBuf::from(self.config["control"]["socket"].as_str().unwrap())
    }

    fn stderr_path(&self) -> PathBuf {
        self.file("stderr.log")
    }

    pub fn stderr(&self) -> String {
        fs::read_to_string(self.stderr_path()).unwrap_or_default()
    }

    /// The lines of the access log so far.
    pub fn access_log(&self) -> Vec<String> {
        let text = fs::read_to_string(self.file("access.log")).unwrap_or_default();
        text.lines().map(ToOwned::to_owned).collect()
    }

    /// Changes the configuration file, as an editor does: a new file renamed over the old one.
    pub fn rewrite_config(&mut self, change: &Value) {
        config::merge(&mut self.config, change);
        self.write_config();
    }

    fn write_config(&self) {
        self.write_config_text(&serde_json::to_string_pretty(&self.config).unwrap());
    }

    pub fn write_config_text(&self, text: &str) {
        let fresh = self.file("proxy.yaml.new");
        fs::write(&fresh, text).unwrap();
        fs::rename(&fresh, self.config_path()).unwrap();
    }

    // Ways in.

    pub fn plain_address(&self) -> SocketAddr {
        format!("{}:{}", self.address, config::PLAIN_PORT)
            .parse()
            .unwrap()
    }

    pub fn tls_address(&self) -> SocketAddr {
        format!("{}:{}", self.address, config::TLS_PORT)
            .parse()
            .unwrap()
    }

    pub fn admin_address(&self) -> SocketAddr {
        format!("{}:{}", self.address, config::ADMIN_PORT)
            .parse()
            .unwrap()
    }

    pub fn own_address(&self) -> &str {
        &self.address
    }

    /// A plain HTTP/1.1 connection.
    #[track_caller]
    pub fn http(&self) -> Client {
        Client::plain(self.plain_address(), HOST).unwrap()
    }

    /// An HTTP/1.1 connection over TLS.
    #[track_caller]
    pub fn https(&self) -> Client {
        Client::tls(self.tls_address(), HOST).unwrap()
    }

    /// An HTTP/2 connection over TLS.
    #[track_caller]
    pub fn h2(&self) -> H2 {
        H2::connect(self.tls_address(), HOST).unwrap()
    }

    /// A WebSocket over TLS.
    #[track_caller]
    pub fn websocket(&self) -> WebSocket {
        let wire = Wire::tls(self.tls_address(), HOST, &["http/1.1"]).unwrap();
        WebSocket::open(wire, HOST).unwrap()
    }

    /// The colour that a new request gets.
    #[track_caller]
    pub fn colour(&self) -> String {
        self.http().get("/").expect(200).colour()
    }

    pub fn metrics(&self) -> Metrics {
        let answer = Client::plain(self.admin_address(), "admin")
            .unwrap()
            .get("/metrics");
        Metrics::parse(&answer.expect(200).text())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("--- proxyd's stderr:\n{}---", self.stderr());
            self.kill9();
        } else if self.audited || self.exited().is_some() {
            self.kill9();
            self.assert_calm();
        } else {
            self.stop();
        }
        self.kill9();
    }
}
