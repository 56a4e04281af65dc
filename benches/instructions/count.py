#!/usr/bin/env python3
"""Counts the instructions of a request and of its steps, and fails where they grow.

    benches/instructions/count.py requests    the whole proxy: user instructions a request
    benches/instructions/count.py steps       its parts, each by itself
    benches/instructions/count.py             both; exit code 1 if a limit is passed

A count does not know how busy the machine is, so it can stand guard where a time cannot. README.md
beside this file says how it is taken and what it leaves out.
"""

import argparse
import collections
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, "benches/compare"))

import machine  # noqa: E402
import scenarios  # noqa: E402
import systems  # noqa: E402
import where  # noqa: E402

LIMITS = os.path.join(HERE, "limits.json")

# What h2load asks, besides how often.
LOADS = {
    "plain_h1": ("plain", ["--h1", "-c8", "http://localhost:{port}/"]),
    "tls_h1": ("ec", ["--h1", "-c8", "https://localhost:{port}/"]),
    "tls_h2": ("ec", ["-c4", "-m10", "https://localhost:{port}/"]),
}

# Requests of the two runs whose difference counts.
FEW, MANY = 400, 2400

# How far a step may be from its committed count before somebody has to look.
TOLERANCE = 0.05


def callgrind(out):
    """The argv that goes before a program."""
    words = [
        "valgrind",
        "-q",
        "--tool=callgrind",
        "--trace-children=yes",
        f"--callgrind-out-file={out}.%p",
    ]
    return words + ["--compress-strings=no", "--compress-pos=no"]


def taken(out):
    """(all instructions but those for entropy, those of each part) of every process that wrote its
    counts; removes them."""
    count, parts = 0, collections.Counter()
    folder, prefix = os.path.split(out)
    for entry in os.listdir(folder):
        if entry.startswith(prefix + "."):
            path = os.path.join(folder, entry)
            with open(path) as source:
                found = re.findall(r"^(?:totals|summary): (\d+)", source.read(), re.M)
            count += max(map(int, found), default=0)
            parts += where.parts(path)
            os.remove(path)
    return count - parts.pop(where.ENTROPY, 0), parts


def one_run(stage, spec, binary, scenario, requests, life, idle=0):
    """(instructions of a whole life, those of each part, its seconds once it was up): it is asked so
    often beside that many idle connections, and ended after `life`."""
    out = os.path.join(stage.run, "count")
    system = systems.System(spec, stage, binary, prefix=callgrind(out))
    port, load = LOADS[scenario]
    system.start()
    try:
        with scenarios.idle(stage, system, scenarios.SCENARIOS["plain_h1"], idle) as (ready, _):
            began = time.monotonic()
            words = [
                "h2load",
                "-t1",
                f"-n{requests}",
                *(word.format(port=system.words[port]) for word in load),
            ]
            said = subprocess.run(words, capture_output=True, text=True, timeout=300).stdout
            time.sleep(max(0, life - (time.monotonic() - began)))
            took = time.monotonic() - began
    finally:
        system.stop(patience=60)
    done = re.search(r"(\d+) succeeded", said)
    if ready < idle or not done or int(done.group(1)) != requests:
        sys.exit(f"count: {scenario}: not every request was answered:\n{said}")
    return *taken(out), took


def per_request(stage, spec, binary, scenario, times, idle=0):
    """(instructions a request, those of each part): the difference of the least that either number
    of requests has cost.

    Both lives are equally long: what runs by the clock (the tick, the probes, the look at the files)
    is in both and cancels. Whatever else is not the requests' can only add to a run: the least of
    several has the least of it.
    """
    many, few = [], []
    for _ in range(times):
        *counted, life = one_run(stage, spec, binary, scenario, MANY, 0, idle)
        many.append(counted)
        few.append(one_run(stage, spec, binary, scenario, FEW, life, idle)[:2])
    more, less = min(many, key=lambda run: run[0]), min(few, key=lambda run: run[0])
    between = MANY - FEW
    parts = {part: (more[1][part] - less[1][part]) / between for part, _ in where.SHOWN}
    return (more[0] - less[0]) / between, parts


