#!/usr/bin/env python3
"""Compares proxyd with nginx and HAProxy on this machine, per CPU-second of the proxy.

Every proxy has one worker and a core of its own (--proxy-cpu); the origin and the load share the
other (--load-cpu). Rounds are interleaved and begin with another proxy each time, so that a drift of
the machine hits all alike. The figure is what a proxy got done in a second of CPU time (user and
system) of its whole process tree, which changes little with what else the machine does. A ratio is
the median of the ratios of the rounds.

    benches/compare/setup.sh && cargo build --release
    benches/compare/compare.py --netns reno                       # the whole table, about 50 minutes
    benches/compare/compare.py --scenarios plain_h1,tls_h2 --rounds 3

Exit code 1 if a request failed or a figure is missing: then the table means nothing. A goal that is
missed is only said.
"""

import argparse
import json
import os
import shutil
import sys
import time

import machine
import promotes
import report
import scenarios
import systems
from scenarios import SCENARIOS


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--binary", default=os.path.join(systems.ROOT, "target/release/proxyd"))
    parser.add_argument(
        "--systems",
        help="by name, from systems.json; else proxyd, nginx and haproxy in all their settings",
    )
    parser.add_argument(
        "--more-systems", action="append", default=[], metavar="FILE", help="another systems.json"
    )
    parser.add_argument(
        "--scenarios", default="all", help="all, or some of: " + ", ".join(SCENARIOS)
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=4, help="of each run")
    parser.add_argument("--warm", type=int, default=1, help="seconds of load before each run")
    parser.add_argument(
        "--rate", type=int, default=8000, help="requests a second of the latency scenarios"
    )
    parser.add_argument("--idle", type=int, default=5000, help="connections of memory_tls")
    parser.add_argument("--promotes", type=int, default=50)
    parser.add_argument("--goals", default=os.path.join(systems.HERE, "goals.json"))
    cores = sorted(os.sched_getaffinity(0))
    parser.add_argument("--proxy-cpu", type=int, default=cores[0])
    parser.add_argument("--load-cpu", type=int, default=cores[-1])
    parser.add_argument(
        "--two-cpus", default=f"{cores[0]},{cores[-1]}", help="the cores of two workers"
    )
    parser.add_argument(
        "--foreign",
        type=float,
        default=0.15,
        help="a run is done again if others used more of its core",
    )
    parser.add_argument(
        "--netns", metavar="CONTROL", help="in a network namespace with this TCP congestion control"
    )
    parser.add_argument("--out", metavar="NAME", help="also writes NAME.md and NAME.json")
    parser.add_argument("--keep", action="store_true", help="keep the folder of files and logs")
    args = parser.parse_args()
    args.binary = os.path.abspath(args.binary)
    args.scenarios = list(SCENARIOS) if args.scenarios == "all" else args.scenarios.split(",")
    args.two_cpus = [int(core) for core in args.two_cpus.split(",")]
    for name in set(args.scenarios) - set(SCENARIOS):
        parser.error(f"there is no scenario {name}")
    if args.proxy_cpu == args.load_cpu:
        parser.error("the proxy and the load need a core each")
    for tool in ("openssl", "wrk", "h2load"):
        if not machine.find(tool):
            parser.error(f"{tool} is not installed: run {systems.HERE}/setup.sh")
    return parser, args


def chosen(parser, args, stage):
    """The systems that were asked for; of the usual ones those that are installed."""
    known = systems.specs(args.more_systems)
    usual = [
        name for name, spec in known.items() if spec["family"] in ("proxyd", "nginx", "haproxy")
    ]
    names = args.systems.split(",") if args.systems else usual
    for name in set(names) - set(known):
        parser.error(f"there is no system {name}")
    found = []
    for name in names:
        system = systems.System(known[name], stage, args.binary)
        if system.program:
            found.append(system)
        elif args.systems or name == "proxyd":
            parser.error(
                f"{name} is not there: {', '.join(map(system.render, system.spec['programs']))}"
            )
        else:
            print(f"compare: {name} is not installed: left out", file=sys.stderr)
    return found


def run(stage, members, name, args, results):
    """All rounds of one scenario."""
    scenario = SCENARIOS[name]
    members = [one for one in members if scenario.large or one.spec.get("only") != "large"]
    cores = args.two_cpus if scenario.workers == 2 else [args.proxy_cpu]
    for system in members:
        system.cores = cores
        if system.words["workers"] != scenario.workers or not system.process:
            system.restart(cores, workers=scenario.workers)
    rounds = 1 if scenario.metric in ("memory", "promotes") else args.rounds
    for at in range(rounds):
        shift = at % len(members)
        for system in members[shift:] + members[:shift]:
            how = promotes.measure if scenario.metric == "promotes" else scenarios.measure
            result = how(stage, system, scenario, args)
            if result is None:
                continue
            results.add(name, system.name, result)
            figures = " / ".join(map(report.number, result["figures"].values()))
            print(
                f"[{time.monotonic() - args.began:5.0f} s] {name} {at + 1} {system.name:10s} {figures:>12s}"
                f"  others {result.get('foreign', 0):.2f}  failed {result['errors']} {result['note']}",
                file=sys.stderr,
                flush=True,
            )


def write(args, members, results):
    """The tables, to stdout and to --out."""
    families = list(dict.fromkeys(system.family for system in members))
    parts = [
        f"{time.strftime('%F %H:%M')}. {machine.describe()}. {args.rounds} rounds of {args.seconds} s.",
        "\n".join(f"- {system.name}: {system.version()}" for system in members),
        report.summary(results, families),
        report.promotes(results),
        report.details(results),
    ]
    text = "\n\n".join(filter(None, parts)) + "\n"
    print(text)
    if args.out:
        with open(args.out + ".md", "w") as out:
            out.write(text)
        with open(args.out + ".json", "w") as out:
            json.dump({"args": vars(args), "runs": results.runs}, out, indent=1)


def main():
    parser, args = arguments()
    if args.netns:
        machine.into_namespace(args.netns)
    with open(args.goals) as source:
        goals = json.load(source)
    os.sched_setaffinity(0, {args.load_cpu})
    args.began = time.monotonic()
    stage = systems.Stage([args.proxy_cpu], [args.load_cpu])
    members = []
    try:
        members = chosen(parser, args, stage)
        results = report.Results(members, goals)
        for name in args.scenarios:
            run(stage, members, name, args, results)
    finally:
        for system in members:
            system.stop()
        stage.stop()
        if args.keep:
            print(f"compare: kept {stage.run}", file=sys.stderr)
        else:
            shutil.rmtree(stage.run, ignore_errors=True)
    write(args, members, results)
    wrong = results.wrong()
    if wrong:
        sys.exit("compare: the figures mean nothing:\n  " + "\n  ".join(wrong))


if __name__ == "__main__":
    main()
