"""Sends back each byte (RFC 862)."""

import socket
from collections.abc import Iterator

BUFFER = 65536
"""Bytes read at once, and the most that are ever held for a client."""


def converse(connection: socket.socket) -> Iterator[int]:
    """Echo until the peer's FIN, and yield how many bytes went back at each step.

    The next bytes are read only when the last ones are written, so a peer that sends and never reads fills its own
    buffers and then blocks: backpressure, for free.

    Raises:
        OSError: the peer is gone, or idle for too long.
    """
    buffer = bytearray(BUFFER)
    view = memoryview(buffer)
    while count := connection.recv_into(buffer):  # 0 is not "nothing now" but the peer's FIN
        # send(2) may take a part of the bytes only; sendall calls it until all are in the kernel's hands.
        connection.sendall(view[:count])
        yield count
