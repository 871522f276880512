"""A SIGCHLD handler waits for each child that ends, and no zombie stays.

Question: How does a SIGCHLD handler end zombies?

Theory: The kernel sends SIGCHLD to the parent when a child ends. The default is to do nothing, so the child stays a
zombie. A handler that calls waitpid takes the exit status out of it, and the zombie is gone, while the parent goes on
with its own work.

Source: wait(2), signal(7); TLPI 26.3; UNP 5.8 and 5.9

The mistaken and the right parent differ in one call of signal(). Ignoring SIGCHLD (SIG_IGN) would remove zombies too,
and throw the exit statuses away.
"""

import os
import signal

from demos._kernel import row, state, until
from demos._show import Show

CODES = [11, 12, 13]


def main(show: Show) -> str:
    """Let three children end without a handler, then three with one."""
    zombies = [child(code) for code in CODES]
    for pid in zombies:
        until(lambda: state(pid) == "Z", "without a handler a child that ended is a zombie")
        show(f"{row(pid)}, without a handler")
    for pid in zombies:
        os.waitpid(pid, 0)

    ended: dict[int, int] = {}

    def reap(*_: object) -> None:
        # Until nothing is left, for a pending signal is a flag and not a queue: one may stand for three (reap-burst).
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:  # ECHILD: no child is left
                return
            if pid == 0:  # none of them has ended
                return
            ended[pid] = os.waitstatus_to_exitcode(status)

    signal.signal(signal.SIGCHLD, reap)  # before the first fork, or an early end would be missed
    children = [child(code) for code in CODES]
    until(lambda: len(ended) == len(CODES), "the handler is told of each child")
    for pid in children:
        show(f"{row(pid)}; the handler got its exit code {ended[pid]}")
    left = [pid for pid in children if state(pid)]

    show.measure(zombies_without_handler=len(zombies), zombies_with_handler=len(left), exit_codes=list(ended.values()))
    show.expect([ended[pid] for pid in children] == CODES, "the handler gets each child's own exit code")
    show.expect(left == [], "no zombie is left")
    return f"{len(zombies)} zombies without a handler, none with it, and the exit codes are known"


def child(code: int) -> int:
    """Fork a child that ends at once with ``code``; its PID."""
    pid = os.fork()
    if pid == 0:
        os._exit(code)
    return pid
