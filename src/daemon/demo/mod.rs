//! `proxyd demo`: the two-minute tour. Two blue and two green example targets in this process, a
//! real daemon in front of them, and live traffic through it. Needs nothing of the user's.

mod targets;
mod traffic;

use std::fs;
use std::io::IsTerminal;
use std::io::Write;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use anyhow::bail;
use anyhow::ensure;
use tokio::time::sleep;

use crate::control::client::Client;
use crate::control::command::Promote;
use crate::control::command::Rollback;
use crate::control::command::event::Event;
use crate::control::command::event::Receipt;
use crate::control::command::status::Status;
use crate::daemon::demo::traffic::Tally;
use crate::daemon::demo::traffic::Traffic;
use crate::daemon::life;
use crate::daemon::life::Running;
use crate::daemon::signals::Signals;
use crate::daemon::signals::Wish;
use crate::model::colour::Colour;

const CERTIFICATE: &[u8] = include_bytes!("../../../certs-example/localhost.pem");
const KEY: &[u8] = include_bytes!("../../../certs-example/localhost-key.pem");

/// Requests in each act of `--once`: before the promote, after it, after the rollback.
const ACT: u64 = 2_000;

/// The demo's world: removed when it ends.
struct Stage {
    folder: PathBuf,
    running: Running,
    client: Client,
    tls: SocketAddr,
    plain: SocketAddr,
    admin: SocketAddr,
}

/// Runs the demo. With `once` the whole story by itself, else until a signal; returns whether no
/// request failed.
///
/// # Errors
///
/// Something that the demo needs cannot be had; or a step of the story went wrong.
pub async fn run(once: bool) -> anyhow::Result<bool> {
    let mut signals = Signals::listen()?;
    let stage = Stage::set(once).await?;
    let told = if once {
        tokio::select! {
            told = story(&stage) => told,
            _ = signals.next() => Err(anyhow::anyhow!("demo: interrupted")),
        }
    } else {
        show(&stage, &mut signals).await
    };
    let folder = stage.folder.clone();
    stage.running.stop_now().await;
    drop(fs::remove_dir_all(folder));
    told
}

impl Stage {
    async fn set(once: bool) -> anyhow::Result<Self> {
        let mut targets = Vec::new();
        for (colour, number) in
            [(Colour::Blue, 1), (Colour::Blue, 2), (Colour::Green, 1), (Colour::Green, 2)]
        {
            targets.push(targets::start(colour, number).await?.to_string());
        }
        let folder = folder()?;
        fs::write(folder.join("localhost.pem"), CERTIFICATE)?;
        fs::write(folder.join("localhost-key.pem"), KEY)?;
        let [tls, plain, admin] = ports(once)?;
        let config = folder.join("proxy.yaml");
        fs::write(&config, yaml(tls, plain, admin, &targets))?;
        let running = life::start(&config)
            .await
            .map_err(|refused| anyhow::anyhow!("{refused}"))?;
        let client = Client::new(folder.join("control.sock"));
        let mut stage = Self { folder, running, client, tls, plain, admin };
        stage.learn_addresses().await?;
        Ok(stage)
    }

    /// Waits until the listeners are open, and takes in where they really are.
    async fn learn_addresses(&mut self) -> anyhow::Result<()> {
        loop {
            let status = self.status().await?;
            if let [tls, plain] = status.listeners.as_slice() {
                self.tls = tls.address.parse()?;
                self.plain = plain.address.parse()?;
                return Ok(());
            }
            // They open after the first round of probes.
            sleep(Duration::from_millis(10)).await;
        }
    }

    async fn status(&self) -> anyhow::Result<Status> {
        let body = self.client.get("/v1/status").await?.whole().await?;
        Ok(serde_json::from_slice(&body)?)
    }

    async fn promote(&self, colour: Colour) -> anyhow::Result<Receipt> {
        let command = Promote { colour: colour.to_string(), wait: true, ..Promote::default() };
        let answer = self.client.post("/v1/promote", &command).await?;
        receipt(answer, "promote").await
    }

    async fn rollback(&self) -> anyhow::Result<Receipt> {
        let command = Rollback { wait: true, ..Rollback::default() };
        receipt(self.client.post("/v1/rollback", &command).await?, "rollback").await
    }
}

/// Follows a promotion to its end; anything but a clean drain is an error.
async fn receipt(
    mut answer: crate::control::client::Answer,
    what: &str,
) -> anyhow::Result<Receipt> {
    let mut last = None;
    while let Some(line) = answer.line().await? {
        last = Some(line);
    }
    let last = last.with_context(|| format!("{what}: no answer"))?;
    match serde_json::from_slice(&last) {
        Ok(Event::Drained { mut receipts }) => receipts
            .pop()
            .with_context(|| format!("{what}: no receipt")),
        Ok(_) | Err(_) => bail!("{what}: {}", String::from_utf8_lossy(&last)),
    }
}

/// The whole story: traffic, promote, drain, rollback; then the tally.
async fn story(stage: &Stage) -> anyhow::Result<bool> {
    let traffic = Traffic::start(stage.tls, Duration::ZERO)?;
    say(format_args!("demo: blue is live on https://{}", stage.tls));
    traffic.more(ACT).await;
    let promoted = stage.promote(Colour::Green).await?;
    tell("promoted", &promoted);
    traffic.more(ACT).await;
    let back = stage.rollback().await?;
    tell("rolled back", &back);
    traffic.more(ACT).await;
    let tally = traffic.stop().await;
    say(format_args!("{tally}"));
    for failure in tally.first_failures() {
        say(format_args!("demo: {failure}"));
    }
    let (blue, green) = tally.by_colour();
    ensure!(blue > 0 && green > 0, "demo: one colour was never seen");
    Ok(tally.failed() == 0)
}