def requests(args, limits):
    """The table of the whole proxy; False if a limit is passed."""
    names = args.systems.split(",")
    cores = sorted(os.sched_getaffinity(0))
    stage = systems.Stage(cores, cores)
    known = systems.specs()
    for name in names:
        known[name].setdefault("words", {})["interval"] = "1h"
    print("\n| user instructions a request | " + " | ".join(LOADS) + " |")
    print("|---" * (len(LOADS) + 1) + "|")
    good, parts = True, {}
    try:
        for name in names:
            found = [
                per_request(stage, known[name], args.binary, load, args.times) for load in LOADS
            ]
            counts = [count for count, _ in found]
            print(row(name, counts), flush=True)
            if name == "proxyd":
                good = all(count <= limits[load] for load, count in zip(LOADS, counts))
                parts = [part for _, part in found]
    finally:
        stage.stop()
        shutil.rmtree(stage.run, ignore_errors=True)
    print(row("at most", [limits[load] for load in LOADS]))
    if parts and args.where:
        print(
            "\n| of these, proxyd's | "
            + " | ".join(LOADS)
            + " |\n"
            + "|---" * (len(LOADS) + 1)
            + "|"
        )
        for part, _ in where.SHOWN:
            print(row(part, [load[part] for load in parts]))
    return good


def row(name, counts):
    return f"| {name} | " + " | ".join(f"{count:,.0f}" for count in counts) + " |"


def count_steps():
    """Instructions of each function of steps::step, what it calls included, a call."""
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "steps")
        words = callgrind(out) + [machine.built("steps", "bench", "--bench", "steps")]
        subprocess.run(words, check=True, timeout=300)
        (path,) = os.listdir(folder)
        with open(os.path.join(folder, path)) as source:
            lines = source.read().splitlines()
    calls, costs, callee = {}, {}, None
    for line, after in zip(lines, lines[1:]):
        if line.startswith("cfn="):
            found = re.search(r"steps::step::(\w+)", line)
            callee = found and found.group(1)
        elif line.startswith("calls=") and callee:
            # "calls=COUNT PLACE", then "PLACE COST", the cost of all these calls together.
            calls[callee] = calls.get(callee, 0) + int(line[len("calls=") :].split()[0])
            costs[callee] = costs.get(callee, 0) + int(after.split()[-1])
    return {name.replace("_", " "): costs[name] / calls[name] for name in costs}


def steps(limits, update):
    """The table of the steps; False if one has grown, is gone or is new."""
    counts = count_steps()
    if update:
        limits["steps"] = {name: round(count) for name, count in counts.items()}
        with open(LIMITS, "w") as out:
            json.dump(limits, out, indent=1)
            out.write("\n")
    print("\n| instructions of a step | now | committed | |\n|---|---|---|---|")
    good = True
    for name, committed in limits.get("steps", {}).items():
        now = counts.pop(name, None)
        if now is None:
            verdict = "is gone"
        elif abs(now / committed - 1) <= TOLERANCE:
            verdict = ""
        else:
            verdict = f"{100 * (now / committed - 1):+.0f} %"
        good = good and now is not None and now <= committed * (1 + TOLERANCE)
        print(f"| {name} | {'-' if now is None else f'{now:,.0f}'} | {committed:,} | {verdict} |")
    for name, now in counts.items():
        good = False
        print(f"| {name} | {now:,.0f} | - | is new |")
    return good


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", nargs="*", default=["requests", "steps"], help="requests, steps")
    parser.add_argument("--binary", default=os.path.join(ROOT, "target/release/proxyd"))
    parser.add_argument("--systems", default="proxyd", help="names from ../compare/systems.json")
    parser.add_argument(
        "--times", type=int, default=2, help="runs of each kind, of which the least counts"
    )
    parser.add_argument(
        "--where", action="store_true", help="also which part of proxyd they belong to"
    )
    parser.add_argument(
        "--update", action="store_true", help="commit the counts of the steps as they are now"
    )
    args = parser.parse_args()
    args.binary = os.path.abspath(args.binary)
    with open(LIMITS) as source:
        limits = json.load(source)
    good = True
    if "requests" in args.what:
        good = requests(args, limits["requests"]) and good
    if "steps" in args.what:
        good = steps(limits, args.update) and good
    if not good:
        sys.exit(
            "count: a limit is passed, or a step is not what it was (--update, if it should be)"
        )


if __name__ == "__main__":
    main()
