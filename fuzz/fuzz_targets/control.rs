//! Whatever is sent to the control socket of a running control plane is answered or refused as
//! documented, and what is refused changes nothing; whatever a daemon answers, the client survives.
//!
//! The first byte chooses: the rest is sent as it is, or is the body of a command (or the query of one
//! that only asks), or is what a daemon says. The clock is paused, so that gates, drains, bakes and
//! timeouts take no time; what would go on for days is rolled back. No target is anywhere but here.

#![no_main]

use std::cell::RefCell;
use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use proxyd::config;
use proxyd::control::client::Client;
use proxyd::control::command::Probed;
use proxyd::control::command::Promote;
use proxyd::control::command::Refusal;
use proxyd::control::command::Reloaded;
use proxyd::control::command::Rollback;
use proxyd::control::command::canary::Previewed;
use proxyd::control::command::event::Event;
use proxyd::control::command::explain::Explained;
use proxyd::control::command::history::Entry;
use proxyd::control::command::maintenance::Maintained;
use proxyd::control::command::pause::Paused;
use proxyd::control::command::status::Status;
use proxyd::control::command::status::UpstreamStatus;
use proxyd::control::command::target::PoolSet;
use proxyd::control::command::target::SetPool;
use proxyd::control::command::why::Whys;
use proxyd::control::journal::Journal;
use proxyd::control::socket::ControlSocket;
use proxyd::control::supervisor;
use proxyd::control::supervisor::Parts;
use proxyd::control::supervisor::handle::Caller;
use proxyd::control::supervisor::handle::Handle;
use proxyd::net::listen::Listeners;
use proxyd::observe::metrics::Metrics;
use proxyd::sync::shutdown::Shutdown;
use serde_json::Value;
use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixListener;
use tokio::net::UnixStream;
use tokio::runtime::Runtime;
use tokio::time::sleep;
use tokio::time::timeout;

/// Where the first byte, modulo their number, leads; the three that are no command stand where they
/// always stood, so that old seeds go on meaning what they meant.
const PLAYS: [&str; 19] = [
    "promote",
    "rollback",
    "probe",
    "guard",
    "reload",
    DECODE,
    RAW,
    DAEMON,
    "canary",
    "preview",
    "maintenance",
    "pause",
    "resume",
    "target",
    "roll",
    "pool",
    "explain",
    "history",
    "why",
];
const DECODE: &str = "decode";
const RAW: &str = "raw";
const DAEMON: &str = "daemon";

/// Of the paused clock. A guard, a roll and the events are told until somebody leaves.
const PATIENCE: Duration = Duration::from_secs(20);

/// So many looks, and what is still under way is rolled back.
const LOOKS: u32 = 200;

/// The most that one command publishes: targets, a canary, its steps, a switch, and the way back.
const PUBLISHED: u64 = 8;

const ME: Caller = Caller { uid: 0, gid: 0, pid: None };

struct World {
    runtime: Runtime,
    folder: PathBuf,
    handle: Handle,
    daemon: UnixListener,
    _shutdown: Shutdown,
}

thread_local! {
    static WORLD: RefCell<Option<World>> = const { RefCell::new(None) };
}

fuzz_target!(|bytes: &[u8]| {
    let Some((how, rest)) = bytes.split_first() else { return };
    WORLD.with_borrow_mut(|world| {
        let world = world.get_or_insert_with(World::start);
        match PLAYS[usize::from(*how) % PLAYS.len()] {
            DECODE => decode(rest),
            RAW => world.run(world.sent_as_it_is(rest)),
            DAEMON => world.run(world.said_by_a_daemon(rest)),
            command => world.run(world.commanded(command, rest)),
        }
    });
});

