"""One client's conversation from its first byte to the last FIN, whatever the peer does meanwhile."""

import socket
import struct
from collections.abc import Callable, Iterator

from protocol import events
from server._log import log
from server._stop import Stop

Service = Callable[[socket.socket], Iterator[int]]
"""Holds the conversation and yields, at each step, how many bytes went back."""

Handle = Callable[[socket.socket, str], None]
"""``handle(connection, peer)``: a service with everything around it that a model need not know."""


def conversation(service: Service, idle: float, stop: Stop) -> Handle:
    """Make the ``handle`` of a model.

    Args:
        service: what is said.
        idle: seconds after which a peer that neither sends nor takes anything is given up; 0 for never.
        stop: tells a conversation that the server ended from one that the peer broke off.
    """

    def handle(connection: socket.socket, peer: str) -> None:
        echoed = 0
        try:
            _limit_idleness(connection, idle)
            for count in service(connection):
                echoed += count
            # FIN goes out now. close() would do the same here, unless some process still holds a copy of this
            # descriptor: shutdown(2) acts on the connection, close(2) on the descriptor.
            connection.shutdown(socket.SHUT_WR)
            reason = events.REASON_END
        except BlockingIOError:  # EAGAIN: SO_RCVTIMEO or SO_SNDTIMEO has run out
            reason = events.REASON_IDLE
        except OSError:  # ECONNRESET, EPIPE, ETIMEDOUT: the peer is gone, and with it whom to tell
            reason = events.REASON_RESET
        if stop.now:
            reason = events.REASON_CUT
        log(events.DISCONNECTED, peer=peer, bytes=echoed, reason=reason)

    return handle


def _limit_idleness(connection: socket.socket, seconds: float) -> None:
    """Let each recv(2) and each send(2) sleep no longer than this; no timer and no extra system call is needed."""
    if seconds > 0:
        timeval = struct.pack("@ll", int(seconds), int(seconds % 1 * 1_000_000))
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeval)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeval)
