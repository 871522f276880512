"""One process, poll(2): at each turn it hands the kernel the list of all its sockets, and gets it back marked.

What it does: the list is an array of any length, a descriptor and the wanted events in each place, so there is no wall
as with select(2).

What it costs: the kernel looks at every place at every call, and so must the program. With N clients of whom one
speaks, a turn costs N: twice the clients, twice the time, though nothing more is said.

Where it breaks: not at a number but gradually. At a thousand idle clients most of the time is spent on looking.

Sources: poll(2); UNP vol. 1, 6.10; TLPI 63.2.2 and 63.2.5.
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
    poll = select.poll()
    poll.register(stop, select.POLLIN)
    listens = False
    while crowd.goes_on():
        if listens != crowd.has_room():
            listens = not listens
            poll.register(listener, select.POLLIN) if listens else poll.unregister(listener)
        if stop.asked and not listens:  # a signal may come between any two lines: never close what is watched
            listener.close()

        patience = crowd.patience()
        for fd, _ in poll.poll(None if patience is None else patience * 1000):
            if fd == stop.fileno():
                stop.clear()
            elif fd == listener.fileno():
                for talk in crowd.admit():
                    poll.register(talk.connection, talk.waits)
            elif waits := crowd.step(fd):
                poll.modify(fd, waits)
            else:
                # The list is ours: what is closed has to be taken off, or poll(2) says POLLNVAL for ever.
                poll.unregister(fd)

        for fd in crowd.idle():
            poll.unregister(fd)
            crowd.end(fd, events.REASON_IDLE)
    listener.close()
