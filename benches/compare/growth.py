#!/usr/bin/env python3
"""How the cost of a request grows: with idle client connections, routes by host and
by path, targets and workers.

    benches/compare/growth.py --netns reno               CPU time a request, medians of the rounds
    benches/compare/growth.py --instructions             user instructions a request, by callgrind

CPU time has everything in it, the kernel and what the proxy does by the clock. Instructions are
quieter, and leave both out; beyond a thousand idle connections what is left out is no longer the same
in two runs, so they end there. Each line is a proxy of its own, with the settings of compare.py but for
the one thing that grows.
"""

import argparse
import dataclasses
import os
import resource
import shutil
import statistics
import sys

import machine
import scenarios
import systems

sys.path.insert(0, os.path.join(systems.ROOT, "benches/instructions"))

import count  # noqa: E402

AXES = {
    "idle client connections": (1, 100, 1000, 10000),
    "routes": (1, 10, 100, 1000),
    "paths": (1, 10, 100, 1000),
    "targets": (1, 10, 200),
    "workers": (1, 2),
}


@dataclasses.dataclass
class Point:
    """One line: what grows, how far, and the words of proxyd.yaml for it."""

    axis: str
    value: int
    words: dict
    idle: int = 0
    workers: int = 1

    def spec(self):
        spec = systems.specs()["proxyd"]
        return {**spec, "words": {**spec["words"], **self.words}}


def points(axes, most):
    """All lines of these axes, with at most so many idle connections."""
    for axis in axes:
        for value in AXES[axis]:
            words, idle, workers = {"standby": "127.0.0.201"}, 0, 1
            if axis == "routes":
                # The first is for any host, the second is the one that is asked for.
                hosts = ["localhost", *(f"app{at}.example.com" for at in range(value))][: value - 1]
                words["routes"] = "".join(
                    f"\n  - {{host: {host}, upstream: app}}" for host in hosts
                )
            elif axis == "paths":
                # Of one host; the last one is for any path, and is the one that is asked for.
                words["routes"] = "".join(
                    f"\n  - {{path: /service/{at}, upstream: app}}" for at in range(value - 1)
                )
            elif axis == "targets":
                words["targets"] = ", ".join(
                    f'"127.0.0.{at}:{{{{origin}}}}"' for at in range(1, value + 1)
                )
            elif axis == "workers":
                workers = value
            elif axis == "idle client connections":
                idle = value = min(value, most)
            yield Point(axis, value, words, idle, workers)


def seconds(stage, point, args):
    """CPU microseconds a request, of one run."""
    scenario = dataclasses.replace(scenarios.SCENARIOS[args.scenario], workers=point.workers)
    system = systems.System(point.spec(), stage, args.binary)
    system.cores = (
        [args.proxy_cpu] if point.workers == 1 else sorted({args.proxy_cpu, args.load_cpu})
    )
    system.start(system.cores, workers=point.workers)
    try:
        with scenarios.idle(stage, system, scenario, point.idle) as (ready, _):
            if ready < point.idle:
                sys.exit(f"growth: only {ready} of {point.idle} idle connections could be opened")
            result = scenarios.measure(stage, system, scenario, args)
    finally:
        system.stop()
    if result["errors"]:
        sys.exit(f"growth: {point.axis} {point.value}: {result['errors']} requests failed")
    return result["micros"]


def instructions(stage, point, args):
    """User instructions a request."""
    spec = point.spec()
    spec["words"].update(interval="1h", workers=point.workers)
    return count.per_request(stage, spec, args.binary, args.scenario, args.rounds, point.idle)[0]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "axes", nargs="*", default=list(AXES), help="all, or some of: " + ", ".join(AXES)
    )
    parser.add_argument("--binary", default=os.path.join(systems.ROOT, "target/release/proxyd"))
    parser.add_argument(
        "--scenario", default="plain_h1", choices=list(count.LOADS), help="of compare.py"
    )
    parser.add_argument(
        "--instructions", action="store_true", help="count instructions instead of CPU time"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--warm", type=int, default=1)
    parser.add_argument("--rate", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--foreign", type=float, default=0.15)
    cores = sorted(os.sched_getaffinity(0))
    parser.add_argument("--proxy-cpu", type=int, default=cores[0])
    parser.add_argument("--load-cpu", type=int, default=cores[-1])
    parser.add_argument(
        "--netns", metavar="CONTROL", help="in a network namespace with this TCP congestion control"
    )
    args = parser.parse_args()
    args.binary = os.path.abspath(args.binary)
    for axis in set(args.axes) - set(AXES):
        parser.error(f"nothing grows by {axis}")
    if args.netns:
        machine.into_namespace(args.netns)
    both = sorted({args.proxy_cpu, args.load_cpu})
    stage = systems.Stage(
        *((both, both) if args.instructions else ([args.proxy_cpu], [args.load_cpu])), addresses=201
    )
    # proxyd keeps half of its open files for the other ends; some connections are the load's.
    most = 1000 if args.instructions else resource.getrlimit(resource.RLIMIT_NOFILE)[1] // 2 - 200
    lines = list({(point.axis, point.value): point for point in points(args.axes, most)}.values())
    values = [[] for _ in lines]
    try:
        for _ in range(1 if args.instructions else args.rounds):
            for point, seen in zip(lines, values):
                seen.append(
                    instructions(stage, point, args)
                    if args.instructions
                    else seconds(stage, point, args)
                )
                print(f"{point.axis} {point.value}: {seen[-1]:,.1f}", file=sys.stderr, flush=True)
    finally:
        stage.stop()
        shutil.rmtree(stage.run, ignore_errors=True)
    unit = "user instructions a request" if args.instructions else "CPU µs a request"
    print(
        f"\n{machine.describe()}; {args.scenario}\n\n| | | {unit} | to the first |\n|---|---|---|---|"
    )
    first = {}
    for point, seen in zip(lines, values):
        value = statistics.median(seen)
        start = first.setdefault(point.axis, value)
        shown = f"{value:,.0f}" if args.instructions else f"{value:.1f}"
        print(f"| {point.axis} | {point.value:,} | {shown} | {value / start:.2f} |")


if __name__ == "__main__":
    main()
