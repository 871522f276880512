"""Send a signal to a process of the target, or kill its container.

``who`` is ``child`` (the oldest that serves a client), ``parent``, ``recorder``, ``all``, a PID, or ``container``:
that is done by the engine (docker kill), because PID 1 of a container cannot be killed from within. A process that is
PID 1 gets from within only signals that it has a handler for (pid_namespaces(7)); SIGKILL is then refused here.

It is done at once, and nothing undoes it: ./lab up starts again what has ended.

Sources: kill(2), signal(7), pid_namespaces(7).
"""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

from probe.faults._effect import Effect, Refused
from probe.faults._who import chosen, names, number, send

PARAMETERS = {
    "who": {
        "unit": "process",
        "default": "child",
        "choices": ["child", "parent", "recorder", "all", "container"],
        "help": "which process",
    },
    "signal": {"unit": "signal", "default": "KILL", "help": "by which signal, such as TERM, HUP or 15"},
}
MOMENT = True
PATIENCE = 5.0


@contextmanager
def hold(who: str, signal: str) -> Iterator[Effect]:
    """Send ``signal`` to ``who``."""
    what = number(signal)
    processes = chosen(who)
    if what in UNHEARD and any(one.pid == 1 for one in processes):
        raise Refused("PID 1 cannot be killed or stopped from within its container; use --who container")
    reached: list[int] = []

    def deed() -> None:
        if len(processes) > 1 and what == KILL:
            # All at the same moment: a parent that lives on for a moment would see its children die, and react.
            for one in processes:
                send(one.pid, STOP)
        reached.extend(one.pid for one in processes if send(one.pid, what))
        if what == KILL:
            _await_end(reached)

    did = f"{NAMES[what]} is sent to {names(processes)}"
    # Later, when it is told: with its main process the container ends, and we with it.
    yield Effect("kill", did, lambda: {"reached": reached}, work=deed)


def _await_end(pids: list[int]) -> None:
    """A signal is sent before it is carried out: wait until each is a zombie or gone."""
    deadline = time.monotonic() + PATIENCE
    while any(map(_lives, pids)) and time.monotonic() < deadline:
        time.sleep(0.001)


def _lives(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


NAMES = {int(one): one.name for one in signal.Signals}
KILL, STOP = int(signal.SIGKILL), int(signal.SIGSTOP)
UNHEARD = (KILL, STOP)
