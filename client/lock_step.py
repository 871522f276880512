"""The client that takes turns: it sends a line, waits until as many bytes came back, prints them, then reads on.

One process does everything, one thing at a time. It is easy to follow, and it shows what that costs:

* Each line costs a round trip. On a network with 100 ms from end to end and back, no computer sends more than ten
  lines a second this way; the split client has as many lines under way as the network holds.
* It hears the server only when it is the server's turn. A server that goes away while we wait for the user is
  noticed at the next line.
* It must know how much comes back. That holds for an echo, and for few other services.

A line is sent whole before anything is read back, so a long line could lock both ends for ever: the server, not
read from, fills our receive buffer and blocks in send(); then it reads no more, its receive buffer fills too, and we
block in send() as well (the reason for nonblocking writes in UNP 16.2). Units of at most 16 KiB cannot do that: even if
the server reads nothing, that much fits into the socket buffers on the way (tcp_wmem, tcp_rmem: 16 KiB and 128 KiB,
tcp(7)). A longer line is sent in several units.

SIGINT and SIGTERM keep their default disposition: there is no second process to bring home.
"""

import socket
from collections.abc import Iterator

from client._connection import closed_first, connection_lost, server_closed
from client._lines import UntilQuit
from client._streams import CHUNK, read_input, write_output

UNIT = 16 * 1024
"""The most bytes sent before the same number is awaited."""


def converse(connection: socket.socket, raw: bool) -> None:
    """Talk to the server until the input ends; with ``raw`` a line ``q`` does not end it.

    Raises Broken if the server goes away before that or a standard stream fails, Stopped if standard output is closed.
    """
    try:
        for unit in units(UntilQuit(raw)):
            connection.sendall(unit)
            receive(connection, len(unit))
        if closed_first(connection):
            raise server_closed()
        connection.shutdown(socket.SHUT_WR)
        while data := connection.recv(CHUNK):
            write_output(data)
    except OSError as error:
        raise connection_lost(error.errno) from error


def receive(connection: socket.socket, count: int) -> None:
    """Print exactly ``count`` bytes from the server, in as many pieces as they come."""
    while count:
        data = connection.recv(count)
        if not data:
            raise server_closed()
        write_output(data)
        count -= len(data)


def units(lines: UntilQuit) -> Iterator[bytes]:
    """Cut the input into lines, and these into at most UNIT bytes; read on only when all of them have been used."""
    rest = b""
    while not lines.ended:
        rest += lines.feed(read_input())
        start = 0
        while end := unit_end(rest, start):
            yield rest[start:end]
            start = end
        rest = rest[start:]
    if rest:
        yield rest


def unit_end(text: bytes, start: int) -> int:
    """Return where the unit that begins at ``start`` ends; 0 if more input has to come first."""
    newline = text.find(b"\n", start, start + UNIT)
    if newline >= 0:
        return newline + 1
    return start + UNIT if len(text) - start >= UNIT else 0
