"""Two threads add 1 to the same variable, and one of the two is lost, unless a lock holds them apart.

Question: What goes wrong without a lock?

Theory: Adding is three steps: read, add, write. When both threads read before either writes, both write the same value,
and one addition is lost. A lock makes the three steps one: the second thread sleeps until the first one has written.

Source: pthread_mutex_lock(3), futex(2); UNP 26.7; TLPI 30.1; Python's threading.Lock

As a rule this happens once in a million times, which is why tests do not find it. Here both threads meet between read
and write, so it happens each time. Python's own global lock is no help: it changes hands between any two steps.

The variable is a number in memory that has a name (memfd_create(2)): reading and writing it are calls, which strace
shows.
"""

import contextlib
import os
import threading

from demos._show import Inconclusive, Show

ROUNDS = 20
DIGITS = 6


class Counter:
    """What both threads count in."""

    def __init__(self, name: str, *, patience: float) -> None:
        self._memory = os.memfd_create(name)
        self.total = 0
        self.met = 0
        self._lock = threading.Lock()
        self._patience = patience

    @property
    def total(self) -> int:
        """The sum so far."""
        return int(os.pread(self._memory, DIGITS, 0))

    @total.setter
    def total(self, value: int) -> None:
        os.pwrite(self._memory, b"%0*d" % (DIGITS, value), 0)

    def add_without_lock(self, meeting: threading.Barrier) -> None:
        """The mistake: between reading and writing the other thread can do the same."""
        value = self.total
        self._meet(meeting)
        self.total = value + 1

    def add_with_lock(self, meeting: threading.Barrier) -> None:
        """The right way: whoever comes second waits at the lock, before it reads."""
        with self._lock:
            value = self.total
            self._meet(meeting)
            self.total = value + 1

    def _meet(self, meeting: threading.Barrier) -> None:
        """Wait for the other thread to have read as well, but no longer than the patience: it may not be able to."""
        with contextlib.suppress(threading.BrokenBarrierError):
            meeting.wait(self._patience)
            self.met += 1


def main(show: Show) -> str:
    """Add twice a round, by two threads, without and with a lock."""
    tasks = len(os.listdir("/proc/self/task"))
    without, most = count("add_without_lock", patience=2.0)
    show(f"PID {os.getpid()}: {tasks} thread at first, {most} in /proc/self/task while they count")
    show(f"without a lock: {2 * ROUNDS} additions, the sum is {without.total}: {2 * ROUNDS - without.total} are lost")
    locked, _ = count("add_with_lock", patience=0.01)
    show(f"with a lock: {2 * ROUNDS} additions, the sum is {locked.total}: {2 * ROUNDS - locked.total} are lost")

    show.measure(additions=2 * ROUNDS, sum_without_lock=without.total, sum_with_lock=locked.total, threads=most)
    if without.met < 2 * ROUNDS:
        raise Inconclusive("the two threads did not meet between read and write")
    show.expect(without.total == ROUNDS, "without a lock each round loses one of its two additions")
    show.expect(locked.total == 2 * ROUNDS, "with a lock no addition is lost")
    return f"{ROUNDS} of {2 * ROUNDS} additions lost without a lock, none with it"


def count(how: str, *, patience: float) -> tuple[Counter, int]:
    """Let two threads add once each, ROUNDS times; the counter, and how many threads the kernel saw."""
    counter, most = Counter(how, patience=patience), 0
    for _ in range(ROUNDS):
        meeting = threading.Barrier(2)
        threads = [threading.Thread(target=getattr(counter, how), args=(meeting,), daemon=True) for _ in range(2)]
        threads[0].start()
        most = max(most, len(os.listdir("/proc/self/task")))
        threads[1].start()
        for thread in threads:
            thread.join()
    return counter, most
