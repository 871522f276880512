"""One client after the other: the simplest server there is.

What it does: accept, serve to the end, close, accept the next. No second process, nothing shared, nothing to reap.

What it costs: client N waits for the N-1 before it. They are connected all the same: the kernel completes the
handshake and queues them in the listener's backlog, where their first bytes wait as well.

Where it breaks: at the first client that takes its time. One that connects and says nothing stops the service for
all others; only ``--idle-timeout`` ends that.

Sources: UNP vol. 1, 1.5 and 30.4; TLPI 60.1; listen(2).
"""

from protocol import events
from server._conversation import Handle
from server._listener import Listener
from server._log import log
from server._stop import Stop


def serve(listener: Listener, handle: Handle, stop: Stop) -> None:
    """Serve one client at a time until ``stop`` is asked for; the one being served may finish while there is time."""
    while not stop.asked:
        accepted = listener.accept() if listener.wait(stop, serving=0) else None
        if accepted is None:
            continue
        connection, peer = accepted
        log(events.CONNECTED, peer=peer, fd=connection.fileno())
        stop.blocks_on(connection)
        handle(connection, peer)
        stop.blocks_on(None)
    listener.close()
