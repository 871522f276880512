"""Runs in the server's container, sent there as text: takes all places for processes but some.

The engine has given the container a limit (pids_limit: the pids controller, cgroups(7)), and nobody within may change
it. So this takes up places, by threads that sleep: a thread counts as a process there. They end with this process: at
its deadline, or when it is told to end, which is the rule.

Arguments: how many places to leave, for how many seconds. Prints one JSON line.
"""

import json
import os
import signal
import sys
import threading
import time

FOLDERS = ("/sys/fs/cgroup", "/sys/fs/cgroup/pids")
"""Of cgroup v2 and v1, as a container sees its own."""

PATIENCE = 20.0
"""Seconds that taking the places may last, and that the one who holds the fault may be late."""


def read(name: str) -> int | None:
    """A number of the pids controller; None for no limit, or no controller."""
    for folder in FOLDERS:
        try:
            with open(f"{folder}/{name}") as file:
                text = file.read().strip()
                return None if text == "max" else int(text)
        except FileNotFoundError:
            continue
    return None


def own() -> int:
    """How many tasks the container itself has: PID 1 and what descends from it, each thread counted.

    Not pids.current: that has visitors, too, such as the health check, whose places would be free again in a moment.
    """
    tasks: dict[int, int] = {}
    children: dict[int, list[int]] = {}
    for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
        try:
            with open(f"/proc/{pid}/stat") as file:
                fields = file.read().rpartition(")")[2].split()
        except OSError:  # it has gone
            continue
        tasks[pid] = int(fields[17])
        children.setdefault(int(fields[1]), []).append(pid)
    mine = [1]
    for pid in mine:
        mine += children.get(pid, [])
    return sum(tasks.get(pid, 0) for pid in mine)


def main() -> None:
    """Take places until ``room`` are left, say so, and sleep."""
    room, seconds = int(sys.argv[1]), float(sys.argv[2])
    limit = read("pids.max")
    if limit is None:
        print(json.dumps({"refused": "the server's container has no limit on processes; ./lab up gives it one"}))
        return
    threading.stack_size(64 << 10)
    for number in (signal.SIGTERM, signal.SIGALRM):
        signal.signal(number, lambda *_: os._exit(0))
    signal.setitimer(signal.ITIMER_REAL, seconds + PATIENCE)
    before, deadline = own(), time.monotonic() + PATIENCE
    taken, wanted = 0, limit - room - before - 1  # this process has a place itself
    while taken < wanted and time.monotonic() < deadline:
        try:
            threading.Thread(target=threading.Event().wait, daemon=True).start()
            taken += 1
        except RuntimeError:  # a visitor has the place, until it leaves; or the server has more processes now
            time.sleep(0.01)
            wanted = limit - room - own() - 1
    if taken < wanted:
        words = f"only {taken} of {wanted} places could be taken in {PATIENCE:g} s; try again"
        print(json.dumps({"refused": words}), flush=True)
        os._exit(0)
    print(json.dumps({"pid": os.getpid(), "limit": limit, "before": before, "taken": taken}), flush=True)
    while True:
        signal.pause()


main()
