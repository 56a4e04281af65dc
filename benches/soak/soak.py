#!/usr/bin/env python3
"""Soaks a proxyd: every kind of client at once, targets that fail, and promotes, reloads and new
certificates all the while. Nothing may get lost, and nothing may grow.

    cargo build --release && benches/soak/soak.py --minutes 30
    benches/soak/soak.py --minutes 1 --binary target/fast/proxyd

Prints how it goes every minute and one table at the end. Exit code 1 if anything is off. README.md
beside this file says what is asked of it.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, "benches/compare"))

import clients  # noqa: E402
import machine  # noqa: E402
import observe  # noqa: E402

PROMOTE, RELOAD, SWAP, KILL = 10, 20, 30, 7

# How much more the end may have than the third minute.
RSS_MORE, RSS_MORE_KB = 1.15, 6 * 1024
FILES_MORE, FILES_MORE_COUNT = 1.25, 30
# The control plane's threads for the disk come and go.
THREADS_MORE = 2


class Targets:
    """The processes behind the proxy, by name."""

    NAMES = [f"{upstream}-{colour}-{number}" for upstream in ("app", "long")
             for colour in ("blue", "green") for number in (1, 2)] + ["faulty"]  # fmt: skip

    def __init__(self):
        self.ports = dict(zip(self.NAMES, machine.free_ports(len(self.NAMES))))
        self.processes = {}
        for name in self.NAMES:
            self.start(name)

    def start(self, name):
        words = [sys.executable, os.path.join(HERE, "target.py"), name, str(self.ports[name])]
        self.processes[name] = subprocess.Popen(words, stdin=subprocess.DEVNULL)

    def kill(self, name):
        """kill -9"""
        self.processes[name].kill()
        self.processes[name].wait()

    def pool(self, upstream, colour):
        names = [name for name in self.NAMES if name.startswith(f"{upstream}-{colour}")]
        return [f"127.0.0.1:{self.ports[name]}" for name in names]

    def stop(self):
        for process in self.processes.values():
            machine.stop(process)


class Proxyd:
    """The proxy under test, its files and its command."""

    def __init__(self, binary, run, targets):
        self.binary, self.run, self.targets = binary, run, targets
        self.plain, self.tls, self.admin = machine.free_ports(3)
        self.edition = 0
        authority(run)
        self.certificate()
        self.write(self.file())
        with open(f"{run}/proxyd.log", "w") as log:
            self.process = subprocess.Popen(
                [binary, "run", "--config", f"{run}/proxy.yaml"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip

    def file(self):
        """A file that differs a little from the one before."""
        self.edition += 1
        targets = self.targets
        upstream = lambda name: {  # noqa: E731
            "blue": targets.pool(name, "blue"),
            "green": targets.pool(name, "green"),
            "health": {"path": "/health", "interval": "250ms", "fall": 2},
            "promotion": {"gate_timeout": "20s", "drain_timeout": f"{20 + self.edition % 3}s"},
        }
        files = {"cert": f"{self.run}/leaf.pem", "key": f"{self.run}/leaf.key"}
        extra = [{"upstream": "app", "path": f"/extra-{self.edition}"}] * (self.edition % 2)
        return {
            "listeners": [
                {"bind": f"127.0.0.1:{self.plain}"},
                {"bind": f"127.0.0.1:{self.tls}", "tls": {"certificates": [files]}},
            ],
            "routes": [
                {"upstream": "app"},
                {"upstream": "long", "path": "/long"},
                {"upstream": "faulty", "path": "/faulty", "timeouts": {"response": "2s"}},
                *extra,
            ],
            "upstreams": {
                "app": upstream("app"),
                "long": upstream("long"),
                "faulty": {"targets": [f"127.0.0.1:{targets.ports['faulty']}"]},
            },
            "limits": {"request_headers": 100 + self.edition % 2},
            "workers": 2,
            "control": {"socket": f"{self.run}/control.sock"},
            "admin": {"bind": f"127.0.0.1:{self.admin}"},
            "access_log": f"{self.run}/access.log",
            "state_dir": f"{self.run}/state",
        }

    def write(self, file):
        with open(f"{self.run}/proxy.yaml.new", "w") as out:
            json.dump(file, out, indent=1)
        os.rename(f"{self.run}/proxy.yaml.new", f"{self.run}/proxy.yaml")

    def certificate(self):
        """A new leaf of our authority, key first; its serial number."""
        run = self.run
        serial = random.getrandbits(63) | 1 << 62
        openssl(run, "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                "-subj", "/CN=localhost", "-keyout", "new.key", "-out", "new.csr")  # fmt: skip
        openssl(run, "x509", "-req", "-in", "new.csr", "-days", "2", "-CA", "ca.pem", "-CAkey",
                "ca.key", "-set_serial", str(serial), "-extfile", "leaf", "-out", "new.pem")  # fmt: skip
        os.rename(f"{run}/new.key", f"{run}/leaf.key")
        os.rename(f"{run}/new.pem", f"{run}/leaf.pem")
        return serial

    def ctl(self, *words):
        """What proxyctl comes to: its exit code and what it says."""
        control = os.path.join(os.path.dirname(self.binary), "proxyctl")
        done = subprocess.run(
            [control, "--socket", f"{self.run}/control.sock", *words],
            capture_output=True, text=True, timeout=90,
        )  # fmt: skip
        return done.returncode, (done.stdout + done.stderr).strip()

    def metrics(self):
        return observe.Page(self.admin)


def authority(run):
    openssl(run, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
            "-nodes", "-days", "2", "-subj", "/CN=ours", "-keyout", "ca.key", "-out", "ca.pem")  # fmt: skip
    with open(f"{run}/leaf", "w") as leaf:
        leaf.write("subjectAltName=DNS:localhost,IP:127.0.0.1\n")


def openssl(run, *words):
    subprocess.run(["openssl", *words], cwd=run, check=True, capture_output=True)


class Director:
    """Does to the proxy what operators and accidents do, and notes what should not have been."""

    def __init__(self, proxyd, targets, ways):
        self.proxyd, self.targets, self.ways = proxyd, targets, ways
        self.counts = dict.fromkeys(
            ("promotes", "reloads", "files refused", "certificate swaps", "targets killed"), 0
        )
        self.off = []
        self.colour = "blue"
        now = time.monotonic()
        self.due = {self.promote: now + PROMOTE, self.reload: now + RELOAD, self.swap: now + SWAP,
                    self.kill: now + KILL}  # fmt: skip

    def step(self):
        """Whatever is due, one after the other: a promote would refuse a colour of which one is dead."""
        for action, every in ((self.promote, PROMOTE), (self.reload, RELOAD), (self.swap, SWAP),
                              (self.kill, KILL)):  # fmt: skip
            if time.monotonic() >= self.due[action]:
                self.due[action] = max(self.due[action] + every, time.monotonic() + every / 2)
                action()

    def ask(self, wanted, *words):
        code, said = self.proxyd.ctl(*words)
        if code != wanted:
            self.off.append(f"proxyctl {' '.join(words)}: exit code {code}, not {wanted}: {said}")

    def promote(self):
        self.colour = "green" if self.colour == "blue" else "blue"
        self.ask(0, "promote", self.colour, "--all")
        self.counts["promotes"] += 1

    def reload(self):
        if self.counts["reloads"] % 4 == 3:
            # One that is wrong, in between: it changes nothing.
            self.proxyd.write({**self.proxyd.file(), "routes": [{"upstream": "nobody"}]})
            self.ask(1, "reload")
            self.counts["files refused"] += 1
        self.proxyd.write(self.proxyd.file())
        self.ask(0, "reload")
        self.counts["reloads"] += 1

    def swap(self):
        serial = self.proxyd.certificate()
        self.counts["certificate swaps"] += 1
        end = time.monotonic() + 15
        while time.monotonic() < end:
            with self.ways.connect(True) as stream:
                if int(stream.getpeercert()["serialNumber"], 16) == serial:
                    return
            time.sleep(0.1)
        self.off.append("a certificate was not taken up within 15 s")

    def kill(self):
        """One of the two targets of the live colour; it comes back, and its probes see it."""
        name = f"app-{self.colour}-{random.choice('12')}"
        address = f"127.0.0.1:{self.targets.ports[name]}"
        self.targets.kill(name)
        self.counts["targets killed"] += 1
        healthy = lambda: self.proxyd.metrics().sum("proxy_target_healthy", target=address)  # noqa: E731
        if not until(lambda: healthy() == 0, 10):
            self.off.append(f"{name} was dead and not seen so within 10 s")
        self.targets.start(name)
        if not until(lambda: healthy() == 1, 10):
            self.off.append(f"{name} was back and not seen so within 10 s")


def until(holds, seconds):
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


def ledger(page):
    """Requests that were taken in, and how each of them ended."""
    name = "proxy_requests_accepted_total"
    taken = page.sum(name if page.has(name) else "proxy_requests_total")
    return int(taken), page.by("proxy_requests_outcome_total", "outcome")


def flat(early, late):
    """What has grown between two moments."""
    if late.rss_kb > early.rss_kb * RSS_MORE + RSS_MORE_KB:
        yield f"memory: {early.rss_kb} KB, then {late.rss_kb} KB"
    if late.files > early.files * FILES_MORE + FILES_MORE_COUNT:
        yield f"open files: {early.files}, then {late.files}"
    if late.threads > early.threads + THREADS_MORE:
        yield f"threads: {early.threads}, then {late.threads}"


def play(args, proxyd, targets, tally):
    """The run itself; what was off, what was sampled, what was done."""
    ways = clients.Ways(proxyd.plain, proxyd.tls, f"{proxyd.run}/ca.pem")
    at_rest = observe.sample(proxyd.process.pid, 0)
    crowd = clients.Clients(ways, tally, args.scale)
    director = Director(proxyd, targets, ways)
    began, samples, minute = time.monotonic(), [], 1
    while (elapsed := time.monotonic() - began) < args.minutes * 60:
        if proxyd.process.poll() is not None:
            director.off.append(f"proxyd ended with {proxyd.process.returncode}")
            break
        director.step()
        samples.append(observe.sample(proxyd.process.pid, began))
        if elapsed >= minute * 60:
            tell(minute, proxyd, tally, director, samples[-1])
            minute += 1
        time.sleep(0.5)
    crowd.join()
    quiet = until(lambda: proxyd.metrics().sum("proxy_requests_in_flight") == 0, 30)
    if not quiet:
        director.off.append("requests are in flight though every client is gone")
    return director, samples, at_rest


def tell(minute, proxyd, tally, director, now):
    """How it goes."""
    taken, outcomes = ledger(proxyd.metrics())
    for reason in tally.reasons[tally.told :]:
        print(f"soak: {reason}")
    tally.told = len(tally.reasons)
    print(
        f"minute {minute}: {taken:,} requests, lost {outcomes['lost']}, wrong"
        f" {sum(tally.failed.values())}, {director.counts['promotes']} promotes;"
        f" {now.rss_kb:,} KB, {now.files} files, {now.threads} threads",
        flush=True,
    )


def judge(proxyd, tally, director, samples, at_rest, minutes):
    """Everything that is off, and the table's lines."""
    off = list(director.off)
    settled = until(lambda: (lambda t, o: t == sum(o.values()))(*ledger(proxyd.metrics())), 20)
    page = proxyd.metrics()
    taken, outcomes = ledger(page)
    if not settled:
        off.append(f"{taken} requests taken in, {sum(outcomes.values())} outcomes")
    if outcomes["lost"]:
        off.append(f"{outcomes['lost']} requests lost")
    answered, sent = sum(tally.answered.values()), sum(tally.sent.values())
    if not answered <= taken <= sent:
        off.append(f"{taken} requests taken in, but clients had {answered} answers of {sent} sent")
    off += [f"{count} x {kind} went wrong" for kind, count in tally.failed.items()]
    cut = page.sum("proxy_requests_cut_total")
    if cut:
        off.append(f"{int(cut)} requests were cut by promotes")
    third = minutes * 6
    early = observe.middle(samples, min(120, third), min(180, 2 * third))
    late = observe.middle(samples, minutes * 60 - min(60, third), minutes * 60 + 60)
    off += flat(early, late)
    # Idle connections to targets are closed after 15 s.
    until(lambda: observe.sample(proxyd.process.pid, 0).files <= at_rest.files + 2, 20)
    rest = observe.sample(proxyd.process.pid, 0)
    if rest.files > at_rest.files + FILES_MORE_COUNT:
        off.append(f"open files at rest: {at_rest.files} before, {rest.files} after")
    lines = [("minutes", f"{minutes:g}"), ("requests taken in", f"{taken:,}")]
    lines += [(f"… {name}", f"{count:,}") for name, count in outcomes.items()]
    lines += [("answers that clients read", f"{answered:,}"), ("requests they sent", f"{sent:,}")]
    lines += [(name, f"{count:,}") for name, count in director.counts.items()]
    lines += [("retries", f"{int(page.sum('proxy_retries_total')):,}")]
    lines += [(f"memory, {when}", f"{one.rss_kb / 1024:.1f} MB") for when, one in
              (("minute 3", early), ("end", late), ("at rest before", at_rest), ("at rest after", rest))]  # fmt: skip
    lines += [(f"open files, {when}", str(one.files)) for when, one in
              (("minute 3", early), ("end", late), ("at rest before", at_rest), ("at rest after", rest))]  # fmt: skip
    lines += [("threads", f"{early.threads}, {late.threads}")]
    return off, lines


