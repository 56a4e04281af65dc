"""What is measured: each scenario's load, and the figures of one run of it."""

import dataclasses
import json
import os
import re
import subprocess
import time

import machine


@dataclasses.dataclass(frozen=True)
class Scenario:
    """One line of the table."""

    what: str
    tool: str  # wrk, h2load, or a mode of the load tool
    port: str
    options: tuple = ()
    metric: str = "requests"  # requests or megabytes a CPU-second; latency; memory; promotes
    workers: int = 1
    # Large bodies are also run through the peers with larger buffers.
    large: bool = False
    tls: bool = True


H1, H2, H2_NARROW = ("-c64",), ("-c16", "-m10"), ("-c64", "-m1")
FAT, FAT_H2 = ("-c16",), ("-c8", "-m2", "-w20", "-W24")
SMALL, LARGE = "/", "/1m"

SCENARIOS = {
    "plain_h1": Scenario("plaintext HTTP/1.1, 64 connections, 100 B", "wrk", "plain", (*H1, SMALL), tls=False),
    "tls_h1": Scenario("TLS HTTP/1.1, 64 connections, 100 B", "wrk", "ec", (*H1, SMALL)),
    "tls_h2": Scenario("TLS HTTP/2, 16 connections x 10 streams, 100 B", "h2load", "ec", (*H2, SMALL)),
    "tls_h2_1": Scenario("TLS HTTP/2, 64 connections x 1 stream, 100 B", "h2load", "ec", (*H2_NARROW, SMALL)),
    "plain_10k": Scenario("plaintext HTTP/1.1, 10 KB", "wrk", "plain", (*H1, "/10k"), tls=False),
    "tls_10k": Scenario("TLS HTTP/1.1, 10 KB", "wrk", "ec", (*H1, "/10k")),
    "h2_10k": Scenario("TLS HTTP/2, 10 KB", "h2load", "ec", (*H2, "/10k")),
    "plain_1m": Scenario("plaintext HTTP/1.1, 1 MB", "wrk", "plain", (*FAT, LARGE), "megabytes", large=True, tls=False),
    "tls_1m": Scenario("TLS HTTP/1.1, 1 MB", "wrk", "ec", (*FAT, LARGE), "megabytes", large=True),
    "h2_1m": Scenario("TLS HTTP/2, 1 MB", "h2load", "ec", (*FAT_H2, LARGE), "megabytes", large=True),
    "plain_up": Scenario("plaintext HTTP/1.1, 1 MB uploads", "h2load", "plain", ("--h1", *FAT, "-d", SMALL), "megabytes", large=True, tls=False),
    "tls_up": Scenario("TLS HTTP/1.1, 1 MB uploads", "h2load", "ec", ("--h1", *FAT, "-d", SMALL), "megabytes", large=True),
    "h2_up": Scenario("TLS HTTP/2, 1 MB uploads", "h2load", "ec", ("-c8", "-m2", "-d", SMALL), "megabytes", large=True),
    "connect_plain": Scenario("a new plaintext connection per request", "connect", "plain"),
    "full_ec": Scenario("a full TLS 1.3 handshake per request, P-256", "connect", "ec", ("--tls",)),
    "full_rsa": Scenario("a full TLS 1.3 handshake per request, RSA-2048", "connect", "rsa", ("--tls",)),
    "full_ec12": Scenario("a full TLS 1.2 handshake per request, P-256", "connect", "ec", ("--tls", "--tls12")),
    "resume": Scenario("a resumed TLS 1.3 handshake per request", "connect", "ec", ("--tls", "--resume")),
    "resume12": Scenario("a resumed TLS 1.2 handshake per request", "connect", "ec", ("--tls", "--tls12", "--resume")),
    "latency_plain": Scenario("latency at a fixed rate, plaintext HTTP/1.1", "rate", "plain", (), "latency"),
    "latency_tls": Scenario("latency at a fixed rate, TLS HTTP/1.1", "rate", "ec", ("--tls",), "latency"),
    "two_plain": Scenario("two workers, plaintext HTTP/1.1", "wrk", "plain", (*H1, SMALL), workers=2, tls=False),
    "two_tls": Scenario("two workers, TLS HTTP/1.1", "wrk", "ec", (*H1, SMALL), workers=2),
    "two_h2": Scenario("two workers, TLS HTTP/2, 16 x 10", "h2load", "ec", (*H2, SMALL), workers=2),
    "memory_tls": Scenario("KB per idle keep-alive TLS connection", "idle", "ec", ("--tls",), "memory"),
    "promotes": Scenario("latency around a promote, TLS HTTP/1.1", "rate", "ec", ("--tls",), "promotes"),
}  # fmt: skip

# What a scenario's figures are called, and their unit; with more than one, each is a line.
FIGURES = {
    "requests": {"": "requests per CPU-s"},
    "megabytes": {"": "MB per CPU-s"},
    "latency": {"p50": "µs", "p99": "µs"},
    "memory": {"": "KB"},
    "promotes": {"p50": "µs", "p99": "µs"},
}


def smaller_is_better(metric):
    return metric in ("latency", "memory", "promotes")


