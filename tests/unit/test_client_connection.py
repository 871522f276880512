"""Who closed first is read from the kernel, at every moment at which a reader can meet the end of file."""

import socket
import sys
from collections.abc import Iterator

import pytest

from client._connection import closed_first
from tests.deadline import until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="TCP_INFO is Linux's")


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two ends of one TCP connection: the client's and the server's."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
    with client, server:
        yield client, server


def test_nobody_has_closed(ends: tuple[socket.socket, socket.socket]) -> None:
    """While both talk, nobody was first."""
    client, _ = ends
    assert not closed_first(client)


def test_server_first(ends: tuple[socket.socket, socket.socket]) -> None:
    """The server's FIN is there and ours is not."""
    client, server = ends
    server.close()
    assert client.recv(1) == b""
    assert closed_first(client)


def test_server_first_and_gone(ends: tuple[socket.socket, socket.socket]) -> None:
    """What we sent after the server's FIN was answered by a reset: recv() says end of file all the same."""
    client, server = ends
    server.close()
    client.send(b"too late")
    until(lambda: state(client) == 7, "the connection is in the state CLOSE")
    assert client.recv(1) == b""
    assert closed_first(client)


@pytest.mark.parametrize("attempt", range(10))
def test_client_first(ends: tuple[socket.socket, socket.socket], attempt: int) -> None:
    """A server that closes once it has our FIN was not first, however soon we look."""
    client, server = ends
    client.shutdown(socket.SHUT_WR)
    assert server.recv(1) == b""
    server.close()
    assert client.recv(1) == b""
    assert not closed_first(client)


def state(connection: socket.socket) -> int:
    """Return the TCP state as the kernel numbers it."""
    number: int = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
    return number
