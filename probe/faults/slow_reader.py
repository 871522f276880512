"""Add clients that connect, send and never read, until the server cannot write to them any more.

Each has a small receive buffer and sends for as long as the kernel takes something. What the server sends back fills
that buffer and then the server's own send buffer: there it blocks, or waits, or ends the connection. At the end they
reset.

Sources: tcp(7), the window; UNP vol. 1, 6.2 (what a blocked write means).
"""

import contextlib
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from probe.faults._effect import Effect
from probe.faults._visitors import connected
from protocol.ports import SERVER_PORT

PARAMETERS = {
    "connections": {
        "unit": "count",
        "default": "1",
        "least": "1",
        "most": "200",
        "help": "how many such clients",
    }
}
TARGETS = ("server",)
PLACE = "network"
PIECE = (b"x" * 63 + b"\n") * 64
PAUSE = 0.05
"""Seconds between two attempts to send more."""


@contextmanager
def hold(connections: int, address: str) -> Iterator[Effect]:
    """Connect and send, and never read."""
    with connected(address, connections, receive_buffer=4096) as clients:
        sent = dict.fromkeys(clients, 0)
        cut: set[socket.socket] = set()

        def work() -> float:
            for client in clients:
                if client not in cut and not _fill(client, sent):
                    cut.add(client)
            return time.monotonic() + PAUSE

        def evidence() -> dict[str, Any]:
            return {"bytes_sent": sum(sent.values()), "ended_by_server": len(cut)}

        work()
        did = f"{connections} clients send to {address}:{SERVER_PORT} and never read"
        yield Effect("client", did, evidence, work=work)


def _fill(client: socket.socket, sent: dict[socket.socket, int]) -> bool:
    """Send until the kernel takes no more; False when the server has ended the connection."""
    with contextlib.suppress(BlockingIOError):
        try:
            while True:
                sent[client] += client.send(PIECE)
        except (BrokenPipeError, ConnectionResetError, TimeoutError):
            return False
    return True
