"""Sends back each byte (RFC 862)."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from server.services import READABLE, send_all

if TYPE_CHECKING:
    from server._conversation import Conversation

FIRST, LARGEST = 4096, 262144
"""Bytes read at once: few at first, since a process pays for each page it touches; more for a peer that sends more."""


def converse(talk: "Conversation") -> Iterator[int]:
    """Echo until the peer's FIN.

    Raises:
        OSError: the peer is gone.
    """
    size = FIRST
    while True:
        try:
            data = talk.connection.recv(size, talk.flags)
        except BlockingIOError:
            yield READABLE
            continue
        if not data:  # not "nothing now" but the peer's FIN
            return
        yield from send_all(talk, data)
        if len(data) == size:
            size = min(4 * size, LARGEST)
