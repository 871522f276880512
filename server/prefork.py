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
from server._pool import BackOff, Lifeline, dismiss, ended, fork_worker
from server._stop import Stop

CAP = 16
"""``--max-connections`` of this model when none is given: here each one is a process from the start."""

WAITS = True
"""Waits for children by itself; for a model that does not, the kernel waits (``_serve.py``)."""

LOOK = 1.0
"""Seconds: how often the parent looks whether all are busy. Nobody wakes it for that: each client would pay for it."""


class Board:
    """Which workers are busy: a byte each, in memory that all of them share (mmap(2), MAP_SHARED).

    Each writes its own byte only, so no lock is needed.
    """

    def __init__(self, size: int) -> None:
        self._busy, self._size = mmap.mmap(-1, size), size

    def mark(self, slot: int, busy: bool) -> None:
        """Note that a worker has taken a client or is free."""
        self._busy[slot] = busy

    def full(self) -> bool:
        """Whether no worker is free."""
        return self._busy.find(b"\0", 0, self._size) < 0


def serve(listener: Listener, handle: Handle, stop: Stop) -> None:
    """Keep the pool complete until ``stop`` is asked for, then let the workers finish."""
    size = listener.cap
    board, lifeline, back_off = Board(size), Lifeline(), BackOff(listener)
    workers: dict[int, tuple[int, float]] = {}  # by PID: its slot on the board, and when it was forked
    free = list(range(size))
    told: int | None = None  # how many clients waited when it was last looked; None: a worker was free

    while not stop.asked:
        while free and listener.pause_left() <= 0:
            pid = fork_worker(listener, handle, stop, lifeline, partial(board.mark, free[-1]))
            if pid is None:
                break
            workers[pid] = free.pop(), time.monotonic()

        # With a place to fill, until the pause is over; it may have run out since the loop has seen it.
        stop.wait(max(listener.pause_left(), 0.0) if free else LOOK)
        gone = [workers.pop(pid) for pid in ended() if pid in workers]  # or it is an orphan, inherited as PID 1
        for slot, _ in gone:
            board.mark(slot, False)
            free.append(slot)
        back_off.bury([born for _, born in gone])

        waiting = listener.backlog() if board.full() else None
        if waiting not in (None, told):
            log(events.FULL, connections=size, waiting=waiting)
        told = waiting

    listener.close()
    dismiss(set(workers), stop)
