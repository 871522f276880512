"""One process serves many: it sleeps until any connection is ready, and reads only where bytes are.

Question: How does one process serve many?

Theory: It asks the kernel for all its connections at once (select, poll, epoll) and gets those on which a read will not
sleep. A silent client costs nothing. A process that reads from one connection after the other sleeps at the first
silent one, and the bytes of all others lie unread in the kernel.

Source: epoll(7), select(2); UNP 6.3 and 6.8; TLPI 63.1
"""

import os
import select
import selectors
import signal
import socket
from collections.abc import Callable
from pathlib import Path

from demos._kernel import row, state, status, tcp_pair, unread, until
from demos._show import Show

CLIENTS = 5
WORD = b"hello"


def one_after_the_other(connections: list[socket.socket]) -> None:
    """The mistake: recv sleeps on one connection, whatever comes on the others."""
    for connection in connections:
        connection.sendall(connection.recv(100))


def by_readiness(connections: list[socket.socket]) -> None:
    """The right way: sleep on all of them, serve who is ready."""
    selector = selectors.DefaultSelector()
    for connection in connections:
        selector.register(connection, selectors.EVENT_READ, connection)
    while True:
        for key, _ in selector.select():
            key.data.sendall(key.data.recv(100))


def main(show: Show) -> str:
    """Connect five clients, let all but the first one speak, and see who is answered."""
    answered = {}
    for serve in (one_after_the_other, by_readiness):
        answered[serve.__name__] = converse(show, serve)
    show.measure(clients=CLIENTS, answered_while_the_first_is_silent=answered)
    show.expect(answered["one_after_the_other"] == 0, "while it sleeps on the first client, nobody is answered")
    show.expect(answered["by_readiness"] == CLIENTS - 1, "with readiness each client that spoke is answered")
    return f"one process answered {CLIENTS - 1} clients past a silent one; reading in turn answered none"


def converse(show: Show, serve: Callable[[list[socket.socket]], None]) -> int:
    """How many of the clients that spoke were answered while the first one was silent."""
    clients, connections = zip(*[tcp_pair() for _ in range(CLIENTS)], strict=True)
    server = os.fork()
    if server == 0:
        for connection in connections:
            connection.settimeout(None)
        serve(list(connections))
        os._exit(0)
    try:
        for client in reversed(clients[1:]):
            client.sendall(WORD)
        until(lambda: state(server) == "S" and settled(clients, connections), "the server has done what it can")
        answers = select.select(clients, [], [], 0)[0]
        inodes = {f"socket:[{os.fstat(each.fileno()).st_ino}]" for each in connections}
        held = [fd for fd in Path(f"/proc/{server}/fd").iterdir() if os.readlink(fd) in inodes]
        waiting = [unread(connection) for connection in connections]
        show(f"{serve.__name__}: {row(server)}, threads {status(server)['Threads']}, {len(held)} connections")
        show(f"  bytes unread in the kernel, by client: {waiting}; answered: {len(answers)}")
        return len(answers)
    finally:
        os.kill(server, signal.SIGKILL)
        os.waitpid(server, 0)
        for each in clients + connections:
            each.close()


def settled(clients: tuple[socket.socket, ...], connections: tuple[socket.socket, ...]) -> bool:
    """Each word is either unread or answered, none on its way; we hold copies of the server's sockets and may ask."""
    ready = select.select(clients, [], [], 0)[0]
    pairs = zip(clients[1:], connections[1:], strict=True)
    return all((client in ready) != (unread(connection) > 0) for client, connection in pairs)