def command(stage, system, scenario, seconds, rate):
    """The argv of one load."""
    port = system.words[scenario.port]
    scheme = "https" if scenario.tls else "http"
    if scenario.tool == "wrk":
        *options, path = scenario.options
        return [
            "wrk",
            "-t1",
            *options,
            f"-d{seconds}s",
            "--timeout",
            "8s",
            f"{scheme}://localhost:{port}{path}",
        ]
    if scenario.tool == "h2load":
        *options, path = scenario.options
        body = [os.path.join(stage.run, "pages/1m")] if "-d" in options else []
        return [
            "h2load",
            "-t1",
            "-D",
            str(seconds),
            *options,
            *body,
            f"{scheme}://localhost:{port}{path}",
        ]
    words = [
        stage.load,
        scenario.tool,
        "--port",
        str(port),
        *scenario.options,
        "--secs",
        str(seconds),
    ]
    return words + (["--rps", str(rate)] if scenario.tool == "rate" else [])


def load(stage, system, scenario, seconds, rate):
    """Runs one load; returns what it counted: requests, errors, and what else its tool tells."""
    done = subprocess.run(
        command(stage, system, scenario, seconds, rate),
        capture_output=True,
        text=True,
        timeout=seconds * 4 + 60,
        preexec_fn=machine.pinned(stage.load_cpus),
    )
    counted = read(scenario, done.stdout)
    if counted is None:
        return {"requests": 0, "errors": 1, "note": (done.stdout + done.stderr)[-300:]}
    return counted


def read(scenario, text):
    """What a tool has printed; None if it cannot be read."""
    if scenario.tool == "wrk":
        total = re.search(r"(\d+) requests in", text)
        wrong = re.findall(r"(?:connect|read|write|timeout|3xx responses:) (\d+)", text)
        return total and {"requests": int(total.group(1)), "errors": sum(map(int, wrong))}
    if scenario.tool == "h2load":
        total = re.search(r"requests: .* (\d+) succeeded, (\d+) failed, (\d+) errored", text)
        status = re.search(r"status codes: \d+ 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", text)
        if not total or not status:
            return None
        wrong = [*total.groups()[1:2], *status.groups()]
        return {"requests": int(total.group(1)), "errors": sum(map(int, wrong))}
    try:
        said = json.loads(text.strip().splitlines()[-1])
    except (IndexError, ValueError):
        return None
    # The first connection of each of the 16 threads has nothing to resume.
    if "--resume" in scenario.options and said["resumed"] < 0.9 * said["requests"] - 16:
        said.update(errors=said["errors"] + 1, note=f"only {said['resumed']} were resumed")
    return said


def measure(stage, system, scenario, args):
    """One run: its figures, and what helps to judge them."""
    if scenario.metric == "memory":
        return memory(stage, system, scenario, args)
    load(stage, system, scenario, args.warm, args.rate)
    cores = set(system.cores)
    # Somebody else on the proxy's core disturbs its caches: such a run is done again, twice at most.
    for _ in range(3):
        (user, kernel), busy, began = (
            machine.cpu_seconds(system.process.pid),
            machine.busy_seconds(cores),
            time.monotonic(),
        )
        counted = load(stage, system, scenario, args.seconds, args.rate)
        after, took = machine.cpu_seconds(system.process.pid), time.monotonic() - began
        user, kernel = after[0] - user, after[1] - kernel
        used = max(user + kernel, 1 / machine.TICK)
        foreign = (machine.busy_seconds(cores) - busy - used) / took
        if scenario.workers > 1 or foreign <= args.foreign:
            break
    system.tidy()
    requests = counted["requests"]
    result = {"requests": requests, "errors": counted["errors"], "note": counted.get("note", "")}
    result.update(
        micros=used / max(requests, 1) * 1e6,
        kernel=kernel / used,
        used=used / took,
        foreign=foreign,
    )
    if scenario.metric == "latency":
        result["figures"] = {"p50": counted.get("p50"), "p99": counted.get("p99")}
    else:
        result["figures"] = {
            "": requests / used * (1.048576 if scenario.metric == "megabytes" else 1) or None
        }
    return result


def memory(stage, system, scenario, args):
    """What each of many idle connections costs a proxy that was started for it."""
    system.restart(system.cores)
    load(stage, system, dataclasses.replace(scenario, tool="connect"), 0.3, args.rate)
    before = machine.memory_kb(system.process.pid)
    with idle(stage, system, scenario, args.idle) as (ready, errors):
        time.sleep(1.5)  # what was needed to open them has been given back
        after = machine.memory_kb(system.process.pid)
    system.restart(system.cores)
    note = f"{before / 1024:.0f} MB before"
    return {
        "requests": ready,
        "errors": errors,
        "note": note,
        "figures": {"": (after - before) / ready if ready else None},
    }


class idle:
    """Holds idle connections for as long as the block runs; gives (ready, errors)."""

    def __init__(self, stage, system, scenario, count):
        tls = ["--tls"] if scenario.tls else []
        words = [
            stage.load,
            "idle",
            "--port",
            str(system.words[scenario.port]),
            "--count",
            str(count),
        ]
        self.words, self.cores = words + tls, stage.load_cpus

    def __enter__(self):
        self.process = subprocess.Popen(
            self.words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=machine.pinned(self.cores),
        )
        said = json.loads(self.process.stdout.readline())
        return said["ready"], said["errors"]

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait()
