"""What Linux tells about processes and cores, and what they are allowed."""

import json
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys

TICK = os.sysconf("SC_CLK_TCK")


def built(target, *words):
    """Has cargo build a target of this repository and run nothing, as `cargo WORDS` would; returns the
    path of its binary."""
    words = ["cargo", *words, "--locked", "--no-run", "--message-format=json"]
    folder = os.path.dirname(os.path.abspath(__file__))
    said = subprocess.run(words, cwd=folder, stdout=subprocess.PIPE, text=True, check=True).stdout
    for line in said.splitlines():
        message = json.loads(line)
        if message.get("executable") and message["target"]["name"] == target:
            return message["executable"]
    sys.exit(f"cargo built no {target}")


def find(program):
    """The path of a program, or None; Debian keeps nginx and haproxy where only root looks."""
    return shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")


def fields(pid):
    """What stands behind the name in /proc/PID/stat; None for a process that is gone."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            text = stat.read()
    except OSError:
        return None
    return text[text.rindex(")") + 2 :].split()


def tree(root):
    """A process and everything below it."""
    children = {}
    for entry in filter(str.isdigit, os.listdir("/proc")):
        stat = fields(entry)
        if stat:
            children.setdefault(int(stat[1]), []).append(int(entry))
    found, todo = [], [root]
    while todo:
        found.append(todo.pop())
        todo += children.get(found[-1], [])
    return found


def cpu_seconds(root):
    """(user, system) time that a process tree has used, threads that have ended included."""
    user = system = 0
    for stat in filter(None, map(fields, tree(root))):
        user += int(stat[11])
        system += int(stat[12])
    return user / TICK, system / TICK


def busy_seconds(cores):
    """How long these cores have worked, for whomever; nice, idle and waiting do not count."""
    total = 0
    with open("/proc/stat") as stat:
        for line in stat:
            words = line.split()
            if re.fullmatch(r"cpu\d+", words[0]) and int(words[0][3:]) in cores:
                ticks = [int(word) for word in words[1:9]]
                total += sum(ticks) - ticks[1] - ticks[3] - ticks[4]
    return total / TICK


def memory_kb(root):
    """The proportional set size of a process tree: what it shares with others counts in part."""
    total = 0
    for pid in tree(root):
        try:
            with open(f"/proc/{pid}/smaps_rollup") as rollup:
                total += int(re.search(r"^Pss:\s+(\d+)", rollup.read(), re.M).group(1))
        except (OSError, AttributeError):
            pass
    return total


def pinned(cores, nice=0):
    """What a child does before it becomes the program: its cores, and all the open files allowed."""

    def prepare():
        os.sched_setaffinity(0, set(cores))
        os.nice(nice)
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

    return prepare


def free_ports(count):
    """Distinct ports that were free a moment ago."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports


def stop(process, patience=8):
    """Ends a process that we started, and if it does not listen, everything below it."""
    if process.poll() is not None:
        return
    below = tree(process.pid)
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(patience)
    except subprocess.TimeoutExpired:
        for pid in below:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        process.wait()


def into_namespace(control):
    """Starts this script anew in a network namespace with that TCP congestion control."""
    if os.environ.get("COMPARE_NAMESPACE"):
        return
    os.environ["COMPARE_NAMESPACE"] = control
    script = (
        'ip link set lo up && echo "$0" > /proc/sys/net/ipv4/tcp_congestion_control && exec "$@"'
    )
    words = ["unshare", "-n", "sh", "-c", script, control, sys.executable]
    sys.stdout.flush()
    os.execvp(words[0], words + [os.path.abspath(sys.argv[0])] + sys.argv[1:])


def describe():
    """The machine in one line."""
    with open("/proc/cpuinfo") as info:
        text = info.read()
    model = re.search(r"model name\s*:\s*(.*)", text)
    with open("/proc/sys/net/ipv4/tcp_congestion_control") as control:
        return (
            f"{model.group(1) if model else os.uname().machine}, {os.cpu_count()} cores,"
            f" Linux {os.uname().release}, TCP {control.read().strip()}"
        )
