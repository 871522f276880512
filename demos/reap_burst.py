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
        name = handler.__name__
        stopped = zombies(handler, stop=True, show=show)
        spread = Counter(zombies(handler, stop=False) for _ in range(RUNS))
        show(f"{name}, parent stopped meanwhile: {stopped} zombies of {CHILDREN} children")
        times = ", ".join(f"{left} left: {runs} times" for left, runs in sorted(spread.items()))
        show(f"{name}, parent running, {RUNS} runs: {times}")
        counts[name] = (stopped, dict(sorted(spread.items())))

    show.measure(children=CHILDREN, **{name: {"stopped": n, "running": s} for name, (n, s) in counts.items()})
    show.expect(counts["wait_once"][0] == CHILDREN - 1, f"waiting once leaves exactly {CHILDREN - 1} zombies")
    show.expect(counts["wait_in_a_loop"] == (0, {0: RUNS}), "waiting in a loop leaves none, stopped or not")
    return f"one SIGCHLD stood for {CHILDREN} children: {CHILDREN - 1} zombies with one wait, none with the loop"


def zombies(handler: Callable[..., None], *, stop: bool, show: Show | None = None) -> int:
    """Start a parent with ``handler`` and its children, let all of them end together, count what is left."""
    parent, children, gate = start(handler)
    try:
        if stop:
            os.kill(parent, signal.SIGSTOP)
            os.waitpid(parent, os.WUNTRACED)  # returns when it is stopped
        os.close(gate)
        until(lambda: all(state(pid) in ("Z", "") for pid in children), "all children have ended")
        # The kernel makes a child Z and signals its parent under one lock, which waitpid takes too: now all have.
        os.waitpid(parent, os.WNOHANG)
        if stop and show:
            show(f"{row(parent)}, SIGCHLD pending: {has_signal(parent, 'ShdPnd', signal.SIGCHLD)}")
            os.kill(parent, signal.SIGCONT)
        # Sleeping, and no SIGCHLD pending: its handler has run as often as it ever will.
        until(lambda: state(parent) == "S" and not has_signal(parent, "ShdPnd", signal.SIGCHLD), "it sleeps again")
        return sum(state(pid) == "Z" for pid in children)
    finally:
        os.kill(parent, signal.SIGKILL)
        os.waitpid(parent, 0)


def start(handler: Callable[..., None], count: int = CHILDREN) -> tuple[int, list[int], int]:
    """Fork a parent with ``handler`` that forks ``count`` children; its PID, theirs, and what to close to end them."""
    told, tell = os.pipe()
    go_on, gate = os.pipe()  # all children read it; only we can end it
    if (parent := os.fork()) == 0:
        os.close(gate)
        Path("/proc/self/comm").write_text(handler.__name__)  # ps then tells who is who
        signal.signal(signal.SIGCHLD, handler)
        os.write(tell, " ".join(str(child(go_on)) for _ in range(count)).encode())
        sleep_and_handle()
    children = [int(word) for word in os.read(told, 8 * count).split()]
    for end in (told, tell, go_on):
        os.close(end)
    return parent, children, gate


def sleep_and_handle() -> None:
    """Sleep, and run the handler at each signal, for ever."""
    # Python runs a handler between two of its own steps. A signal after the last step and before read(2) begins would
    # wait as long as the read does, so the wake-up descriptor writes a byte at each signal, which ends it.
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    while True:
        os.read(woken, 100)


def child(go_on: int) -> int:
    """Fork a child that ends when ``go_on`` does; its PID."""
    if (pid := os.fork()) == 0:
        os.read(go_on, 1)
        os._exit(0)
    return pid
