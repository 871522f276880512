"""Leave the server room for a few more descriptors, or for none: accept(2), socket(2) and the like fail with EMFILE.

The soft limit RLIMIT_NOFILE of each process of the server is lowered so that it can open ``room`` more, and put back at
the end; for children that were forked meanwhile, which inherit it, too. Who puts it back is another process, so that
it is put back also when the holder is killed.

It runs as the server's user: for another one the kernel wants a right that the probe does not have (CAP_SYS_RESOURCE).

Sources: getrlimit(2), prlimit(2): the limit is one more than the highest number a new descriptor may get.
"""

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from probe.faults._effect import Effect, Refused
from probe.faults._who import chosen, names

PARAMETERS = {
    "room": {
        "unit": "count",
        "default": "0",
        "least": "0",
        "most": "1000",
        "help": "how many more descriptors each process of the server may open",
    }
}
TARGETS = ("server",)
USER = "target"


@contextmanager
def hold(room: int) -> Iterator[Effect]:
    """Leave ``room`` free descriptors in each process."""
    processes = chosen("all")
    before: dict[int, tuple[int, int]] = {}
    lowered: dict[int, int] = {}
    for one in processes:
        try:
            before[one.pid] = soft, _ = resource.prlimit(one.pid, resource.RLIMIT_NOFILE)
            lowered[one.pid] = min(soft, _limit(one.pid, room))
        except (ProcessLookupError, FileNotFoundError):
            continue
        except PermissionError:
            raise Refused(f"the limits of PID {one.pid} cannot be set by its own user") from None
    with _guard(before, lowered):
        for pid, limit in lowered.items():
            _set(pid, limit, before[pid][1])
        did = f"{room} more descriptors at most for {names(processes)}"
        yield Effect("prlimit", did, lambda: {"soft_limits": {str(pid): limit for pid, limit in lowered.items()}})


@contextmanager
def _guard(before: dict[int, tuple[int, int]], lowered: dict[int, int]) -> Iterator[None]:
    """Have the limits put back when the block ends, or we do: either closes the pipe that the guard reads from."""
    words = json.dumps([list(before.items()), list(lowered.values())])
    command = [sys.executable, "-m", "probe.faults.limit_fds", words]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True):
        yield  # leaving this closes the pipe and waits for the guard


def guard(words: str) -> None:
    """Wait for the end of standard input, then put back what ``words`` tell."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    before, lowered = json.loads(words)
    sys.stdin.read()
    _restore({pid: (soft, hard) for pid, (soft, hard) in before}, set(lowered))


def _set(pid: int, soft: int, hard: int) -> None:
    try:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
    except (ProcessLookupError, PermissionError):  # it has ended; its number is another user's by now
        pass


def _limit(pid: int, room: int) -> int:
    """The soft limit with which a process can open ``room`` more: a new descriptor gets the lowest free number."""
    taken = set(map(int, os.listdir(f"/proc/{pid}/fd")))
    number = 0
    while room or number in taken:
        room -= number not in taken
        number += 1
    return number


def _restore(before: dict[int, tuple[int, int]], ours: set[int]) -> None:
    """Put back what each had, and for children born meanwhile what their parents had."""
    if not before:
        return
    usual = max(before.values())
    try:
        now = {one.pid for one in chosen("all")}
    except Refused:  # the server has ended
        return
    for pid in now:
        try:
            soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        except (ProcessLookupError, PermissionError):
            continue
        if soft in ours:
            _set(pid, min(before.get(pid, usual)[0], hard), hard)


if __name__ == "__main__":
    guard(sys.argv[1])
