"""Connections to the server that a fault makes and holds."""

import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from probe.faults._effect import Refused
from protocol.ports import SERVER_PORT

PATIENCE = 5.0


@contextmanager
def connected(address: str, count: int, *, receive_buffer: int = 0) -> Iterator[list[socket.socket]]:
    """Hold ``count`` connections to the server, non-blocking; they are reset at the end, not half-closed.

    Raises:
        Refused: the server does not take them.
    """
    with ExitStack() as stack:
        clients = []
        for _ in range(count):
            client = stack.enter_context(socket.socket())
            client.settimeout(PATIENCE)
            if receive_buffer:  # before connecting: the window is offered in the handshake (tcp(7))
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            # A close without lingering is a RST (socket(7)): the server is rid of them at once.
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            try:
                client.connect((address, SERVER_PORT))
            except OSError as error:
                raise Refused(f"cannot connect to the server at {address}:{SERVER_PORT}: {error}") from None
            client.setblocking(False)
            clients.append(client)
        yield clients
