"""A client under examination: the examiner is its server, and types what a user would."""

import contextlib
import os
import socket
import subprocess
from pathlib import Path
from typing import Any

from examiner import _jail
from examiner._connection import Connection
from examiner._moments import Moments
from examiner._subject import ADDRESS, START_GRACE, Program, Subject
from probe import sockets as tcp

FIRST_LINE = b"the first line\n"
_PIECE = 1 << 16
_MOST = 16 << 20
"""Bytes of what it prints that are read: a client that prints without end must not fill our memory."""


class DoesNotConnect(Exception):
    """The client did not come, or the first line that was typed never arrived; the message says what it did."""


class Client(Subject):
    """One run of a client, with a pipe on its standard input and one on its standard output.

    Attributes:
        wire: our end of its connection.
        typed: how many bytes it has taken from its standard input's pipe, or could.
        printed: what it wrote to standard output so far; :meth:`pull` reads on.
    """

    def __init__(self, program: Program, folder: Path, user: _jail.User, port: int, moments: Moments) -> None:
        """Start it and wait until it is connected.

        Raises:
            DoesNotListen: it cannot be started.
            DoesNotConnect: it does not come.
        """
        self._listener = socket.create_server((ADDRESS, port))
        self._listener.setblocking(False)
        self.printed, self.typed = b"", 0
        try:
            super().__init__(program, folder, user, port, moments)
        except BaseException:
            self._listener.close()
            raise

    def _launch(self, limits: _jail.Limits | None, **pipes: int) -> None:
        super()._launch(limits, stdin=subprocess.PIPE, stderr=subprocess.PIPE)

    def _attend(self) -> None:
        """Its errors are kept apart from what it prints."""
        self.pid = self._process.pid
        assert self._process.stdin
        assert self._process.stdout
        assert self._process.stderr
        self._input, self._screen = self._process.stdin.fileno(), self._process.stdout.fileno()
        os.set_blocking(self._input, False)
        os.set_blocking(self._screen, False)
        self._output = _jail.Output(self._process.stderr.fileno())

    def _await_start(self) -> None:
        come: list[tuple[socket.socket, tuple[str, int]]] = []

        def there() -> bool:
            with contextlib.suppress(BlockingIOError):
                come.append(self._listener.accept())
            return bool(come) or not self.alive()

        self.eventually(there, START_GRACE)
        if come:
            self.wire = Connection(*come[0], self.eventually)
            self.wire.tell = self.moments.client(self.wire.local, "accept")
            return
        said = [f"it said: {line}" for line in self.said()]
        words = f"it does not connect to {ADDRESS}:{self.port}; {self.status()}"
        self.end()
        raise DoesNotConnect("; ".join([words, *said[-1:]]))

    # What its user does and sees.

    def type(self, data: bytes) -> bool:
        """Write to its standard input; False when it does not take all of it. What it prints is read meanwhile."""
        rest = memoryview(data)
        self.moments.add("type", bytes=len(data))

        def push() -> bool:
            nonlocal rest
            self.pull()
            try:
                while rest:
                    count = os.write(self._input, rest[:_PIECE])
                    rest, self.typed = rest[count:], self.typed + count
            except BlockingIOError:
                return False
            except BrokenPipeError:
                return True
            return True

        return self.eventually(push) and not rest

    def end_input(self) -> None:
        """End of input, as Ctrl-D makes it."""
        assert self._process.stdin
        self._process.stdin.close()
        self.moments.add("end-of-input")

    def pull(self) -> None:
        """Read what it has printed."""
        with contextlib.suppress(BlockingIOError):
            while len(self.printed) < _MOST and (data := os.read(self._screen, _PIECE)):
                self.printed += data

    def prints(self, data: bytes) -> bool:
        """Whether these bytes, in one piece, are in what it prints."""

        def there() -> bool:
            self.pull()
            return data in self.printed

        return self.eventually(there)

    def ends(self) -> bool:
        """Whether all of its processes end."""

        def over() -> bool:
            self.pull()
            return not self.alive() and not self.tree().keys() - {self.pid}

        return self.eventually(over)

    # Its end of the connection.

    def sockets(self) -> list[dict[str, Any]]:
        """Its own ends of connections to us."""
        rows = [row for row in tcp.sockets() if row["remote"] == f"{ADDRESS}:{self.port}"]
        self.moments.sockets(rows)
        return rows

    def unread(self, connection: Connection) -> int:
        """Bytes that wait in its end until it reads them."""
        return sum(int(row["rx_queue"]) for row in self.sockets() if row["local"] == connection.remote)

    def reads_all(self) -> bool:
        """Whether nothing is left that it has not read: everything we sent is acknowledged, and its queue is empty."""
        return self.eventually(lambda: not self.wire.unacknowledged() and not self.unread(self.wire))

    def holders_of_its_end(self) -> list[int]:
        """Its processes that hold the connection."""
        held = self.holders()
        inodes = [row["inode"] for row in self.sockets() if row["local"] == self.wire.remote and row["inode"]]
        return sorted(set().union(*(held.get(inode, set()) for inode in inodes)))

    def end(self) -> None:
        """Kill all of it and wait until nothing is left.

        Raises:
            _jail.StillThere: something is.
        """
        self._listener.close()
        super().end()
        for pipe in (self._process.stdin, self._process.stderr):
            assert pipe
            pipe.close()


def greet(client: Client) -> None:
    """The round trip before a check: a line is typed and arrives, ours is read.

    Raises:
        DoesNotConnect: it is not.
    """
    arrived = client.type(FIRST_LINE) and client.wire.receive(len(FIRST_LINE)) == FIRST_LINE
    if not arrived:
        raise DoesNotConnect(f"it connects, but a line that is typed does not arrive; {client.status()}")
    if not client.wire.send(FIRST_LINE) or not client.reads_all():
        raise DoesNotConnect(f"it connects, but does not read what the server answers; {client.status()}")
