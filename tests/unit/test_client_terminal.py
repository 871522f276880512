"""In a terminal the client behaves as any program of the shell, and leaves the terminal as it found it."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.deadline import PATIENCE, until
from tests.unit import peers
from tests.unit.peers import peer

pexpect = pytest.importorskip("pexpect")
termios = pytest.importorskip("termios")

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the client forks, and the tests read /proc")

MODES = ("fork-split", "lock-step")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("end", ["q\r", "\x04"])
def test_typing(mode: str, end: str) -> None:
    """A line typed comes back, and the line ``q`` or Ctrl-D ends the client with exit 0."""
    with peer(peers.echo) as server, terminal(server.port, mode) as client:
        client.send("hello\r")
        client.expect_exact("hello\r\nhello\r\n")
        client.send(end)
        client.expect(pexpect.EOF)
        client.wait()
        assert client.exitstatus == 0
        assert server.received == b"hello\n"


@pytest.mark.parametrize("mode", MODES)
def test_ctrl_c(mode: str) -> None:
    """Ctrl-C ends all processes, by SIGINT, without a word."""
    with peer(peers.echo) as server, terminal(server.port, mode) as client:
        client.send("hello\r")
        client.expect_exact("hello\r\nhello\r\n")
        processes = [client.pid, *peers.children(client.pid)]
        assert len(processes) == (2 if mode == "fork-split" else 1)
        client.sendintr()
        client.expect(pexpect.EOF)
        assert client.before.strip() in ("", "^C")
        client.wait()
        assert client.signalstatus == signal.SIGINT
        until(lambda: not any(peers.switches(pid) for pid in processes), "both processes have ended")


@pytest.mark.parametrize("mode", MODES)
def test_server_goes_away(mode: str) -> None:
    """The user who looks at an idle terminal is told, and gets the shell back."""
    with peer(peers.echo_some) as server, terminal(server.port, mode) as client:
        client.send("hello\r")
        client.expect_exact("hello\r\nhello\r\n")
        if mode == "lock-step":  # it looks at the server only in its turn
            client.send("hello again\r")
        client.expect_exact("client: the server closed the connection before we were done")
        client.expect(pexpect.EOF)
        client.wait()
        assert client.exitstatus == 1


@contextmanager
def terminal(port: int, mode: str) -> Iterator[Any]:
    """Run a client in a terminal of its own, which it greets; the settings must be the same afterwards."""
    words = ["-m", "client", mode, "--host", "127.0.0.1", "--port", str(port)]
    client = pexpect.spawn(sys.executable, words, cwd=str(peers.ROOT), timeout=PATIENCE, encoding="utf-8")
    before = termios.tcgetattr(client.child_fd)
    try:
        # Before that line, what is typed would be echoed by the terminal in front of it.
        client.expect_exact(f"client: connected to 127.0.0.1:{port} ({mode})")
        client.expect_exact("\r\n")
        yield client
        assert termios.tcgetattr(client.child_fd) == before
    finally:
        client.close(force=True)
