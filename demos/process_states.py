"""A process runs, sleeps, is stopped, or is a zombie; /proc says which, and who its parent is.

Question: What does ps say of a process that runs, sleeps, is stopped, or has ended?

Theory: R is running, or ready and waiting for a processor; S sleeps until an event or a signal comes; T was stopped by
a signal and goes on with SIGCONT; Z has ended, and its parent has not waited for it yet.

Source: ps(1) PROCESS STATE CODES, proc_pid_status(5), signal(7); TLPI 26.2
"""

import os
import signal
from collections.abc import Callable

from demos._kernel import row, state, until
from demos._show import Show


def main(show: Show) -> str:
    """Bring one child into each state, look at all of them, and clean up."""
    children = one_of_each()
    try:
        for expected, pid in children.items():
            until(lambda: state(pid) == expected, f"PID {pid} comes into the state {expected}")
            show(row(pid))
            show.expect(f"PPid: {os.getpid()} " in row(pid), "the parent is the process that forked it")

        os.kill(children["T"], signal.SIGCONT)
        until(lambda: state(children["T"]) == "R", "SIGCONT lets the stopped one run on")
        show(f"{row(children['T'])}, after SIGCONT")
    finally:
        for pid in children.values():
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    left = [pid for pid in children.values() if state(pid)]
    show.measure(pids=children, left=left)
    show.expect(left == [], "once waited for, all four are gone")
    return "each of the four is in the state that was provoked"


def one_of_each() -> dict[str, int]:
    """Fork a child for each state; their PIDs."""
    never, _held_open = os.pipe()
    children = {
        "R": start(spin),
        "S": start(lambda: os.read(never, 1)),  # nobody writes, and we hold the other end: it sleeps in read(2)
        "T": start(spin),
        "Z": start(lambda: None),
    }
    os.kill(children["T"], signal.SIGSTOP)
    return children


def start(task: Callable[[], object]) -> int:
    """Fork a child that does ``task`` and ends; its PID."""
    pid = os.fork()
    if pid == 0:
        task()
        os._exit(0)
    return pid


def spin() -> None:
    """Compute for ever."""
    while True:
        pass
