#!/usr/bin/env python3
"""Compares proxyd with nginx and HAProxy on this machine, by requests per CPU-second of the proxy.

Every proxy has one worker and one core of its own (--proxy-cpu); the origin and the load generators
share the other (--load-cpu). Rounds are interleaved and their order rotates, so that a drift of the
machine hits everybody alike. The figure is requests per second of CPU time (user and system) of the
proxy's whole process tree: what else the machine does changes it little. Ratios are medians of the
ratios of each round.

    cargo build --profile fast && benches/compare/compare.py
    benches/compare/compare.py --binary target/release/proxyd --rounds 5 --seconds 4

Needs nginx (also the origin), haproxy, wrk, h2load and openssl (apt-get install nginx-light haproxy
wrk nghttp2-client openssl). Without haproxy it is left out, and said so. Exit code 1 if a request failed.
"""

import argparse
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
TICK = os.sysconf("SC_CLK_TCK")
PEERS = {
    "proxyd": ("proxyd.yaml", ["{binary}", "run", "--config", "{conf}"]),
    "nginx": ("nginx.conf", ["nginx", "-p", "{run}", "-c", "{conf}", "-e", "{run}/nginx.err"]),
    "haproxy": ("haproxy.cfg", ["haproxy", "-db", "-q", "-f", "{conf}"]),
}
# name: (what it says in the table, load tool, port, TLS)
SCENARIOS = {
    "plain_h1": ("plaintext HTTP/1.1, 64 connections", "wrk", "plain", False),
    "tls_h1": ("TLS 1.3 HTTP/1.1, 64 connections", "wrk", "tls", True),
    "tls_h2": ("TLS 1.3 HTTP/2, 16 connections x 10 streams", "h2load", "tls", True),
}


def find(program):
    """The path of a program; Debian keeps nginx and haproxy where only root's PATH looks."""
    return shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")


def tree(root):
    """A process and everything below it."""
    children = {}
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{entry}/stat") as stat:
                text = stat.read()
        except OSError:
            continue
        parent = int(text[text.rindex(")") + 2 :].split()[1])
        children.setdefault(parent, []).append(int(entry))
    found, todo = [], [root]
    while todo:
        found.append(todo.pop())
        todo += children.get(found[-1], [])
    return found


def cpu_seconds(root):
    """User and system time that a process tree has used."""
    ticks = 0
    for pid in tree(root):
        try:
            with open(f"/proc/{pid}/stat") as stat:
                text = stat.read()
        except OSError:
            continue
        fields = text[text.rindex(")") + 2 :].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / TICK


