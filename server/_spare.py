"""``fork --spare N``: still one process for each connection, but forked before its client comes.

The parent keeps N children waiting for clients. Each takes exactly one, says so with a few bytes in a pipe, serves it
and ends; the parent reads that and forks the next. The fork has not gone away, it has gone off the path: a client waits
for one only when N others have come at the same moment.
"""

import contextlib
import os
import select
import struct
from collections.abc import Iterator

from server._conversation import Handle
from server._listener import Listener
from server._pool import Lifeline, dismiss, ended, fork_worker
from server._stop import Stop

TAKEN = struct.Struct("=i")
"""What a child writes when it has taken a client: its PID. Writes of up to PIPE_BUF bytes never mix (pipe(7))."""


def serve_ahead(listener: Listener, handle: Handle, stop: Stop) -> None:
    """Keep ``listener.spare`` children waiting until ``stop`` is asked for, then let those that serve finish."""
    lifeline = Lifeline()
    taken, tell = os.pipe()
    os.set_blocking(taken, False)
    poll = select.poll()
    poll.register(stop, select.POLLIN)
    poll.register(taken, select.POLLIN)
    waiting: set[int] = set()
    serving: set[int] = set()

    def occupied(_: bool) -> None:
        os.write(tell, TAKEN.pack(os.getpid()))

    while not stop.asked:
        room = listener.has_room(len(serving))
        wanted = min(listener.spare, listener.cap - len(serving)) if room else 0
        while len(waiting) < wanted:
            pid = fork_worker(listener, handle, stop, lifeline, occupied, visits=1)
            if pid is None:
                break
            waiting.add(pid)
        pause = listener.pause_left()
        poll.poll(pause * 1000 if pause > 0 else None)
        stop.clear()
        # In this order: whoever has ended by now has said before that it took a client, so that is read as well.
        gone = set(ended())
        for pid in read_pids(taken):
            waiting.discard(pid)
            serving.add(pid)
        waiting -= gone
        serving -= gone

    listener.close()
    dismiss(waiting | serving, stop)


def read_pids(taken: int) -> Iterator[int]:
    """The children that have taken a client since the last time."""
    with contextlib.suppress(BlockingIOError):
        while True:
            for (pid,) in TAKEN.iter_unpack(os.read(taken, 1024 * TAKEN.size)):
                yield pid
