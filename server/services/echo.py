"""Sends back each byte (RFC 862)."""

import os

from server.services import READABLE, WRITABLE, send_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator

    from server._conversation import Conversation

FIRST, LARGEST = 4096, 65536
"""Bytes read at once: few at first, since a process pays for each page it touches; more for a peer that sends more."""

PIPE = 65536
"""Bytes that a pipe holds unasked (pipe(7)), for a peer that goes on filling the largest buffer: see ``pass_on``. Wider
ones were slower: what they hold no longer fits into the processor's cache."""

REHEARSAL = bytes(32)
"""What is said to it before the first client comes; see ``Handle.rehearse``."""


def converse(talk: "Conversation") -> "Generator[int]":
    """Echo until the peer's FIN.

    Raises:
        OSError: the peer is gone.
    """
    size = FIRST
    while True:
        try:
            data = talk.recv(size)
        except BlockingIOError:
            yield READABLE
            continue
        if not data:  # not "nothing now" but the peer's FIN
            return
        sent = talk.send(data)
        if sent < len(data):
            yield from send_all(talk, memoryview(data)[sent:])
        if len(data) < size:
            continue
        if size < LARGEST:
            size *= 4
        elif (yield from pass_on(talk)):
            return


def pass_on(talk: "Conversation") -> "Generator[int, None, bool]":
    """Echo without looking: splice(2) moves pages from the socket to a pipe and back, and copies no byte of them.

    Returns:
        True after the peer's FIN; False when there is no pipe to be had, and so nothing has been done.

    Raises:
        OSError: the peer is gone.
    """
    try:
        reads, writes = os.pipe()
    except OSError:  # EMFILE, ENFILE
        return False
    try:
        if talk.flags:  # splice(2) has no flag for the socket's side, as recv(2) has MSG_DONTWAIT
            talk.connection.setblocking(False)
        connection = talk.connection.fileno()
        while True:
            try:
                talk.count_read()
                held = os.splice(connection, writes, PIPE)
            except BlockingIOError:
                yield READABLE
                continue
            if not held:
                return True
            # The pipe is emptied before more is read: it is the buffer of this connection, and it is bounded.
            while held:
                try:
                    sent = os.splice(reads, connection, held)
                except BlockingIOError:
                    yield WRITABLE
                    continue
                held -= sent
                talk.echoed += sent
    finally:
        os.close(reads)
        os.close(writes)
