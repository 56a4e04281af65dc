"""The proxies that are compared, and the origin behind them: rendered, started, stopped."""

import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time

import machine

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
TOOLS = os.path.expanduser(os.environ.get("PROXY_BENCH", "~/.cache/proxy-bench"))


class Stage:
    """The folder, the certificates, the origin and the cores that all systems share."""

    def __init__(self, proxy_cpus, load_cpus, addresses=2):
        self.proxy_cpus, self.load_cpus = proxy_cpus, load_cpus
        self.load = os.path.join(TOOLS, "load/release/load")
        if not os.access(self.load, os.X_OK):
            sys.exit(f"{self.load} is not there: run {HERE}/setup.sh")
        self.run = tempfile.mkdtemp(prefix="proxyd-compare-")
        self.origin_port = machine.free_ports(1)[0]
        certificate(self.run, "ec", ["ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
        certificate(self.run, "rsa", ["rsa:2048"])
        pages = os.path.join(self.run, "pages")
        os.mkdir(pages)
        for name, size in (("10k", 10 << 10), ("1m", 1 << 20)):
            with open(os.path.join(pages, name), "wb") as page:
                page.write(os.urandom(size))
        self.origin = subprocess.Popen(
            [self.load, "origin", "--port", str(self.origin_port), "--dir", pages]
            + ["--addresses", str(addresses)],
            stdin=subprocess.DEVNULL,
            preexec_fn=machine.pinned(load_cpus),
        )
        wait_for(self.origin_port, self.origin, "the origin")

    def stop(self):
        machine.stop(self.origin)


class System:
    """One proxy: a line of systems.json, its file rendered, its process."""

    def __init__(self, spec, stage, binary, prefix=()):
        self.spec, self.stage, self.prefix = spec, stage, list(prefix)
        self.name, self.family = spec["name"], spec["family"]
        plain, ec, rsa, admin = machine.free_ports(4)
        site = [os.path.join(TOOLS, "lib", entry, "site-packages") for entry in python_folders()]
        self.words = {
            "plain": plain, "ec": ec, "rsa": rsa, "admin": admin, "origin": stage.origin_port,
            "run": stage.run, "name": self.name, "venv": TOOLS, "site": site[0] if site else "",
            "conf": os.path.join(stage.run, f"{self.name}.conf"), "binary": binary, "workers": 1,
            "extra": "", **spec.get("words", {}),
        }  # fmt: skip
        found = [machine.find(self.render(program)) for program in spec["programs"]]
        self.program = next(filter(None, found), None)
        self.process = None

    def render(self, text):
        """The text with its {{words}} filled in; a word may contain another."""
        for _ in range(2):
            text = re.sub(r"\{\{(\w+)\}\}", lambda m: str(self.words[m.group(1)]), text)
        return text

    def version(self):
        """What the program calls itself."""
        said = subprocess.run(
            [self.program, *self.spec["version"]],
            capture_output=True, text=True, env=self.environment(),
        )  # fmt: skip
        return (said.stdout + said.stderr).strip().splitlines()[0]

    def environment(self):
        own = {key: self.render(value) for key, value in self.spec.get("env", {}).items()}
        return {**os.environ, **own}

    def start(self, cores=None, **words):
        """Starts it, with some words changed from now on."""
        self.words.update(words)
        with open(os.path.join(HERE, "peers", self.spec["template"])) as source:
            text = self.render(source.read())
        with open(self.words["conf"], "w") as out:
            out.write(text)
        argv = [*self.prefix, self.program, *map(self.render, self.spec["arguments"])]
        self.log = os.path.join(self.stage.run, f"{self.name}.log")
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.stage.run,
                env=self.environment(),
                preexec_fn=machine.pinned(cores or self.stage.proxy_cpus),
            )  # fmt: skip
        for port in ("plain", "ec", "rsa"):
            wait_for(self.words[port], self.process, self.name, self.log)

    def stop(self, patience=8):
        if self.process:
            machine.stop(self.process, patience)
            self.process = None

    def restart(self, cores=None, **words):
        self.stop()
        self.start(cores, **words)

    def tidy(self):
        """Empties its access log, so that a long run does not fill the disk."""
        log = os.path.join(self.stage.run, f"{self.name}.access.log")
        if os.path.exists(log):
            os.truncate(log, 0)


def specs(files=()):
    """All that can be compared, by name."""
    found = {}
    for path in [os.path.join(HERE, "systems.json"), *files]:
        with open(path) as source:
            found.update((spec["name"], spec) for spec in json.load(source))
    return found


def python_folders():
    libraries = os.path.join(TOOLS, "lib")
    return sorted(os.listdir(libraries)) if os.path.isdir(libraries) else []


def wait_for(port, process, name, log=None):
    deadline = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                said = ""
                if log:
                    with open(log) as text:
                        said = text.read()
                machine.stop(process)
                sys.exit(f"{name}: port {port} never opened\n{said}")
            time.sleep(0.02)


def certificate(run, name, key):
    """A throwaway certificate, also as the one file that HAProxy wants."""
    command = ["openssl", "req", "-x509", "-newkey", *key, "-nodes", "-days", "2"]
    command += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    command += ["-keyout", f"{name}.key", "-out", f"{name}.crt"]
    subprocess.run(command, cwd=run, check=True, capture_output=True)
    with open(os.path.join(run, f"{name}.pem"), "w") as both:
        for part in ("crt", "key"):
            with open(os.path.join(run, f"{name}.{part}")) as source:
                both.write(source.read())
