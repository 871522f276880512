"""A server started for a test on a free port of the loopback device, and what its kernel entries say."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.deadline import PATIENCE, until

ROOT = Path(__file__).parents[2]
MODELS = ("iterative", "fork", "prefork", "thread", "select", "poll", "epoll")


class Server:
    """One running server."""

    def __init__(self, process: subprocess.Popen[str], log: Path, pool: int) -> None:
        self.process, self._log, self.pool = process, log, pool
        self.port = int(until(lambda: self.events("listening"), "listening")[0]["port"])

    def events(self, name: str) -> list[dict[str, Any]]:
        """The log's events of this name so far."""
        lines = [json.loads(line) for line in self._log.read_text().splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] == name]

    def at_rest(self) -> bool:
        """Whether everybody has left: every client is told of, and no child is there but the pool's idle workers."""
        left = len(self.events("disconnected")) == len(self.events("connected"))
        return left and len(self.children()) == self.pool

    def connect(self) -> socket.socket:
        """A client's connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)

    def children(self) -> dict[int, str]:
        """PIDs of the server's children, and their states."""
        found = {}
        for name in filter(str.isdigit, os.listdir("/proc")):  # glob() would look into it, and trip over who just ended
            stat = Path("/proc", name, "stat")
            try:
                state, ppid = stat.read_bytes().rpartition(b")")[2].split()[:2]  # its name need not be text
            except OSError:
                continue
            if int(ppid) == self.process.pid:
                found[int(stat.parent.name)] = state.decode()
        return found

    def descriptors(self) -> list[str]:
        """What the server's descriptors point to."""
        found = []
        for path in Path(f"/proc/{self.process.pid}/fd").iterdir():
            with suppress(FileNotFoundError):  # closed since it was listed
                found.append(str(path.readlink()))
        return sorted(found)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait for the end; the exit status."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)


@contextmanager
def serving(
    tmp_path: Path, model: str, *options: str, pool: int | None = None, before: Callable[[], object] | None = None
) -> Iterator[Server]:
    """Run a server of ``model``, with ``pool`` workers that wait for clients; all are gone afterwards.

    ``before`` is called in its process before it begins.
    """
    waiting = {"prefork": 16}.get(model, 0) if pool is None else pool
    log = tmp_path / f"{model}.log"
    with log.open("w") as output:
        place = ["--host", "127.0.0.1", "--port", "0"]
        command = [sys.executable, "-m", "server", model, *place, "--log", "json", *options]
        process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output, text=True, preexec_fn=before)
    server = None
    try:
        server = Server(process, log, waiting)
        until(server.at_rest, "the pool is complete")
        yield server
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)
            process.send_signal(signal.SIGINT)
            process.wait(PATIENCE)
        assert "Traceback" not in log.read_text(), log.read_text()


def say(connection: socket.socket, data: bytes) -> bytes:
    """Send, and read as many bytes back."""
    connection.sendall(data)
    return hear(connection, len(data))


def hear(connection: socket.socket, count: int) -> bytes:
    """Read ``count`` bytes, fewer only at EOF."""
    heard = b""
    while len(heard) < count and (more := connection.recv(count - len(heard))):
        heard += more
    return heard
