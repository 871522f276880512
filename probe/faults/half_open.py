"""Add clients that vanish without a FIN: they connect, send, hear, and from then on nothing leaves or reaches them.

As when a machine loses power or its cable: the server's ends stay ESTABLISHED, though there is nobody. It notices
when it writes and TCP gives up, after minutes, or by keepalive or a timeout of its own. At the end the peers are
there again and reset their connections, like a machine that was switched on again.

Their packets are dropped in a network namespace of their own, both ways (see the fault partition).

Sources: RFC 9293, 3.5.1 (half-open connections); tcp(7), SO_KEEPALIVE.
"""

import select
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from probe.faults._cut import cut
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
WORDS = b"Now you see me.\n"
ANSWER_SECONDS = 0.5
"""An answer that is on its way when the peer vanishes is sent again: then the server waits for something, after all."""


@contextmanager
def hold(connections: int, address: str) -> Iterator[Effect]:
    """Connect, send a line, take what comes back for it, and vanish."""
    with connected(address, connections) as clients:
        for client in clients:
            client.send(WORDS)
        _hear(clients)
        names = ["{}:{}".format(*client.getsockname()) for client in clients]
        with cut("half-open", "both") as (way, dropped):

            def evidence() -> dict[str, Any]:
                return {"dropped": dropped(), "clients": names}

            yield Effect(way, f"vanished: {', '.join(names)}, clients of {address}:{SERVER_PORT}", evidence)


def _hear(clients: list[socket.socket]) -> None:
    """Take an answer of each, and acknowledge it at once; who is served later than the others need not have one."""
    deadline = time.monotonic() + ANSWER_SECONDS
    waiting = set(clients)
    while waiting and (left := deadline - time.monotonic()) > 0:
        for client in select.select(list(waiting), [], [], left)[0]:
            client.recv(len(WORDS))
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)  # not up to 40 ms later: tcp(7)
            waiting.remove(client)
