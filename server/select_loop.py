"""One process, select(2): the oldest way to wait for many, and the one with a wall.

What it does: two sets of descriptors, those to be read and those to be written, go to the kernel; it leaves in them
those that are ready. Both have to be filled anew at each turn.

What it costs: as poll(2), a look at every descriptor at every turn, up to the highest number, in use or not.

Where it breaks: a set is an array of FD_SETSIZE bits, 1024 with glibc. A descriptor with a higher number does not fit.
In C, FD_SET would write past the end of the array and into whatever lies behind it; Python refuses. Here such a client
is turned away with a line in the log, and all others are served on.

Sources: select(2), BUGS; UNP vol. 1, 6.3 and 6.8; TLPI 63.2.1 and 63.2.3.
"""

import select

from protocol import events
from server._conversation import Handle
from server._crowd import Crowd
from server._listener import Listener
from server._stop import Stop
from server.services import READABLE, WRITABLE

FD_SETSIZE = 1024
"""glibc's <sys/select.h>. It is compiled into every program, so no limit of the kernel can raise it."""


def serve(listener: Listener, handle: Handle, stop: Stop) -> None:
    """Serve all clients at once until ``stop`` is asked for, then those that are left."""
    crowd = Crowd(listener, handle, stop, highest=FD_SETSIZE - 1)
    sets: dict[int, set[int]] = {READABLE: {stop.fileno()}, WRITABLE: set()}
    while crowd.goes_on():
        listens = crowd.has_room()
        if stop.asked and not listens:  # a signal may come between any two lines: never close what is watched
            listener.close()

        arriving = {listener.fileno()} if listens else set()
        readable, writable, _ = select.select(sets[READABLE] | arriving, sets[WRITABLE], (), crowd.patience())
        for fd in (*readable, *writable):
            if fd == stop.fileno():
                stop.clear()
            elif fd in arriving:
                for talk in crowd.admit():
                    sets[talk.waits].add(talk.connection.fileno())
            else:
                sets[READABLE].discard(fd)
                sets[WRITABLE].discard(fd)
                if waits := crowd.step(fd):
                    sets[waits].add(fd)

        for fd in crowd.idle():
            sets[READABLE].discard(fd)
            sets[WRITABLE].discard(fd)
            crowd.end(fd, events.REASON_IDLE)
    listener.close()
