"""Latency around promotes, beside the latency between them: the same run, so that whatever else the
machine does disturbs both alike.

The command goes to the control socket from here. `proxyctl` says the same there, but a process that
starts takes milliseconds of the core that the load runs on, and they would be counted as the proxy's."""

import http.client
import json
import os
import socket
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
    if system.family != "proxyd":
        return None
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
        refused += not promote(system.render("{{run}}/{{name}}.sock"), ("green", "blue")[at % 2])
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


def promote(path, colour):
    """Promotes, and waits for the end of the drain; whether it went well."""
    control = http.client.HTTPConnection("control")
    control.sock = socket.socket(socket.AF_UNIX)
    control.sock.settimeout(30)
    try:
        control.sock.connect(path)
        control.request("POST", "/v1/promote", json.dumps({"colour": colour}))
        events = [json.loads(line) for line in control.getresponse().read().splitlines()]
    except (OSError, ValueError, http.client.HTTPException):
        return False
    finally:
        control.close()
    return bool(events) and events[-1].get("event") == "drained"


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
