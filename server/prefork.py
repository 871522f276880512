"""A pool of processes forked ahead: each serves one client after the other, so no client waits for a fork.

What it does: the parent forks ``--max-connections`` workers and then only watches over them. All wait on one listener,
and the kernel gives each client to one of them. A worker that dies is replaced.

What it costs: the memory of all workers, also when nobody is there. What is saved is a fork, an exit and a wait for
each client: on most machines several times as many connections a second as ``fork``.

Where it breaks: at its size. With every worker busy the next client waits in the backlog, though the machine be idle.
And a worker lives long: what one client's conversation leaks or leaves behind, the next one finds.

Sources: UNP vol. 1, 30.6 and 30.7; listen(2); mmap(2).
"""

import mmap
import time
from functools import partial

from protocol import events
from server._conversation import Handle
from server._listener import Listener
from server._log import log
from server._pool import Lifeline, dismiss, ended, fork_worker
from server._stop import Stop

CAP = 16
"""``--max-connections`` of this model when none is given: here each one is a process from the start."""

YOUNG = 1.0
"""A worker that dies within so many seconds did not die of old age: its successor is forked after a growing delay."""
DELAYS = 0.1, 5.0
"""The first and the longest, in seconds."""

SILENCE = 1.0
"""Seconds: how often, at most, it is said that all are busy and how many wait."""


class Board:
    """Which workers are busy: a byte each, in memory that all of them share (mmap(2), MAP_SHARED).

    Each writes its own byte only, so no lock is needed. What follows them is when it was last said that none is free;
    should two say it at once, no harm is done.
    """

    def __init__(self, size: int, listener: Listener) -> None:
        self._busy, self._size, self._listener = mmap.mmap(-1, size + 8), size, listener

    def mark(self, slot: int, busy: bool) -> None:
        """Note that a worker has taken a client or is free; the last one to be taken says who else waits."""
        self._busy[slot] = busy
        if busy and self._busy.find(b"\0", 0, self._size) < 0:
            now = int(time.monotonic() / SILENCE).to_bytes(8, "big")
            if self._busy[self._size :] != now:
                self._busy[self._size :] = now
                log(events.FULL, connections=self._size, waiting=self._listener.backlog())


def serve(listener: Listener, handle: Handle, stop: Stop) -> None:
    """Keep the pool complete until ``stop`` is asked for, then let the workers finish."""
    size = listener.cap
    board, lifeline = Board(size, listener), Lifeline()
    workers: dict[int, tuple[int, float]] = {}  # by PID: its slot on the board, and when it was forked
    free = list(range(size))
    delay = 0.0

    while not stop.asked:
        while free and listener.pause_left() <= 0:
            pid = fork_worker(listener, handle, stop, lifeline, partial(board.mark, free[-1]))
            if pid is None:
                break
            workers[pid] = free.pop(), time.monotonic()

        # With a place to fill it never sleeps for ever: the pause may have run out since the loop has seen it.
        stop.wait(max(listener.pause_left(), 0.0) if free else None)
        for pid in ended():
            if pid not in workers:
                continue  # an orphan that we have inherited as PID 1
            slot, born = workers.pop(pid)
            board.mark(slot, False)
            free.append(slot)
            young = time.monotonic() - born < YOUNG
            delay = min(max(2 * delay, DELAYS[0]), DELAYS[1]) if young else 0.0
            listener.rest(delay)

    listener.close()
    dismiss(set(workers), stop)