fn tell(what: &str, receipt: &Receipt) {
    let old = receipt.safe_to_kill.map_or("nothing", Colour::as_str);
    say(format_args!(
        "demo: {what}: {} is live, generation {}; gate {:.1} s, drain {:.2} s, safe to kill: {old}",
        receipt.colour, receipt.generation, receipt.gate_seconds, receipt.drained_seconds,
    ));
}

/// Shows what to try, and a live line, until a signal.
async fn show(stage: &Stage, signals: &mut Signals) -> anyhow::Result<bool> {
    let ctl = proxyctl(&stage.folder.join("control.sock"));
    say(format_args!(
        "proxyd demo: blue is live, green is standing by\n\n  https  https://{tls}   (its certificate is for localhost, signed by certs-example/ca.pem)\n  http   http://{plain}   (redirects)\n  admin  http://{admin}/metrics\n\ntry in another terminal:\n\n  curl -k https://localhost:{port}/\n  {ctl} promote green\n  {ctl} rollback\n\nCtrl-C ends it.\n",
        tls = stage.tls,
        plain = stage.plain,
        admin = stage.admin,
        port = stage.tls.port(),
    ));
    let traffic = Traffic::start(stage.tls, Duration::from_millis(100))?;
    loop {
        tokio::select! {
            wish = signals.next() => if matches!(wish, Wish::Stop | Wish::StopNow) { break },
            () = sleep(Duration::from_secs(1)) => live_line(stage, &traffic.tally).await?,
        }
    }
    let tally = traffic.stop().await;
    say(format_args!("\n{tally}"));
    for failure in tally.first_failures() {
        say(format_args!("demo: {failure}"));
    }
    Ok(tally.failed() == 0)
}

async fn live_line(stage: &Stage, tally: &Tally) -> anyhow::Result<()> {
    let status = stage.status().await?;
    let live = status.upstreams.values().find_map(|upstream| upstream.live);
    let (blue, green) = tally.by_colour();
    let line = format!(
        "live {}  generation {}  requests {}  (blue {blue}, green {green})  failed {}",
        live.map_or("-", Colour::as_str),
        status.generation,
        tally.answered() + tally.failed(),
        tally.failed(),
    );
    if std::io::stdout().is_terminal() {
        write_out(format_args!("\r\x1b[K{line}"));
    } else {
        say(format_args!("{line}"));
    }
    Ok(())
}

/// How to call `proxyctl` from here: the one beside this program, or through cargo.
fn proxyctl(socket: &Path) -> String {
    let beside = std::env::current_exe()
        .ok()
        .map(|me| me.with_file_name("proxyctl"));
    let program = match beside.filter(|path| path.exists()) {
        Some(path) => path.display().to_string(),
        None => "cargo run --release --bin proxyctl --".to_owned(),
    };
    format!("{program} --socket {}", socket.display())
}

/// Three addresses of loopback: the usual ports or the next free ones; with `once`, free ones.
fn ports(once: bool) -> anyhow::Result<[SocketAddr; 3]> {
    let mut taken = Vec::new();
    let mut free = |wish: u16| {
        let wishes = if once { 0..=0 } else { wish..=wish.saturating_add(100) };
        for port in wishes {
            let address = SocketAddr::from(([127, 0, 0, 1], port));
            if let Ok(socket) = TcpListener::bind(address) {
                let address = socket.local_addr()?;
                // Held until all three are chosen, so that no port is chosen twice.
                taken.push(socket);
                return Ok(address);
            }
        }
        bail!("demo: no free port from {wish} to {}", wish.saturating_add(100))
    };
    Ok([free(8443)?, free(8080)?, free(9090)?])
}

fn folder() -> anyhow::Result<PathBuf> {
    use std::os::unix::fs::DirBuilderExt;
    let name = format!("proxyd-demo-{}-{:08x}", std::process::id(), fastrand::u32(..));
    let folder = std::env::temp_dir().join(name);
    // 0700, and refused if somebody else has made it: the temporary folder is everybody's.
    fs::DirBuilder::new()
        .mode(0o700)
        .create(&folder)
        .with_context(|| format!("demo: cannot create {}", folder.display()))?;
    Ok(folder)
}

fn yaml(tls: SocketAddr, plain: SocketAddr, admin: SocketAddr, targets: &[String]) -> String {
    let (blue, green) = targets.split_at(targets.len() / 2);
    format!(
        "listeners:
  - bind: {tls}
    tls:
      certificates:
        - cert: localhost.pem
          key: localhost-key.pem
  - bind: {plain}
    redirect_to_https: true
routes:
  - upstream: demo
upstreams:
  demo:
    blue: [{blue}]
    green: [{green}]
    live: blue
    health:
      path: /health
      interval: 250ms
limits:
  connections: 1000
control:
  socket: control.sock
admin:
  bind: {admin}
access_log: off
state_dir: state
",
        blue = blue.join(", "),
        green = green.join(", "),
    )
}

fn say(line: std::fmt::Arguments<'_>) {
    write_out(format_args!("{line}\n"));
}

/// The demo speaks on standard output. If nobody listens there any more, it goes on.
fn write_out(text: std::fmt::Arguments<'_>) {
    let mut out = std::io::stdout();
    drop(out.write_fmt(text).and_then(|()| out.flush()));
}
