"""What proxyd says about itself, and what Linux says about it."""

import collections
import os
import re
import statistics
import time
import urllib.request

SERIES = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$")
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')

Sample = collections.namedtuple("Sample", "at rss_kb files threads")


class Page:
    """A page of metrics."""

    def __init__(self, port):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as page:
            lines = page.read().decode().splitlines()
        found = filter(None, map(SERIES.match, lines))
        self.series = [(m[1], dict(LABEL.findall(m[2] or "")), float(m[3])) for m in found]

    def sum(self, name, **labels):
        """The sum of all series of that name that have these labels."""
        wanted = labels.items()
        return sum(value for series, has, value in self.series if series == name and wanted <= has.items())

    def by(self, name, label):
        """The sums by one label."""
        sums = collections.Counter()
        for series, has, value in self.series:
            if series == name:
                sums[has.get(label)] += int(value)
        return sums

    def has(self, name):
        return any(series == name for series, _, _ in self.series)


def sample(pid, began):
    """Memory, open files and threads of a process at this moment."""
    with open(f"/proc/{pid}/status") as status:
        text = status.read()
    return Sample(
        time.monotonic() - began,
        int(re.search(r"VmRSS:\s+(\d+)", text)[1]),
        len(os.listdir(f"/proc/{pid}/fd")),
        int(re.search(r"Threads:\s+(\d+)", text)[1]),
    )


def middle(samples, start, end):
    """The medians of what was sampled in a stretch of the run."""
    of = [one for one in samples if start <= one.at <= end] or samples[-1:]
    return Sample(end, *(round(statistics.median(column)) for column in list(zip(*of))[1:]))