impl World {
    /// A control plane on a folder of its own, with two upstreams whose targets are well.
    fn start() -> Self {
        let folder = std::env::temp_dir().join(format!("proxyd-fuzz-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let pool = |name: &str| vec![format!("unix:{}", folder.join(name).display())];
        let upstream = |name: &str| {
            json!({
                "blue": pool(&format!("{name}-blue")), "green": pool(&format!("{name}-green")),
                "health": { "build_header": "x-build" },
                "promotion": { "gate_timeout": "3s", "drain_timeout": "1s" },
            })
        };
        let file = json!({
            "listeners": [{ "bind": "127.0.0.1:0" }],
            "routes": [{ "upstream": "app" }],
            "upstreams": { "app": upstream("app"), "b": upstream("b") },
            "control": { "socket": folder.join("control.sock") },
            "state_dir": folder.join("state"),
        });
        let path = folder.join("proxy.yaml");
        std::fs::write(&path, file.to_string()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        let shutdown = Shutdown::default();
        let (handle, daemon) = runtime.block_on(async {
            for name in ["app-blue", "app-green", "b-blue", "b-green"] {
                tokio::spawn(target(UnixListener::bind(folder.join(name)).unwrap()));
            }
            let loaded = config::load(&path).unwrap();
            let socket = ControlSocket::bind(&loaded.settings.control).unwrap();
            let (journal, recovered) = Journal::open(&loaded.settings.state_dir).unwrap();
            let (listeners, metrics) = (Listeners::new(1), Metrics::new("fuzz"));
            let parts =
                Parts { loaded, journal, recovered, listeners, metrics, workers: 1, watch: None };
            let (supervisor, handle, _snapshots) = supervisor::build(parts).await.unwrap();
            tokio::spawn(supervisor.run(shutdown.stopping()));
            tokio::spawn(socket.serve(handle.clone(), shutdown.stopping()));
            (handle, UnixListener::bind(folder.join("daemon.sock")).unwrap())
        });
        Self { runtime, folder, handle, daemon, _shutdown: shutdown }
    }

    fn run(&self, play: impl Future<Output = ()>) {
        self.runtime.block_on(play);
    }

    /// The status, once nothing is under way.
    async fn settled(&self) -> Status {
        let is_over =
            |upstream: &UpstreamStatus| upstream.promotion.is_none() && upstream.steps.is_none();
        let mut looks = 0;
        loop {
            let status = self.handle.status();
            if status.upstreams.values().all(is_over) {
                return status;
            }
            looks += 1;
            if looks % LOOKS == 0 {
                let all = Rollback { all: true, force: true, ..Rollback::default() };
                // One that does not bake, and has no way back, comes to its end by itself.
                drop(self.handle.rollback(all, ME).await);
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// The targets are those of the file again: others do not answer.
    async fn has_its_own_targets(&self) {
        for (name, upstream) in self.handle.status().upstreams {
            for (colour, _) in upstream.pools.iter().filter(|(_, pool)| pool.overridden) {
                let (colour, upstream) = (colour.clone(), Some(name.clone()));
                let reset = SetPool { upstream, colour, targets: None, force: true };
                drop(self.handle.set_pool(reset, ME).await);
            }
        }
    }

    /// Everything that is answered to these bytes. Who says that nothing more comes may be taken for
    /// gone.
    async fn ask(&self, bytes: &[u8], is_all: bool) -> Vec<u8> {
        let mut stream = UnixStream::connect(self.folder.join("control.sock"))
            .await
            .unwrap();
        // Who is refused may be cut off before all is sent.
        stream.write_all(bytes).await.ok();
        if is_all {
            stream.shutdown().await.ok();
        }
        let mut answer = Vec::new();
        timeout(PATIENCE, stream.read_to_end(&mut answer))
            .await
            .ok();
        answer
    }

    async fn commanded(&self, command: &str, body: &[u8]) {
        if leads_away(body) {
            return;
        }
        self.settled().await;
        self.has_its_own_targets().await;
        let before = self.settled().await;
        let answer = if ["history", "why"].contains(&command) {
            let Some(query) = query(body) else { return };
            let head = format!(
                "GET /v1/{command}?{query} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
            );
            self.ask(head.as_bytes(), false).await
        } else {
            let length = body.len();
            let head = format!(
                "POST /v1/{command} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
                 content-length: {length}\r\n\r\n"
            );
            self.ask(&[head.as_bytes(), body].concat(), false).await
        };
        let (status, body) = parts(&answer);
        assert!([200, 404, 409, 422, 503].contains(&status), "{status}");
        if status != 200 {
            let refusal: Refusal = serde_json::from_slice(&body).unwrap();
            assert_eq!(refusal.status, status);
            assert!(!refusal.detail.is_empty());
            let after = self.settled().await;
            let same = after.generation == before.generation;
            assert!(same || has_ended(&before, &after), "what is refused changes nothing");
            return;
        }
        let lines = body
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty());
        match command {
            "probe" => assert!(same::<Probed>(&body)),
            "reload" => assert!(same::<Reloaded>(&body)),
            "preview" => assert!(same::<Previewed>(&body)),
            "maintenance" => assert!(same::<Maintained>(&body)),
            "pause" | "resume" => assert!(same::<Paused>(&body)),
            "pool" => assert!(same::<PoolSet>(&body)),
            "explain" => assert!(same::<Explained>(&body)),
            "why" => assert!(same::<Whys>(&body)),
            // What was asked stands in it as it was written.
            "history" => lines.for_each(|line| drop(read::<Entry>(line))),
            _ => lines.for_each(|line| assert!(same::<Event>(line))),
        }
        assert!(self.settled().await.generation <= before.generation + PUBLISHED);
    }

    async fn sent_as_it_is(&self, bytes: &[u8]) {
        // Nobody can see here what targets these are to be.
        let names = |word: &[u8]| bytes.windows(word.len()).any(|part| part == word);
        if names(b"targets") || names(b"\\u") {
            return;
        }
        let answer = self.ask(bytes, true).await;
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1."));
        assert!(!answer.starts_with(b"HTTP/1.1 500"));
        self.settled().await;
        let asked = b"GET /v1/status HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        let (code, body) = parts(&self.ask(asked, false).await);
        assert!(code == 200 && same::<Status>(&body));
    }

    async fn said_by_a_daemon(&self, bytes: &[u8]) {
        let client = Client::new(self.folder.join("daemon.sock"));
        let daemon = async {
            let (mut stream, _) = self.daemon.accept().await.unwrap();
            stream.read(&mut [0; 4096]).await.unwrap();
            stream.write_all(bytes).await.ok();
        };
        let hear = async {
            let Ok(mut answer) = client.post("/v1/promote", &Promote::default()).await else {
                return;
            };
            let mut heard = 0;
            while let Ok(Some(line)) = answer.line().await {
                assert!(!line.contains(&b'\n'));
                heard += line.len() + 1;
                decode(&line);
            }
            assert!(heard <= bytes.len() + 1, "more than was said");
        };
        tokio::join!(daemon, hear);
    }
}

/// Whether the body of a command names a target that is not of this machine.
fn leads_away(body: &[u8]) -> bool {
    let Ok(asked) = serde_json::from_slice::<Value>(body) else { return false };
    let is_here = |target: &Value| {
        let text = target.as_str().unwrap_or_default();
        text.starts_with("127.0.0.1:") || text.starts_with("unix:")
    };
    let targets = asked.get("targets").and_then(Value::as_array);
    targets.is_some_and(|targets| !targets.iter().all(is_here))
}

/// As what may stand in a request line behind a `?`; `None`: it may not.
fn query(bytes: &[u8]) -> Option<&str> {
    let may_stand = |byte: &u8| byte.is_ascii_graphic() && !b"#\"<>\\^`{|}".contains(byte);
    let query = std::str::from_utf8(bytes).ok()?;
    bytes.iter().all(may_stand).then_some(query)
}

/// Whether an order that stood before is over now, as the time of day has it: that is published too.
fn has_ended(before: &Status, after: &Status) -> bool {
    before.upstreams.iter().any(|(name, before)| {
        let after = &after.upstreams[name];
        (before.preview.is_some() && after.preview.is_none())
            || (before.maintenance.is_some() && after.maintenance.is_none())
            || (before.pause.is_some() && after.pause.is_none())
            || (before.rollback.is_some() && after.rollback.is_none())
    })
}

/// What `proxyctl` reads, it could have written.
fn decode(line: &[u8]) {
    if let Ok(event) = serde_json::from_slice::<Event>(line) {
        assert!(event.exit_code().is_none_or(|code| code <= 8));
        let again = serde_json::to_vec(&event).unwrap();
        assert_eq!(serde_json::from_slice::<Event>(&again).unwrap(), event);
    }
    if let Ok(status) = serde_json::from_slice::<Status>(line) {
        let again = serde_json::to_vec(&status).unwrap();
        assert_eq!(serde_json::from_slice::<Status>(&again).unwrap(), status);
    }
}

/// Whether `text` is a `T`, written as we write it.
fn same<T: serde::Serialize + serde::de::DeserializeOwned>(text: &[u8]) -> bool {
    serde_json::to_vec(&read::<T>(text)).unwrap() == text.trim_ascii_end()
}

fn read<T: serde::de::DeserializeOwned>(text: &[u8]) -> T {
    serde_json::from_slice(text).unwrap()
}

/// Status and content of a whole answer, read by somebody else; chunks are joined.
fn parts(answer: &[u8]) -> (u16, Vec<u8>) {
    let mut fields = [httparse::EMPTY_HEADER; 16];
    let mut head = httparse::Response::new(&mut fields);
    let length = head.parse(answer).unwrap().unwrap();
    let chunked = head
        .headers
        .iter()
        .any(|field| field.name == "transfer-encoding");
    let status = head.code.unwrap();
    let mut rest = &answer[length..];
    if !chunked {
        return (status, rest.to_vec());
    }
    let mut content = Vec::new();
    // A stream that was left in the middle has no last chunk.
    while let Ok(httparse::Status::Complete((at, size))) = httparse::parse_chunk_size(rest) {
        let end = at + usize::try_from(size).unwrap();
        content.extend_from_slice(&rest[at..end]);
        rest = &rest[(end + 2).min(rest.len())..];
        if size == 0 {
            break;
        }
    }
    (status, content)
}

/// Answers every probe, a connection each.
async fn target(listener: UnixListener) {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        tokio::spawn(async move {
            stream.read(&mut [0; 2048]).await.ok();
            let answer = "HTTP/1.1 200 OK\r\nx-build: 1\r\ncontent-length: 0\r\n\r\n";
            stream.write_all(answer.as_bytes()).await.ok();
        });
    }
}