def report(off, lines, tally):
    print("\n| | |\n|---|---|")
    for name, value in lines:
        print(f"| {name} | {value} |")
    print("\n| clients | sent | answered | wrong | statuses |\n|---|---|---|---|---|")
    for kind, _, _ in clients.KINDS:
        statuses = sorted((str(s), n) for (of, s), n in tally.statuses.items() if of == kind)
        said = ", ".join(f"{status}: {count:,}" for status, count in statuses if count)
        print(f"| {kind} | {tally.sent[kind]:,} | {tally.answered[kind]:,} | {tally.failed[kind]} | {said} |")
    for reason in tally.reasons[tally.told :]:
        print(f"soak: {reason}")
    for line in off:
        print(f"soak: {line}")
    print("soak: all well" if not off else f"soak: {len(off)} things are off")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--binary", default=os.path.join(ROOT, "target/release/proxyd"))
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--scale", type=float, default=1.0, help="of every client's rate")
    parser.add_argument("--keep", metavar="FOLDER", help="where its files and logs stay")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="proxyd-soak-") as fresh:
        run = args.keep or fresh
        os.makedirs(run, exist_ok=True)
        tally, targets = clients.Tally(), Targets()
        proxyd = Proxyd(args.binary, run, targets)
        try:
            if not until(lambda: proxyd.ctl("status")[0] == 0 and ready(proxyd), 30):
                sys.exit(f"proxyd never became ready: {open(f'{run}/proxyd.log').read()}")
            director, samples, at_rest = play(args, proxyd, targets, tally)
            off, lines = judge(proxyd, tally, director, samples, at_rest, args.minutes)
        finally:
            machine.stop(proxyd.process, 40)
            targets.stop()
        with open(f"{run}/proxyd.log") as log:
            text = log.read()
        off += [line for line in text.splitlines() if is_alarming(line)]
        if proxyd.process.returncode:
            off.append(f"proxyd ended with {proxyd.process.returncode}")
        report(off, lines, tally)
    sys.exit(1 if off else 0)


def is_alarming(line):
    """The files that are wrong on purpose are all that may be complained about."""
    return "panicked" in line or ("ERROR" in line and "configuration refused" not in line)


def ready(proxyd):
    try:
        observe.urllib.request.urlopen(f"http://127.0.0.1:{proxyd.admin}/readyz", timeout=5).close()
    except OSError:
        return False
    return True


if __name__ == "__main__":
    main()
