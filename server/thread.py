"""One thread for each connection: as in ``fork``, but all clients are served inside one process.

What it does: a thread shares everything with its siblings: memory, descriptors, signal handlers, the exit. So nothing
is copied, and nothing has to be closed twice or reaped. A socket that one thread closes is closed for all.

What it costs: less than a process to start and to hold. Everything that two threads touch needs a lock:
``clients += 1`` is a load, an addition and a store, and a thread may be put aside between any two of them. In CPython
one lock more, the GIL, lets only one thread run Python code at a time; while one waits in recv(2), others run.

Where it breaks: one thread that crashes the interpreter, or leaks, or calls exit, takes all clients with it. A thread
that blocks cannot be killed from outside; at the end the main thread shuts its socket down under it.

Sources: UNP vol. 1, 26; TLPI 29 and 30; pthreads(7).
"""

import errno
import os
import threading

from protocol import events
from server._bare import socket
from server._conversation import Handle
from server._listener import Listener
from server._log import log
from server._stop import Stop, cut

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class Statistics:
    """What all threads count together."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.clients = 0
        self.bytes = 0

    def add(self, echoed: int) -> None:
        """Count one client. Without the lock two threads could load the same number, and one client would be lost."""
        with self._lock:
            self.clients += 1
            self.bytes += echoed


class Crowd:
    """The connections being served, and the lock that guards the set of them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._connections: set[socket.socket] = set()

    def __len__(self) -> int:
        with self._lock:
            return len(self._connections)

    def add(self, connection: socket.socket) -> None:
        """A client comes."""
        with self._lock:
            self._connections.add(connection)

    def remove(self, connection: socket.socket) -> int:
        """A client goes; how many there were with it."""
        with self._lock:
            self._connections.discard(connection)
            return len(self._connections) + 1

    def cut(self) -> None:
        """End all connections under the threads that block on them."""
        with self._lock:
            for connection in self._connections:
                cut(connection)


def serve(listener: Listener, handle: Handle, stop: Stop) -> None:
    """Start a thread for each client until ``stop`` is asked for, then wait for those that still serve."""
    crowd, statistics = Crowd(), Statistics()

    def serve_one(connection: socket.socket, peer: str) -> None:
        log(events.CONNECTED, peer=peer, fd=connection.fileno())
        try:
            statistics.add(handle(connection, peer))
        finally:
            # The main thread sleeps in poll(2). It cares for our end only if it waits for room, or for the last one.
            if crowd.remove(connection) >= listener.cap or stop.asked:
                stop.wake()

    parked: tuple[socket.socket, str] | None = None  # accepted, but no thread could be started
    while not stop.asked:
        if listener.wait(stop, serving=len(crowd), accept=parked is None):
            parked = listener.accept()
        if parked and start_thread(*parked, crowd, listener, serve_one):
            parked = None

    if parked:
        parked[0].close()
    listener.close()
    while len(crowd) and not stop.now:
        stop.wait()
    if left := len(crowd):
        log(events.CUT, connections=left)
        crowd.cut()
    while len(crowd):
        stop.wait()
    log(events.SERVED, clients=statistics.clients, bytes=statistics.bytes)


def start_thread(
    connection: socket.socket,
    peer: str,
    crowd: Crowd,
    listener: Listener,
    serve_one: "Callable[[socket.socket, str], None]",
) -> bool:
    """Start a thread that serves ``connection``; False when the kernel refuses one now (EAGAIN, as for a process)."""
    crowd.add(connection)
    try:
        # A daemon: the interpreter does not wait for it at exit. All have ended by then anyway.
        threading.Thread(target=serve_one, args=(connection, peer), daemon=True).start()
    except RuntimeError:
        crowd.remove(connection)
        listener.pause(events.FORK_FAILED, OSError(errno.EAGAIN, os.strerror(errno.EAGAIN)), peer=peer)
        return False
    return True
