//! Two hosts that run containers: addresses of the loopback net, and scripts in place of `docker` and
//! `ssh`. A container is a file; while its file says that it runs, its port answers.

use std::fs;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Write;
use std::net::TcpListener;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;
use std::thread;

use tempfile::TempDir;

pub(crate) const PORTS: [(&str, u16); 2] = [("blue", 8080), ("green", 8081)];

/// Appears when `/slow` has been asked for.
pub(crate) const SLOW_BEGUN: &str = "slow-begun";
/// Once it is there, `/slow` answers.
pub(crate) const SLOW_MAY_END: &str = "slow-may-end";

/// Runs the words in a shell, as sshd does, and tells it on which host it is.
const SSH: &str = r#"#!/bin/sh
while :; do
    case $1 in
        -o) shift 2 ;;
        -*) shift ;;
        *) break ;;
    esac
done
HOST=${1#*@}
export HOST
shift
exec sh -c "$*"
"#;

/// A container is `$FAKE/$HOST/NAME`, which holds its port, image and build; `$FAKE/$HOST/PORT` is
/// there while it runs.
const DOCKER: &str = r#"#!/bin/sh
set -eu
echo "$HOST docker $*" >>"$FAKE/calls"
cd "$FAKE/$HOST"
verb=$1
shift
case $verb in
    pull | rmi | logs) ;;
    ps)
        name=${3#name=^}
        [ ! -e "${name%\$}" ] || cut -d ' ' -f 2 "${name%\$}"
        ;;
    run)
        build=none
        while [ $# -gt 1 ]; do
            case $1 in
                --detach) shift ;;
                --name) name=$2 && shift 2 ;;
                --publish) port=${2%:*} && shift 2 ;;
                --env) build=${2#BUILD=} && shift 2 ;;
                *) shift 2 ;;
            esac
        done
        [ ! -e "$name" ] || { echo "the name $name is taken" >&2; exit 125; }
        echo "$port $1 $build" >"$name"
        [ "$1" != momo:broken ] || { echo "no such image" >&2; exit 125; }
        cp "$name" "$name.tmp"
        mv "$name.tmp" "$port"
        ;;
    stop)
        read -r port image build <"$1"
        rm -f "$port"
        ;;
    rm)
        read -r port image build <"$1"
        [ ! -e "$port" ] || { echo "$1 is running" >&2; exit 1; }
        rm "$1"
        ;;
    *) echo "what is $verb?" >&2; exit 64 ;;
esac
"#;

/// The two hosts, with what was asked of them.
pub(crate) struct Hosts {
    folder: TempDir,
    pub(crate) addresses: [String; 2],
}

/// How a program ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) output: String,
}

