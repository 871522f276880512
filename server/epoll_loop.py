"""One process, epoll(7): asks the kernel once for each socket, and is told only of those that are ready.

What it does: the list of sockets is kept in the kernel. epoll_ctl(2) changes it by one; epoll_wait(2) returns the ready
ones, and costs by their number and not by that of the sockets watched. Ten thousand idle clients cost no time at all.

What it costs: one processor, one mind. A service that computes for a second makes everybody wait for a second. A
conversation is no longer a stack of its own but a state that is put aside and taken up again: see ``services/``.

Where it breaks: at RLIMIT_NOFILE, and at whatever blocks. And by a subtlety: epoll watches open file descriptions, not
descriptors. A socket of which a copy lives on elsewhere, after a fork say, stays on the list when it is closed here.

Level-triggered, which is the default: what was not read to the end is told again. Edge-triggered tells it once, and
whoever forgets to read on until EAGAIN waits for ever.

Sources: epoll(7); TLPI 63.4.
"""

import select

from protocol import events
from server._conversation import Handle
from server._crowd import Crowd
from server._listener import Listener
from server._stop import Stop


def serve(listener: Listener, handle: Handle, stop: Stop) -> None:
    """Serve all clients at once until ``stop`` is asked for, then those that are left."""
    crowd = Crowd(listener, handle, stop)
    with select.epoll() as epoll:
        epoll.register(stop, select.EPOLLIN)
        listens = False
        while crowd.goes_on():
            if listens != crowd.has_room():
                listens = not listens
                epoll.register(listener, select.EPOLLIN) if listens else epoll.unregister(listener)
            if stop.asked and not listens:  # a signal may come between any two lines: never close what is watched
                listener.close()

            for fd, _ in epoll.poll(crowd.patience()):
                if fd == stop.fileno():
                    stop.clear()
                elif fd == listener.fileno():
                    for talk in crowd.admit():
                        epoll.register(talk.connection, talk.waits)
                else:
                    waited = crowd.waits(fd)
                    waits = crowd.step(fd)
                    # A conversation that is over has closed its socket, and with that it left the list by itself.
                    if waits and waits != waited:
                        epoll.modify(fd, waits)

            for fd in crowd.idle():
                crowd.end(fd, events.REASON_IDLE)
    listener.close()
