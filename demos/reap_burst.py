"""Five children end at once and the kernel says it once: a handler that waits once leaves four zombies.

Question: What if five children end at once: does a handler that waits once do, or must it loop?

Theory: A pending signal is a flag, not a queue. When the parent is stopped while all N children end, exactly one
SIGCHLD is waiting for it: waiting once leaves N-1 zombies, waiting in a loop leaves none. When children simply end
together, how many are left depends on how often the handler gets to run in between: a different number each time.

Source: signal(7), wait(2); UNP 5.10; TLPI 26.3.1
"""

import os
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from demos._kernel import has_signal, row, state, until
from demos._show import Show

CHILDREN, RUNS = 5, 6


def wait_once(*_: object) -> None:
    """The mistaken handler: one wait for one SIGCHLD."""
    os.waitpid(-1, 0)


def wait_in_a_loop(*_: object) -> None:
    """The right handler: wait until nothing is left. WNOHANG, or it would block while other children live."""
    try:
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass
    except ChildProcessError:  # ECHILD: that was the last one
        pass


def main(show: Show) -> str:
    """Count the zombies that each handler leaves, with the parent stopped meanwhile, and without."""
    counts = {}
    for handler in (wait_once, wait_in_a_loop):
        stopped = zombies(handler, stop=True, show=show)
        spread = dict(sorted(Counter(zombies(handler, stop=False) for _ in range(RUNS)).items()))
        show(f"{handler.__name__}, parent stopped meanwhile: {stopped} zombies of {CHILDREN} children")
        times = ", ".join(f"{left} left: {runs} times" for left, runs in spread.items())
        show(f"{handler.__name__}, parent running, {RUNS} runs: {times}")
        counts[handler.__name__] = (stopped, spread)
    show.measure(children=CHILDREN, **{name: {"stopped": n, "running": s} for name, (n, s) in counts.items()})
    show.expect(counts["wait_once"][0] == CHILDREN - 1, f"waiting once leaves exactly {CHILDREN - 1} zombies")
    show.expect(counts["wait_in_a_loop"] == (0, {0: RUNS}), "waiting in a loop leaves none, stopped or not")
    return f"one SIGCHLD stood for {CHILDREN} children: {CHILDREN - 1} zombies with one wait, none with the loop"


def zombies(handler: Callable[..., None], *, stop: bool, show: Show | None = None) -> int:
    """Start a family whose parent has ``handler``, let all its children end together, count what is left."""
    family = Family(handler)
    try:
        if stop:
            os.kill(family.parent, signal.SIGSTOP)
            os.waitpid(family.parent, os.WUNTRACED)  # returns when it is stopped
        family.end_children()
        if stop and show:
            show(f"{row(family.parent)}, SIGCHLD pending: {has_signal(family.parent, 'ShdPnd', signal.SIGCHLD)}")
            os.kill(family.parent, signal.SIGCONT)
        family.ask()
        return sum(state(pid) == "Z" for pid in family.children)
    finally:
        os.kill(family.parent, signal.SIGKILL)
        os.waitpid(family.parent, 0)


class Family:
    """A parent that has ``handler``, and its children, who live until they are ended."""

    def __init__(self, handler: Callable[..., None], count: int = CHILDREN) -> None:
        self._answered, answer = os.pipe()
        asked, self._ask = os.pipe()
        go_on, self._gate = os.pipe()  # all children read it; only we can end it
        self.parent = os.fork()
        if self.parent == 0:
            os.close(self._gate)
            Path("/proc/self/comm").write_text(handler.__name__)  # ps then tells who is who
            signal.signal(signal.SIGCHLD, handler)
            os.write(answer, " ".join(str(child(go_on)) for _ in range(count)).encode())
            while True:
                os.read(asked, 1)  # it sleeps here; when it wakes, Python runs the handler before the next line
                os.write(answer, b"!")
        self.children = [int(word) for word in os.read(self._answered, 8 * count).split()]
        for end in (answer, asked, go_on):
            os.close(end)

    def end_children(self) -> None:
        """Return when all have ended, and the parent was sent a signal for each."""
        os.close(self._gate)
        until(lambda: all(state(pid) in ("Z", "") for pid in self.children), "all children have ended")
        # The kernel makes a child Z and signals its parent under one lock, which waitpid takes too: now all have.
        os.waitpid(self.parent, os.WNOHANG)

    def ask(self) -> None:
        """Return when the parent has handled what it was sent. (State S would not tell: it shows in waitpid, too.)"""
        os.write(self._ask, b"?")
        os.read(self._answered, 1)


def child(go_on: int) -> int:
    """Fork a child that ends when ``go_on`` does; its PID."""
    if (pid := os.fork()) == 0:
        os.read(go_on, 1)
        os._exit(0)
    return pid
