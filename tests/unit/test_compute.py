"""The service ``compute``: an echo of lines, some of which take processor time before their end."""

import select
import signal
import socket
import sys
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from protocol import exits
from tests.deadline import until
from tests.unit.serving import MODELS, hear, say, serving

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the server runs in Linux containers")

LOOPS = ("select", "poll", "epoll")


@pytest.mark.parametrize("model", MODELS)
def test_each_line_comes_back(model: str, tmp_path: Path) -> None:
    """Orders, lines that are none, a line too long to be one, and a last one without newline: every byte returns."""
    text = b"x\ncompute 0.001\ncompute much\ncompute -1\ncompute nan\ncompute 11\n\n" + b"y" * 5000 + b"\nz"
    with serving(tmp_path, model, "--service", "compute") as server, server.connect() as client:
        client.sendall(text)
        client.shutdown(1)
        assert hear(client, len(text) + 1) == text


@pytest.mark.parametrize("model", ["fork", "thread", *LOOPS])
def test_who_waits_for_a_computation(model: str, tmp_path: Path) -> None:
    """The line is there before the computation, its newline after it; meanwhile an event loop answers nobody else."""
    with serving(tmp_path, model, "--service", "compute") as server, server.connect() as one, server.connect() as two:
        say(two, b"hello\n")
        order = b"compute 0.5"
        one.sendall(order + b"\n")
        assert hear(one, len(order)) == order
        two.sendall(b"x\n")
        assert hear(two, 2) == b"x\n"
        one.setblocking(False)
        try:
            done = one.recv(1) == b"\n"
        except BlockingIOError:
            done = False
        assert done == (model in LOOPS)


@pytest.mark.parametrize("model", LOOPS)
def test_who_is_told_to_end_computes_no_further(model: str, tmp_path: Path) -> None:
    """Six orders of one client in one segment: an event loop that is to end does not do them all."""
    order = b"compute 0.3"
    with serving(tmp_path, model, "--service", "compute") as server, server.connect() as client:
        client.sendall((order + b"\n") * 6)
        assert hear(client, len(order)) == order
        assert server.stop(signal.SIGINT) == exits.OK
        assert heard_to_the_end(client).count(b"\n") < 6


@pytest.mark.parametrize("model", LOOPS)
def test_who_is_told_to_end_computes_for_nobody_else(model: str, tmp_path: Path) -> None:
    """Six orders that wait at once, of as many clients: likewise."""
    order = b"compute 0.3"
    with serving(tmp_path, model, "--service", "compute") as server, ExitStack() as stack:
        first, *others = (stack.enter_context(server.connect()) for _ in range(7))
        for client in others:
            say(client, b"x\n")
        first.sendall(order + b"\n")
        assert hear(first, len(order)) == order
        for client in others:
            client.sendall(order + b"\n")
        until(lambda: select.select(others, (), (), 0)[0], "the first of them has begun")
        assert server.stop(signal.SIGINT) == exits.OK
        assert sum(heard_to_the_end(client).count(b"\n") for client in others) < 6


def heard_to_the_end(client: socket.socket) -> bytes:
    """What comes until FIN, or until RST, which the server's kernel sends for what was not read."""
    heard = b""
    with suppress(ConnectionResetError):
        while more := client.recv(1000):
            heard += more
    return heard
