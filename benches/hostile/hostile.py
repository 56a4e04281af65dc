#!/usr/bin/env python3
"""Sends the hostile corpus of `tests/hostile/` to proxyd and its peers, and prints what they do.

    benches/hostile/hostile.py --binary target/release/proxyd            the whole table
    benches/hostile/hostile.py --systems proxyd                          proxyd alone; what CI runs
    benches/hostile/hostile.py --only trailers --cases                   a row for each case

Exit code 1 if proxyd does anything else than the corpus says.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, "benches/compare"))
sys.dont_write_bytecode = True

import machine  # noqa: E402
import origin  # noqa: E402
import wire  # noqa: E402

STILL = "GET /still HTTP/1.1\r\nHost: app.test\r\n\r\n"
NEXT = "GET /next HTTP/1.1\r\nHost: app.test\r\n\r\n"

# How long somebody may take who is expected to say something, and somebody who is not.
EXPECTED, UNEXPECTED = 5, 0.4

SYSTEMS = {
    "nginx": ("nginx.conf", ["nginx", "-p", "{run}", "-c", "{conf}", "-e", "{run}/nginx.err"], "-v"),
    "haproxy": ("haproxy.cfg", ["haproxy", "-db", "-f", "{conf}"], "-v"),
    "proxyd": ("proxyd.yaml", ["{binary}", "run", "--config", "{conf}"], "--version"),
}


class System:
    """One proxy in front of the origin."""

    def __init__(self, name, port_of_origin, run, binary):
        self.name = name
        template, argv, version = SYSTEMS[name]
        self.port = machine.free_ports(1)[0]
        run = os.path.join(run, name)
        os.mkdir(run)
        words = {"plain": self.port, "origin": port_of_origin, "run": run}
        with open(os.path.join(HERE, "peers", template)) as source:
            text = source.read()
        for word, value in words.items():
            text = text.replace("{{" + word + "}}", str(value))
        conf = os.path.join(run, template)
        with open(conf, "w") as out:
            out.write(text)
        argv = [word.format(run=run, conf=conf, binary=binary) for word in argv]
        argv[0] = machine.find(argv[0]) or sys.exit(f"{argv[0]} is not installed")
        said = subprocess.run([argv[0], version], capture_output=True, text=True)
        self.version = (said.stdout + said.stderr).splitlines()[0]
        self.version = self.version.removeprefix("nginx version: ").split(" - ")[0]
        self.log = os.path.join(run, "log")
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.wait()

    def wait(self):
        deadline = time.monotonic() + 20
        while True:
            try:
                with wire.Client(self.port) as client:
                    client.ask(STILL)
                    found = client.answer("GET", 2)
                    if found and found[1].status() == 200:
                        return
            except OSError:
                pass
            if self.process.poll() is not None or time.monotonic() > deadline:
                with open(self.log) as log:
                    sys.exit(f"{self.name} does not serve:\n{log.read()}")
            time.sleep(0.05)

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(8)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def request_case(case, system, target):
    """What came of a request: the words for the table, and whether they are what the corpus says."""
    target.answer(None)
    target.take()
    statuses, note = [], ""
    with wire.Client(system.port) as client:
        wire.play(client.connection, case, "send")
        slow = EXPECTED if 408 in case["get"] else UNEXPECTED
        try:
            while True:
                method = (case.get("methods") or ["GET"])[len(statuses) :][:1] or ["GET"]
                due = len(statuses) < len(case["get"])
                if not due and case["then"] == "open":
                    break
                answer = client.answer(method[0], slow if due or not statuses else UNEXPECTED)
                if answer is None:
                    break
                statuses.append(answer[1].status())
                note = " cut" if answer[2] else note
            if case["then"] == "open" and not client.ended:
                client.ask(STILL)
                client.answer("GET", EXPECTED)
        except wire.Unclear as why:
            note = f" unclear: {why}"
        closed = client.ended
    time.sleep(0.002)
    return judge_request(case, statuses, note, closed, target.take())


def judge_request(case, statuses, note, closed, seen):
    unclear = [message for _, message in seen if isinstance(message, wire.Unclear)]
    seen = [message for _, message in seen if not isinstance(message, wire.Unclear)]
    seen = [message for message in seen if not message.line.startswith("GET /still ")]
    words = " ".join(map(str, statuses)) + note
    if not statuses:
        words = "closed" if closed else "silence"
    elif statuses[-1] >= 400 and not closed:
        words += " open"
    answered = sum(1 for status in statuses if status < 300)
    same = [request["line"].replace("HTTP/1.0", "HTTP/1.1") for request in case["seen"]]
    lines = [message.line.replace("HTTP/1.0", "HTTP/1.1") for message in seen]
    bodies = [message.body.decode("latin-1") for message in seen]
    if unclear:
        words += "; the target saw " + str(unclear[0])
    elif len(seen) > max(answered, len(case["seen"])):
        words += f"; the target saw {len(seen)}"
    elif answered and lines == same and bodies != [r.get("body", "") for r in case["seen"]]:
        words += "; other content"
    expected = statuses == case["get"] and closed == (case["then"] == "closed") and lines == same
    return words, expected and not unclear and not note and "; " not in words


def answer_case(case, system, target):
    """The same for what a target answers."""
    target.answer(case)
    target.take()
    method = case.get("ask", "GET")
    body = "Content-Length: 2\r\n\r\nhi" if method == "POST" else "\r\n"
    with wire.Client(system.port) as client:
        client.ask(f"{method} /a HTTP/1.1\r\nHost: app.test\r\n{body}")
        try:
            came = client.answer(method, EXPECTED)
        except wire.Unclear as why:
            came = None
            words = f"unclear: {why}"
        else:
            words = "closed" if client.ended else "silence"
        target.played.wait(EXPECTED)
        with wire.Client(system.port) as other:
            other.ask(NEXT)
            try:
                following = other.answer("GET", EXPECTED)
            except wire.Unclear:
                following = None
    seen = target.take()
    expected = came is not None and len({number for number, _ in seen[:2]}) == (
        1 if case["target"] == "kept" else 2
    )
    if came:
        interim, answer, cut = came
        words = str(answer.status()) + (" cut" if cut else "")
        content = answer.body.decode("latin-1")
        if case["get"] == answer.status() and not cut and content != case.get("body", content):
            words += " other content"
        elif (case["get"] == 502 or case.get("cut")) and answer.status() < 500 and not cut:
            words += " whole"
        right = answer.status() == case["get"] and cut == case.get("cut", False)
        right = right and interim == case.get("interim", interim)
        expected = expected and right and "other" not in words
    if not following or following[1].body != b"ok":
        words += "; the next got another's answer" if following else "; the next got none"
        expected = False
    return words, expected


def load(name, only):
    with open(os.path.join(ROOT, "tests/hostile", name)) as source:
        cases = json.load(source)
    return [case for case in cases if not only or only in (case["group"], case["name"])]


def table(title, rows, names, each):
    """Cases of one group that end alike share a row."""
    print(f"\n### {title}\n\n| cases | RFC | {' | '.join(names)} |\n|---|---|{'---|' * len(names)}")
    groups = {}
    for case, words in rows:
        key = (case["group"], words, case["name"] if each else "")
        groups.setdefault(key, []).append(case)
    for (group, words, _), cases in groups.items():
        told = ", ".join(case["name"].replace("_", " ") for case in cases)
        print(f"| **{group}**: {told} | {sections(cases)} | {' | '.join(words)} |")


def sections(cases):
    """Where the cases stand in the RFCs, each named once: `9112 §2.2, §5; 9110 §5.5`."""
    found, rfc = {}, ""
    for word in ", ".join(case["rfc"] for case in cases).split(", "):
        if word.startswith("RFC "):
            _, rfc, word = word.split(" ", 2)
        places = found.setdefault(rfc, [])
        if word not in places:
            places.append(word)
    return "; ".join(f"{rfc} {', '.join(sorted(places))}" for rfc, places in found.items())


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", default=os.path.join(ROOT, "target/release/proxyd"))
    parser.add_argument("--systems", default="nginx,haproxy,proxyd")
    parser.add_argument("--only", help="one group, or one case")
    parser.add_argument("--cases", action="store_true", help="a row for each case")
    return parser.parse_args()


def main():
    args = arguments()
    names = args.systems.split(",")
    target = origin.Origin()
    run = tempfile.mkdtemp(prefix="proxyd-hostile-")
    systems, wrong = [], []
    try:
        for name in names:
            systems.append(System(name, target.port, run, args.binary))
            print(f"- {systems[-1].version}")
        for title, file, case_of in (
            ("What a client sends", "requests.json", request_case),
            ("What a target answers", "answers.json", answer_case),
        ):
            rows = []
            for case in load(file, args.only):
                done = [case_of(case, system, target) for system in systems]
                rows.append((case, tuple(words for words, _ in done)))
                for system, (words, expected) in zip(systems, done):
                    if system.name == "proxyd" and not expected:
                        wrong.append(f"{file}: {case['name']}: {words}")
            if rows:
                table(title, rows, [system.name for system in systems], args.cases)
    finally:
        for system in systems:
            system.stop()
        shutil.rmtree(run)
    print()
    for line in wrong:
        print(f"proxyd deviates: {line}")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
