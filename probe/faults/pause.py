"""Stop processes of the target for a while; they notice nothing but the time that has passed.

By SIGSTOP, and SIGCONT at the end, for those alone that were not stopped before. A parent is told that its child was
stopped (SIGCHLD, unless it has set SA_NOCLDSTOP). While a process is stopped the kernel goes on for it: it completes
handshakes, acknowledges what arrives until the buffers are full, and keeps signals pending.

A process that is PID 1 ignores SIGSTOP from within its container (pid_namespaces(7)). It is held by ptrace instead,
which the kernel ends by itself should our process die; it cannot be while something else traces it.

Sources: signal(7), ptrace(2), pid_namespaces(7).
"""

import ctypes
import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from probe.faults._effect import Effect, Refused
from probe.faults._who import Who, chosen, names, send
from probe.processes import look

PARAMETERS = {
    "who": {
        "unit": "process",
        "default": "all",
        "choices": ["all", "parent", "child", "recorder"],
        "help": "which process",
    }
}
INIT = 1
STOPPED = "Tt"
"""States of a stopped process; the second is its own while something traces it, as strace does in a traced lab."""
PATIENCE = 5.0
PTRACE_SEIZE, PTRACE_INTERRUPT, PTRACE_DETACH = 0x4206, 0x4207, 17
WALL = 0x40000000
"""__WALL of waitpid(2): also for a thread that is not the first of its process."""


@contextmanager
def hold(who: str) -> Iterator[Effect]:
    """Stop ``who``."""
    running = [one for one in chosen(who) if one.state != "T"]
    if not running:
        raise Refused(f'all processes that "{who}" means are stopped already')
    way = "ptrace and SIGSTOP" if any(one.pid == INIT for one in running) else "SIGSTOP"
    with ExitStack() as stack:
        for one in running:
            stack.enter_context(_traced(one.pid) if one.pid == INIT else _stopped(one))
        started = {str(one.pid): one.start for one in running}
        yield Effect(way, f"stopped: {names(running)}", lambda: {"pid_started": started})


def mend(evidence: dict[str, Any]) -> None:
    """Let those go on that a holder has stopped who was killed."""
    for pid, start in evidence["pid_started"].items():
        _go_on(Who(int(pid), "", "T", start))


@contextmanager
def _stopped(one: Who) -> Iterator[None]:
    if send(one.pid, signal.SIGSTOP):
        deadline = time.monotonic() + PATIENCE
        while _is(one, "RSD") and time.monotonic() < deadline:
            time.sleep(0.001)
    try:
        yield
    finally:
        _go_on(one)


def _go_on(one: Who) -> None:
    if _is(one, STOPPED):
        send(one.pid, signal.SIGCONT)


def _is(one: Who, states: str) -> bool:
    """Whether it is still the same process, in one of these states of proc_pid_stat(5)."""
    found = look(one.pid, frozenset())
    return found is not None and found.process["start"] == one.start and found.process["state"] in states


@contextmanager
def _traced(pid: int) -> Iterator[None]:
    """Hold all threads of a process by ptrace, without a signal."""
    libc = ctypes.CDLL(None, use_errno=True)
    threads = [int(name) for name in os.listdir(f"/proc/{pid}/task")]
    seized = []
    try:
        for thread in threads:
            if libc.ptrace(PTRACE_SEIZE, thread, None, None) != 0:
                raise Refused(f"PID {pid} cannot be held by ptrace: {os.strerror(ctypes.get_errno())}")
            seized.append(thread)
            libc.ptrace(PTRACE_INTERRUPT, thread, None, None)
            os.waitpid(thread, WALL)
        yield
    finally:
        for thread in seized:
            libc.ptrace(PTRACE_DETACH, thread, None, None)
