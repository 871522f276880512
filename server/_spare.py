"""``fork --spare N``: still one process for each connection, but forked before its client comes.

The parent keeps N children waiting for clients. Each takes exactly one, says so with a few bytes in a pipe, serves it
and ends; the parent reads that and forks the next. The fork has not gone away, it has gone off the path: a client waits
for one only when N others have come at the same moment.
"""

import os
import select
import struct
import time

from server._conversation import Handle
from server._listener import Listener
from server._pool import BackOff, Lifeline, dismiss, ended, fork_worker
from server._stop import Stop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

TAKEN = struct.Struct("=i")
"""What a child writes when it has taken a client: its PID. Writes of up to PIPE_BUF bytes never mix (pipe(7))."""

QUIET = 0.01
"""Seconds without a client after which the parent forks as many as are missing."""


def serve_ahead(listener: Listener, handle: Handle, stop: Stop) -> None:
    """Keep ``listener.spare`` children waiting until ``stop`` is asked for, then let those that serve finish."""
    lifeline, back_off = Lifeline(), BackOff(listener)
    taken, tell = os.pipe()
    os.set_blocking(taken, False)
    poll = select.poll()
    poll.register(stop, select.POLLIN)
    poll.register(taken, select.POLLIN)
    waiting: dict[int, float] = {}  # by PID: when it was forked
    serving: set[int] = set()

    def occupied(_: bool) -> None:
        os.write(tell, TAKEN.pack(os.getpid()))

    quiet = True
    while not stop.asked:
        pause = listener.pause_left()  # before room is looked at: one that runs out after that would not be noticed
        room = listener.has_room(len(serving))
        wanted = min(listener.spare, listener.cap - len(serving)) if room else 0
        # Not one for one: who has just taken a client would share the processor with our fork. Half of them may go
        # first, or a moment pass in which nobody comes.
        if quiet or len(waiting) <= wanted // 2:
            while len(waiting) < wanted:
                pid = fork_worker(listener, handle, stop, lifeline, occupied, once=True)
                if pid is None:
                    break
                waiting[pid] = time.monotonic()
        sleep = QUIET if len(waiting) < wanted else pause if pause > 0 else None
        heard = poll.poll(sleep and sleep * 1000)
        quiet = not heard
        if any(fd == stop.fileno() for fd, _ in heard):
            stop.clear()
        # In this order: whoever has ended by now has said before that it took a client, so that is read as well.
        gone = set(ended())
        for pid in read_pids(taken):
            waiting.pop(pid, None)
            serving.add(pid)
        serving -= gone
        # As if it were very old: who has had a client has not died of its birth, however young it was.
        back_off.bury([waiting.pop(pid, 0.0) for pid in gone])

    listener.close()
    dismiss(serving | waiting.keys(), stop)


def read_pids(taken: int) -> "Iterator[int]":
    """The children that have taken a client since the last time."""
    try:
        while True:
            for (pid,) in TAKEN.iter_unpack(os.read(taken, 1024 * TAKEN.size)):
                yield pid
    except BlockingIOError:
        pass
