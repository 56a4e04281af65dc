"""Latency around promotes, beside the latency between them: the same run, so that whatever else the
machine does disturbs both alike."""

import json
import os
import statistics
import subprocess
import time

import machine
from scenarios import command

# What counts as around a promote: from its command to this long after it ended.
AFTER = 0.25
EVERY = 1.2


def measure(stage, system, scenario, args):
    """Promotes back and forth under load; None for a system that knows no promote."""
    control = os.path.join(os.path.dirname(system.program), "proxyctl")
    if system.family != "proxyd":
        return None
    if not os.access(control, os.X_OK):
        return {
            "requests": 0,
            "errors": 1,
            "note": f"{control} is not there",
            "figures": {"p50": None, "p99": None},
        }
    system.restart(system.cores, interval="100ms")
    samples = os.path.join(stage.run, "samples")
    seconds = 2 + EVERY * args.promotes
    load = subprocess.Popen(
        command(stage, system, scenario, seconds, args.rate) + ["--samples", samples],
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=machine.pinned(stage.load_cpus),
    )
    time.sleep(1.3)
    spans, refused = [], 0
    for at in range(args.promotes):
        began = time.time()
        done = subprocess.run(
            [
                control,
                "--socket",
                system.render("{{run}}/{{name}}.sock"),
                "promote",
                ("green", "blue")[at % 2],
            ],
            capture_output=True,
            # It shares the load's core, and should take as little from it as it can.
            preexec_fn=machine.pinned(stage.load_cpus, nice=19),
        )
        refused += done.returncode != 0
        spans.append((began, time.time() + AFTER))
        time.sleep(max(0, began + EVERY - time.time()))
    said = json.loads(load.communicate()[0])
    around, steady = split(samples, said["began"] / 1e9, spans)
    system.restart(system.cores, interval="1s")
    return {
        "requests": said["requests"],
        "errors": said["errors"] + refused,
        "note": f"{len(around)} requests around {args.promotes} promotes, {len(steady)} between them",
        "figures": percentiles(around),
        "steady": percentiles(steady),
    }


def split(path, start, spans):
    """The latencies around the spans, and all others but those of the first second, in µs."""
    around, steady, at = [], [], 0
    with open(path) as source:
        samples = sorted(tuple(map(int, line.split())) for line in source)
    for due, took in samples:
        when = start + due / 1e6
        while at < len(spans) and spans[at][1] < when:
            at += 1
        if at < len(spans) and spans[at][0] <= when:
            around.append(took)
        elif due > 1e6:
            steady.append(took)
    return around, steady


def percentiles(values):
    if len(values) < 100:
        return {"p50": None, "p99": None}
    cuts = statistics.quantiles(values, n=100)
    return {"p50": cuts[49], "p99": cuts[98]}