impl Hosts {
    /// Nothing runs on them yet; their four ports are open and answer nobody.
    pub(crate) fn new() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("deploy-")
            .tempdir()
            .unwrap();
        let addresses = [own_address(), own_address()];
        for (name, script) in [("ssh", SSH), ("docker", DOCKER)] {
            let path = folder.path().join("bin").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, script).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        for address in &addresses {
            fs::create_dir(folder.path().join(address)).unwrap();
            for (_, port) in PORTS {
                let listener = TcpListener::bind((address.as_str(), port)).unwrap();
                let container = folder.path().join(address).join(port.to_string());
                thread::spawn(move || serve(&listener, &container));
            }
        }
        Self { folder, addresses }
    }

    /// Two containers of `image` run as `colour`, as an earlier deploy left them.
    pub(crate) fn run(&self, colour: &str, image: &str) {
        let (_, port) = PORTS.into_iter().find(|(name, _)| *name == colour).unwrap();
        for address in &self.addresses {
            let host = self.folder.path().join(address);
            for file in [format!("app-{colour}"), port.to_string()] {
                fs::write(host.join(file), format!("{port} {image} 1\n")).unwrap();
            }
        }
    }

    /// `colour image` of every container that runs, host by host.
    pub(crate) fn running(&self) -> Vec<String> {
        let ports = |address: &String| PORTS.map(|(colour, port)| (address.clone(), colour, port));
        let places = self.addresses.iter().flat_map(ports);
        places
            .filter_map(|(address, colour, port)| {
                let path = self.folder.path().join(address).join(port.to_string());
                let text = fs::read_to_string(path).ok()?;
                Some(format!("{colour} {}", text.split(' ').nth(1)?))
            })
            .collect()
    }

    /// Every call of `docker`, with the host in front.
    pub(crate) fn calls(&self) -> Vec<String> {
        let text = fs::read_to_string(self.folder.path().join("calls")).unwrap_or_default();
        text.lines().map(ToOwned::to_owned).collect()
    }

    /// No container of that name was stopped or removed.
    #[track_caller]
    pub(crate) fn assert_never_touched(&self, name: &str) {
        for call in self.calls() {
            let harmless = ["docker ps ", "docker logs ", "docker pull "];
            let harmless = harmless.iter().any(|word| call.contains(word));
            assert!(harmless || !call.contains(name), "{call}");
        }
    }

    /// `examples/deploy.sh` with these settings on top of the usual ones.
    pub(crate) fn deploy(&self, socket: &Path, settings: &[(&str, &str)]) -> Ended {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/deploy.sh");
        let path = std::env::var("PATH").unwrap();
        let proxyctl = env!("CARGO_BIN_EXE_proxyctl");
        let mut command = Command::new(script);
        command
            .env("PATH", format!("{}:{path}", self.folder.path().join("bin").display()))
            .env("FAKE", self.folder.path())
            .env("PROXYCTL", format!("{proxyctl} --socket {}", socket.display()))
            .env("IP1", &self.addresses[0])
            .env("IP2", &self.addresses[1])
            .envs(settings.iter().copied());
        Ended::of(&mut command)
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

impl Ended {
    pub(crate) fn of(command: &mut Command) -> Self {
        let output = command.output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        let code = output.status.code().expect("not killed");
        Self { code, output: String::from_utf8(text).unwrap() }
    }

    #[track_caller]
    pub(crate) fn assert_code(&self, code: i32) {
        assert_eq!(self.code, code, "{}", self.output);
    }

    #[track_caller]
    pub(crate) fn assert_says(&self, what: &str) {
        assert!(self.output.contains(what), "\"{what}\" is not in:\n{}", self.output);
    }
}

/// A loopback address that nobody else on this machine uses, so that its ports may be fixed.
fn own_address() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let process = std::process::id();
    format!("127.{}.{}.{number}", 220 + (process >> 8) % 30, process & 0xff)
}

/// Answers on a container's port for as long as the test runs.
fn serve(listener: &TcpListener, container: &Path) {
    for connection in listener.incoming() {
        let container = container.to_owned();
        thread::spawn(move || answer(connection.unwrap(), &container));
    }
}

/// Answers requests without bodies until the client or the container goes away.
fn answer(mut connection: TcpStream, container: &Path) -> Option<()> {
    let mut reader = BufReader::new(connection.try_clone().ok()?);
    loop {
        let slow = head(&mut reader)?.starts_with("GET /slow ");
        if slow {
            hold(container);
        }
        let text = fs::read_to_string(container).ok()?;
        let (image, build) = text.trim_end().split_once(' ')?.1.split_once(' ')?;
        let status = if image == "momo:sick" { "503 Service Unavailable" } else { "200 OK" };
        let build = if image == "momo:stale" { "1" } else { build };
        let length = image.len();
        let head = format!("HTTP/1.1 {status}\r\nX-Build: {build}\r\nContent-Length: {length}\r\n");
        connection
            .write_all(format!("{head}\r\n{image}").as_bytes())
            .ok()?;
    }
}

/// The head of the next request; `None` once the client has gone.
fn head(reader: &mut impl BufRead) -> Option<String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    Some(head)
}

/// Says that a slow request has begun, and holds it until the test, or the container, ends it.
fn hold(container: &Path) {
    let folder = container.parent().and_then(Path::parent).unwrap();
    fs::write(folder.join(SLOW_BEGUN), "").unwrap();
    while container.exists() && !folder.join(SLOW_MAY_END).exists() {
        thread::yield_now();
    }
}
