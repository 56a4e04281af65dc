"""What was measured, as Markdown: the figures, the ratios beside their goals, and the details."""

import statistics

from scenarios import FIGURES, SCENARIOS, smaller_is_better

NAMES = {
    "proxyd": "proxyd",
    "nginx": "nginx",
    "haproxy": "HAProxy",
    "caddy": "Caddy",
    "envoy": "Envoy",
}


def number(value):
    """A figure with as many digits as it deserves."""
    if value is None:
        return "missing"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def median(values):
    values = [value for value in values if value is not None]
    return statistics.median(values) if values else None


class Results:
    """All runs, by scenario and system."""

    def __init__(self, systems, goals):
        self.runs, self.goals = {}, goals
        self.family = {system.name: system.family for system in systems}

    def add(self, scenario, system, run):
        self.runs.setdefault(scenario, {}).setdefault(system, []).append(run)

    def figures(self, scenario, system, figure):
        """One for each round."""
        return [run["figures"].get(figure) for run in self.runs[scenario][system]]

    def best(self, scenario, family, figure):
        """The system of a family with the best median: a peer is taken as it is best."""
        rank = {
            name: median(self.figures(scenario, name, figure))
            for name in self.runs[scenario]
            if self.family[name] == family
        }
        rank = {name: value for name, value in rank.items() if value is not None}
        best = min if smaller_is_better(SCENARIOS[scenario].metric) else max
        return best(rank, key=rank.get) if rank else None

    def ratio(self, scenario, peer, figure):
        """The median of the ratios of the rounds; None without figures."""
        ours = self.figures(scenario, "proxyd", figure)
        pairs = zip(ours, self.figures(scenario, peer, figure))
        return median([one / other for one, other in pairs if one and other])

    def wrong(self):
        """What makes the table worthless, in words."""
        found = []
        for scenario, systems in self.runs.items():
            for name, runs in systems.items():
                failed = sum(run["errors"] for run in runs)
                if failed:
                    notes = {run["note"] for run in runs if run["errors"] and run["note"]}
                    found.append(f"{scenario}, {name}: {failed} failed {' '.join(notes)}")
                if any(value is None for run in runs for value in run["figures"].values()):
                    found.append(f"{scenario}, {name}: a figure is missing")
        return found


def summary(results, families):
    """One line for each figure: all proxies, ours to each peer, the goal, and whether it is met."""
    peers = [family for family in families if family != "proxyd"]
    with_ours = "proxyd" in families
    head = ["scenario", "unit", *(NAMES.get(family, family) for family in families)]
    head += [f"/ {NAMES.get(peer, peer)} (goal)" for peer in peers] if with_ours else []
    lines = ["| " + " | ".join([*head, "failed"]) + " |", "|---" * (len(head) + 1) + "|"]
    for scenario, systems in results.runs.items():
        kind = SCENARIOS[scenario]
        if kind.metric == "promotes":
            continue
        for figure, unit in FIGURES[kind.metric].items():
            cells = [f"{kind.what} {figure}".strip(), unit]
            best = {family: results.best(scenario, family, figure) for family in families}
            cells += [figure_cell(results, scenario, best[family], figure) for family in families]
            if with_ours:
                cells += [ratio_cell(results, scenario, best[peer], peer, figure) for peer in peers]
            failed = sum(run["errors"] for runs in systems.values() for run in runs)
            lines.append("| " + " | ".join([*cells, str(failed)]) + " |")
    return "\n".join(lines)


def figure_cell(results, scenario, name, figure):
    if name is None:
        return "-"
    value = number(median(results.figures(scenario, name, figure)))
    return value if name == results.family[name] else f"{value} ({name})"


def ratio_cell(results, scenario, name, peer, figure):
    if name is None or "proxyd" not in results.runs[scenario]:
        return "-"
    key = f"{scenario} {figure}".strip()
    goal = results.goals.get(key, {}).get(peer)
    at_most = smaller_is_better(SCENARIOS[scenario].metric)
    return judged(results.ratio(scenario, name, figure), goal, at_most)


def judged(ratio, goal, at_most):
    """A ratio, what it should be, and whether it is."""
    if ratio is None:
        return "missing"
    if goal is None:
        return f"{ratio:.2f}"
    met = ratio <= goal if at_most else ratio >= goal
    return f"{ratio:.2f} ({'≤' if at_most else '≥'} {goal:g}: {'met' if met else 'missed'})"


def promotes(results):
    """The lines of the scenario that compares us with ourselves."""
    runs = results.runs.get("promotes", {}).get("proxyd", [])
    lines = [
        "| around a promote | steady, µs | around, µs | ratio (goal) | failed |",
        "|---|---|---|---|---|",
    ]
    for figure in FIGURES["promotes"] if runs else ():
        steady = median([run.get("steady", {}).get(figure) for run in runs])
        around = median([run["figures"][figure] for run in runs])
        ratio = around / steady if around and steady else None
        goal = results.goals.get(f"promotes {figure}", {}).get("steady")
        failed = sum(run["errors"] for run in runs)
        cells = [figure, number(steady), number(around), judged(ratio, goal, True), str(failed)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) if runs else ""


def details(results):
    """Where the time went, for each system."""
    lines = [
        "| scenario | system | figure | CPU µs a request | kernel % | core used % | others % |",
        "|---" * 7 + "|",
    ]
    for scenario, systems in results.runs.items():
        for name, runs in systems.items():
            if "micros" not in runs[0]:
                continue
            figures = [
                number(median(results.figures(scenario, name, figure)))
                for figure in runs[0]["figures"]
            ]
            cells = [
                scenario,
                name,
                " / ".join(figures),
                f"{median([run['micros'] for run in runs]):.1f}",
            ]
            cells += [
                f"{100 * median([run[key] for run in runs]):.0f}"
                for key in ("kernel", "used", "foreign")
            ]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)
