//! Whatever is sent to the control socket of a running control plane is answered or refused as
//! documented, and what is refused changes nothing; whatever a daemon answers, the client survives.
//!
//! The first byte chooses: the rest is sent as it is, or is the body of a command, or is what a
//! daemon says. The clock is paused, so that gates, drains and timeouts take no time.

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
use proxyd::control::command::event::Event;
use proxyd::control::command::status::Status;
use proxyd::control::journal::Journal;
use proxyd::control::socket::ControlSocket;
use proxyd::control::supervisor;
use proxyd::control::supervisor::Parts;
use proxyd::control::supervisor::handle::Handle;
use proxyd::net::listen::Listeners;
use proxyd::observe::metrics::Metrics;
use proxyd::sync::shutdown::Shutdown;
use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixListener;
use tokio::net::UnixStream;
use tokio::runtime::Runtime;
use tokio::time::sleep;
use tokio::time::timeout;

const COMMANDS: [&str; 5] = ["promote", "rollback", "probe", "guard", "reload"];

/// Of the paused clock. A guard and the events are told until somebody leaves.
const PATIENCE: Duration = Duration::from_secs(20);

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
        match usize::from(*how % 8) {
            6 => world.run(world.sent_as_it_is(rest)),
            7 => world.run(world.said_by_a_daemon(rest)),
            number => match COMMANDS.get(number) {
                Some(command) => world.run(world.commanded(command, rest)),
                None => decode(rest),
            },
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

    /// The generation, once nothing is under way.
    async fn settled(&self) -> u64 {
        loop {
            let status = self.handle.status();
            if status
                .upstreams
                .values()
                .all(|upstream| upstream.promotion.is_none())
            {
                return status.generation;
            }
            sleep(Duration::from_millis(50)).await;
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
        let before = self.settled().await;
        let length = body.len();
        let head = format!(
            "POST /v1/{command} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
             content-length: {length}\r\n\r\n"
        );
        let answer = self.ask(&[head.as_bytes(), body].concat(), false).await;
        let (status, body) = parts(&answer);
        assert!([200, 404, 409, 422, 503].contains(&status), "{status}");
        if status != 200 {
            let refusal: Refusal = serde_json::from_slice(&body).unwrap();
            assert_eq!(refusal.status, status);
            assert!(!refusal.detail.is_empty());
            assert_eq!(self.settled().await, before, "what is refused changes nothing");
            return;
        }
        let lines = body
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty());
        match command {
            "probe" => assert!(same::<Probed>(&body)),
            "reload" => assert!(same::<Reloaded>(&body)),
            _ => lines.for_each(|line| assert!(same::<Event>(line))),
        }
        assert!(self.settled().await <= before + 1);
    }

    async fn sent_as_it_is(&self, bytes: &[u8]) {
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
    let value: T = serde_json::from_slice(text).unwrap();
    serde_json::to_vec(&value).unwrap() == text.trim_ascii_end()
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
