"""What a server says to its clients: one service a file, one generator function ``converse(talk)`` in it.

``talk`` is a ``Conversation``: its ``connection``, the ``flags`` for recv(2) and send(2), and ``echoed``, the count of
bytes sent back. A service goes on until a call would block. Then it yields what it waits for, READABLE or WRITABLE,
and is resumed when that is so. It returns at the peer's FIN, once everything is answered. In an event loop it also
yields when others shall have a turn: ``Conversation.recv`` sees to that, but not to what a service does between two.

So one text serves both kinds of model. Those with a process or a thread for each connection let the calls block, and
nothing is ever yielded. Event loops hold thousands of suspended conversations in one process, each at its own yield.

A service may also have ``prepare(words)``, for what all its conversations share; ``words`` is the command line. It is
called once, before there is a listener, a signal handler or a second process, and returns a function to be called when
the last conversation is over. Options of a service stand with all others in ``__main__.py``.
"""

import select

from server._bare import socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from server._conversation import Conversation


class NotReady(Exception):
    """From ``prepare``: why the service cannot begin, and what to do about it, in one or two lines for the user."""


READABLE = select.POLLIN
WRITABLE = select.POLLOUT


def send_all(talk: "Conversation", data: "bytes | memoryview") -> "Iterator[int]":
    """Send every byte: send(2) may take only a part of them, as many as its buffer has room for.

    Nothing is read meanwhile. A peer that sends and never reads fills its own buffers, and then it blocks:
    backpressure, at the price of one buffer.
    """
    rest = memoryview(data)
    while rest:
        sent = talk.send(rest)
        if not sent:
            yield WRITABLE
        rest = rest[sent:]


def send_last(talk: "Conversation", data: bytes) -> "Iterator[int]":
    """Send ``data`` and FIN, although the peer may still be sending; what still comes is thrown away until its FIN.

    Closed with bytes unread, a socket sends RST instead of FIN, and an RST may make the peer's kernel forget what its
    program has not read yet, our last words (RFC 1122, 4.2.2.13; RFC 9112, 9.6).
    """
    yield from send_all(talk, data)
    talk.connection.shutdown(socket.SHUT_WR)
    while True:
        try:
            if not talk.recv(65536):
                return
        except BlockingIOError:
            yield READABLE
