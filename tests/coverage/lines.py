#!/usr/bin/env python3
"""Which lines of a folder no unit test runs: prints them, and fails if there is one.

    tests/coverage/lines.py                  src/http1, by its own unit tests
    tests/coverage/lines.py src/model model  another folder, and whose tests to run

The tests run under callgrind, which counts instructions by line; the lines that have instructions at
all are those of the binary's own line table. So it needs valgrind and readelf (binutils), and no
compiler's instrumentation. Modules for tests and derived code do not count. Properties are tried with
few cases: a line must not depend on luck.
"""

import collections
import os
import re
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

sys.path.insert(0, os.path.join(ROOT, "benches/compare"))

import machine  # noqa: E402

# Cases of each property.
CASES = "8"


def lines_with_code(binary, folder):
    """{file: lines} that have instructions, by the line table of the binary."""
    words = ["readelf", "--wide", "--debug-dump=decodedline", binary]
    table = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    found, unit, file = collections.defaultdict(set), "", ""
    for line in table.splitlines():
        if heading := re.match(r"(CU: )?(\S+):(\[\+\+\])?$", line):
            file = heading.group(2)
            unit = file if heading.group(1) else unit
        elif row := re.match(r"\S+\s+(\d+|-)\s+0x", line):
            if row.group(1) == "-":
                # The end of a sequence: the next one begins in the file of its unit.
                file = unit
            elif (at := f"/{file}".find(f"/{folder}/")) >= 0:
                found[file[at:]].add(int(row.group(1)))
    return {file: lines - {0} for file, lines in found.items()}


def lines_that_ran(binary, folder, tests):
    """{file: lines} of which an instruction ran."""
    with tempfile.TemporaryDirectory() as place:
        out = os.path.join(place, "counts")
        words = ["valgrind", "-q", "--tool=callgrind", f"--callgrind-out-file={out}"]
        words += ["--compress-strings=no", "--compress-pos=no", binary, "--test-threads=1", tests]
        ran = subprocess.run(
            words,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=600,
            env=os.environ | {"PROPTEST_CASES": CASES},
        )
        if ran.returncode != 0 or " 0 passed" in ran.stdout:
            sys.exit(f"lines: the tests of {tests} failed:\n{ran.stdout}{ran.stderr}")
        with open(out) as source:
            counts = source.read()
    found, file = collections.defaultdict(set), None
    for line in counts.splitlines():
        if line.startswith(("fl=", "fi=", "fe=")):
            at = line.find("/" + folder + "/")
            file = line[at + 1 :] if at >= 0 else None
        elif file and (row := re.match(r"(\d+) \d+$", line)):
            found[file].add(int(row.group(1)))
    return found


def written_lines(source):
    """The numbers of the lines that people wrote and users run: neither the tests of a file nor the
    types for which the compiler derives code."""
    written, derived = set(), False
    for number, (line, after) in enumerate(zip(source, [*source[1:], ""]), start=1):
        if line == "#[cfg(test)]" and re.match(r"mod \w+ \{", after):
            break
        derived = derived or line.startswith("#[derive(")
        # A line that only closes something has but the way out of a panic.
        if not derived and line.strip(" })];,"):
            written.add(number)
        ends = line == "}" or line.endswith(";") and not line.startswith((" ", "#"))
        derived = derived and not ends
    return written


def test_files(folder):
    """The files of modules that are for tests only."""
    found = set()
    for place, _, names in os.walk(os.path.join(ROOT, folder)):
        for name in names:
            path = os.path.join(place, name)
            with open(path) as source:
                modules = re.findall(r"#\[cfg\(test\)\]\nmod (\w+);", source.read())
            here = place if name == "mod.rs" else path.removesuffix(".rs")
            found |= {os.path.relpath(os.path.join(here, module), ROOT) for module in modules}
    return tuple(found)


def main():
    folder = (sys.argv[1:] or ["src/http1"])[0].rstrip("/")
    tests = (sys.argv[2:] or [folder.removeprefix("src/").replace("/", "::") + "::"])[0]
    binary = machine.built("proxyd", "test", "--lib")
    code, ran = lines_with_code(binary, folder), lines_that_ran(binary, folder, tests)
    tested = test_files(folder)
    all_lines, missing = 0, 0
    for file in sorted(code):
        if file.startswith(tuple(f"{module}{end}" for module in tested for end in (".rs", "/"))):
            continue
        with open(os.path.join(ROOT, file)) as source:
            source = source.read().splitlines()
        lines = code[file] & written_lines(source)
        all_lines += len(lines)
        for line in sorted(lines - ran[file]):
            missing += 1
            print(f"{file}:{line}: {source[line - 1].strip()}")
    if not all_lines:
        sys.exit(f"lines: there is no code in {folder}")
    print(f"{folder}: {all_lines - missing} of {all_lines} lines are run by the tests of {tests}")
    sys.exit(1 if missing else 0)


if __name__ == "__main__":
    main()
