"""The service ``compute``: an echo of lines, some of which take processor time before their end."""

import sys
from pathlib import Path

import pytest

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