def free_ports(count):
    """Distinct ports that were free a moment ago."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports


class Process:
    """One program of ours on one core, with its file rendered and its log kept."""

    def __init__(self, name, template, command, words, core):
        self.name = name
        words = {**words, "conf": os.path.join(words["run"], os.path.basename(template))}
        with open(os.path.join(HERE, "peers", template)) as source:
            text = re.sub(r"\{\{(\w+)\}\}", lambda m: str(words[m.group(1)]), source.read())
        with open(words["conf"], "w") as out:
            out.write(text)
        argv = [word.format(**words) for word in command]
        argv[0] = find(argv[0]) or argv[0]
        self.log = os.path.join(words["run"], name + ".log")
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=lambda: os.sched_setaffinity(0, {core}),
            )

    def wait_for(self, port):
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    with open(self.log) as log:
                        sys.exit(f"compare: {self.name}: port {port} never opened:\n{log.read()}")
                time.sleep(0.05)

    def stop(self):
        if self.process.poll() is None:
            below = tree(self.process.pid)
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                for pid in below:
                    try:
                        os.kill(pid, signal.SIGKILL)
                    except ProcessLookupError:
                        pass
                self.process.wait()


def load(tool, url, seconds, core):
    """Drives one load; returns (requests done, requests failed)."""
    if tool == "wrk":
        argv = ["wrk", "-t1", "-c64", f"-d{seconds}s", "--timeout", "8s", url]
    else:
        argv = ["h2load", "-t1", "-c16", "-m10", "-D", str(seconds), url]
    done = subprocess.run(
        argv,
        capture_output=True,
        text=True,
        timeout=seconds * 4 + 60,
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),
    )
    text = done.stdout
    if tool == "wrk":
        total = re.search(r"(\d+) requests in", text)
        errors = re.findall(r"(?:connect|read|write|timeout|3xx responses:) (\d+)", text)
        failed = sum(map(int, errors))
    else:
        total = re.search(r"requests: .* (\d+) succeeded", text)
        errors = re.search(r"(\d+) failed, (\d+) errored", text)
        other = re.search(r"status codes: \d+ 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", text)
        failed = int(errors.group(1)) if errors else 0
        failed += sum(map(int, other.groups())) if other else 0
    if not total:
        sys.exit(f"compare: {tool} said nothing that can be read:\n{text}{done.stderr}")
    return int(total.group(1)), failed


def certificate(run):
    """A throwaway P-256 certificate, also as the one file that HAProxy wants."""
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    command += " -subj /CN=localhost -addext subjectAltName=DNS:localhost -keyout key.pem -out cert.pem"
    subprocess.run(command.split(), cwd=run, check=True, capture_output=True)
    with open(os.path.join(run, "both.pem"), "w") as both:
        for part in ("cert.pem", "key.pem"):
            with open(os.path.join(run, part)) as source:
                both.write(source.read())


def measure(args, systems, scenario, results):
    """All rounds of one scenario."""
    _, tool, port, tls = SCENARIOS[scenario]
    names = list(systems)
    for at in range(args.rounds):
        shift = at % len(names)
        for name in names[shift:] + names[:shift]:
            process, ports = systems[name]
            url = f"http{'s' if tls else ''}://localhost:{ports[port]}/"
            load(tool, url, 1, args.load_cpu)
            before = cpu_seconds(process.process.pid)
            requests, failed = load(tool, url, args.seconds, args.load_cpu)
            used = max(cpu_seconds(process.process.pid) - before, 1 / TICK)
            results.setdefault((scenario, name), []).append((requests / used, failed))
            print(
                f"{scenario} round {at + 1} {name:8s} {requests / used:10,.0f} requests per CPU-second,"
                f" {failed} failed",
                file=sys.stderr,
                flush=True,
            )


def table(args, names, results):
    """Markdown: one line a scenario, absolute figures and the ratios of the first to the others."""
    first, others = names[0], names[1:]
    head = ["scenario", *names, *(f"{first} / {other}" for other in others), "failed"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for scenario in args.scenarios:
        runs = {name: results[scenario, name] for name in names}
        median = {name: statistics.median(value for value, _ in runs[name]) for name in names}
        cells = [SCENARIOS[scenario][0], *(f"{median[name]:,.0f}" for name in names)]
        for other in others:
            ratios = [ours / theirs for (ours, _), (theirs, _) in zip(runs[first], runs[other])]
            cells.append(f"{statistics.median(ratios):.2f}")
        cells.append(str(sum(failed for run in runs.values() for _, failed in run)))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--binary", default=os.path.join(ROOT, "target/fast/proxyd"))
    parser.add_argument("--systems", default=",".join(PEERS), help="the first is compared with the rest")
    parser.add_argument("--scenarios", default=",".join(SCENARIOS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=3)
    cores = sorted(os.sched_getaffinity(0))
    parser.add_argument("--proxy-cpu", type=int, default=cores[0])
    parser.add_argument("--load-cpu", type=int, default=cores[-1])
    parser.add_argument("--keep", action="store_true", help="keep the folder of files and logs")
    args = parser.parse_args()
    args.scenarios = args.scenarios.split(",")
    args.binary = os.path.abspath(args.binary)
    wanted = args.systems.split(",")
    for name in set(args.scenarios) - set(SCENARIOS) or set(wanted) - set(PEERS):
        parser.error(f"{name} is not known")
    if args.proxy_cpu == args.load_cpu:
        parser.error("the proxy and the load need a core each")
    if "proxyd" in wanted and not os.access(args.binary, os.X_OK):
        parser.error(f"{args.binary} is not there: cargo build --profile fast")
    for tool in ("nginx", "openssl", "wrk", "h2load"):
        if not find(tool):
            parser.error(f"{tool} is not installed; it drives the comparison")
    names = [name for name in wanted if name == "proxyd" or find(name)]
    for name in set(wanted) - set(names):
        print(f"compare: {name} is not installed: left out", file=sys.stderr)

    run = tempfile.mkdtemp(prefix="proxyd-compare-")
    certificate(run)
    origin_port, standby_port = free_ports(2)
    words = {"run": run, "binary": args.binary, "origin": origin_port, "standby": standby_port}
    started, systems, results = [], {}, {}
    try:
        origin = Process("origin", "origin.conf", PEERS["nginx"][1], words, args.load_cpu)
        started.append(origin)
        origin.wait_for(origin_port)
        for name in names:
            template, command = PEERS[name]
            plain, tls = free_ports(2)
            process = Process(name, template, command, {**words, "plain": plain, "tls": tls}, args.proxy_cpu)
            started.append(process)
            process.wait_for(plain)
            process.wait_for(tls)
            systems[name] = (process, {"plain": plain, "tls": tls})
        for scenario in args.scenarios:
            measure(args, systems, scenario, results)
    finally:
        for process in reversed(started):
            process.stop()
        if args.keep:
            print(f"compare: kept {run}", file=sys.stderr)
        else:
            shutil.rmtree(run, ignore_errors=True)
    print("\nRequests per CPU-second of the proxy (100 B answers, one worker):\n")
    print(table(args, names, results))
    failed = sum(failed for runs in results.values() for _, failed in runs)
    if failed:
        sys.exit(f"compare: {failed} requests failed: the figures mean nothing")


if __name__ == "__main__":
    main()
