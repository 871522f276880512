"""One client's conversation from its first byte to the last FIN, whatever the peer does meanwhile."""

import os
import struct

from protocol import events
from server._bare import socket
from server._log import log, write_to
from server._stop import Stop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from types import ModuleType

    Service = Callable[["Conversation"], Generator[int]]  # ``converse`` of a module in ``services/``


TURN = 16
"""Reads in a row after which an event loop goes on with others: a MiB, for LARGEST of ``echo``."""


class Conversation:
    """A service at work for one client.

    Args:
        service: what is said.
        connection: the client's socket; closed when the conversation is over.
        peer: ``address:port``, for the log.
        flags: for each recv(2) and send(2). MSG_DONTWAIT: do not block in this one call.
        stop: tells a conversation that the server ended from one that the peer broke off.

    Attributes:
        echoed: bytes sent back so far.
        reason: why it ended, should it come to its end; a service that broke it off says so here.
        waits: what it waits for, an event mask of poll(2); 0 before it has begun and when it is over.
    """

    __slots__ = ("_reads", "_steps", "_stop", "connection", "echoed", "flags", "peer", "reason", "waits")

    def __init__(self, service: "Service", connection: socket.socket, peer: str, flags: int, stop: Stop) -> None:
        self.connection, self.peer, self.flags, self._stop = connection, peer, flags, stop
        self.echoed = 0
        self.reason = events.REASON_END
        self.waits = 0
        self._reads = 0
        self._steps = service(self)

    @property
    def cut(self) -> bool:
        """Whether the server itself ends it. recv(2) then returns 0 as it does at the peer's FIN (``_stop.cut``)."""
        return self._stop.now

    def step(self) -> int:
        """Go on until a call would block, or for a turn; returns ``waits``."""
        self._reads = 0
        try:
            self.waits = next(self._steps, 0)
            if not self.waits:
                # FIN goes out now. close() would do the same, unless some process still holds a copy of this
                # descriptor: shutdown(2) acts on the connection, close(2) on the descriptor.
                if self.reason == events.REASON_END:
                    self.connection.shutdown(socket.SHUT_WR)
                self.end(self.reason)
        except OSError:  # ECONNRESET, EPIPE, ETIMEDOUT: the peer is gone, and with it whom to tell
            self.end(events.REASON_RESET)
        return self.waits

    def recv(self, size: int) -> bytes:
        """Receive what has come; nothing at the peer's FIN.

        Raises:
            BlockingIOError: nothing has, and the call would block; or the turn is over.
            OSError: the peer is gone.
        """
        self.count_read()
        return self.connection.recv(size, self.flags)

    def count_read(self) -> None:
        """In an event loop, end the turn in time. A peer that sends faster than it is read would hold up all others.

        Nothing is missed: whoever then waits for what is there already is told at once, as the loops are
        level-triggered (epoll(7), "Starvation").

        Raises:
            BlockingIOError: the turn is over.
        """
        if self.flags:
            self._reads += 1
            if self._reads > TURN:
                raise BlockingIOError

    def send(self, data: "bytes | memoryview") -> int:
        """Send what there is room for, and count it; 0 when there is none and the call would block.

        Raises:
            OSError: the peer is gone.
        """
        try:
            sent = self.connection.send(data, self.flags)
        except BlockingIOError:
            return 0
        self.echoed += sent
        return sent

    def end(self, reason: str) -> None:
        """Close the connection and say why."""
        self.waits = 0
        self._steps.close()  # of a service that was broken off: its ``finally``
        self.connection.close()
        if self.cut:
            reason = events.REASON_CUT
        log(events.DISCONNECTED, peer=self.peer, bytes=self.echoed, reason=reason)


class Handle:
    """What a model does with a client; it need not know the service.

    Args:
        service: a module of ``services/``.
        idle: seconds after which a peer that neither sends nor takes anything is given up; 0 for never.
        stop: what each conversation looks at when it ends.
    """

    def __init__(self, service: "ModuleType", idle: float, stop: Stop) -> None:
        self.service: Service = service.converse
        self.idle, self.stop = idle, stop
        self._line: bytes = getattr(service, "REHEARSAL", b"")

    def __call__(self, connection: socket.socket, peer: str) -> int:
        """Hold the whole conversation, blocking, and close the connection; how many bytes were sent back."""
        if self.idle > 0:
            _limit_idleness(connection, self.idle)
        talk = Conversation(self.service, connection, peer, 0, self.stop)
        if talk.step():  # it would block although the connection blocks: the limit has run out
            talk.end(events.REASON_IDLE)
        return talk.echoed

    def begin(self, connection: socket.socket, peer: str) -> Conversation:
        """Begin a conversation that an event loop goes on with, step by step."""
        return Conversation(self.service, connection, peer, socket.MSG_DONTWAIT, self.stop)

    def rehearse(self, times: int) -> None:
        """Hold conversations with nobody, before a client comes.

        CPython rewrites its instructions as they run. A child that were the first to run them would copy the pages they
        stand on and throw them away at its end, and so would every other child. And a child that still waits for its
        client can copy what it will write to while it has the time.
        """
        nowhere = os.open(os.devnull, os.O_WRONLY)
        write_to(nowhere)
        for _ in range(times):
            ours, theirs = socket.socketpair()
            ours.send(self._line)
            ours.shutdown(socket.SHUT_WR)
            self(theirs, "nobody")
            ours.close()
        write_to(1)
        os.close(nowhere)


def _limit_idleness(connection: socket.socket, seconds: float) -> None:
    """Let each recv(2) and each send(2) sleep no longer than this (socket(7)): no timer, no extra system call."""
    timeval = struct.pack("@ll", int(seconds), int(seconds % 1 * 1_000_000))
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeval)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeval)
