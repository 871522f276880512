"""Tiny servers for one client each, as threads of the test, and the client as a process beside them."""

import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from tests.deadline import PATIENCE, until

ROOT = Path(__file__).parents[2]


Behaviour = Callable[["Peer", socket.socket], None]
"""What a server does with its one client; it need not close the connection."""


class Peer:
    """A server for one client: it behaves as the function ``behave`` says, and remembers what came."""

    def __init__(self, behave: Behaviour) -> None:
        self.received = bytearray()
        self.accepted = threading.Event()
        self.got_end = threading.Event()
        """Set when the client's FIN has been read."""
        self.go_on = threading.Event()
        """Set by the test: a behaviour that waits may go on."""
        self._behave = behave
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(PATIENCE)
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the server, whatever it is doing."""
        self.go_on.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes an accept(2) to which no client came
        self._thread.join(PATIENCE)
        self._listener.close()
        assert not self._thread.is_alive(), "the peer still waits for its client"

    def read(self, connection: socket.socket) -> bytes:
        """Receive and remember; b"" at the client's FIN."""
        data = connection.recv(256 * 1024)
        self.received += data
        if not data:
            self.got_end.set()
        return data

    def _serve(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return
        self.accepted.set()
        with connection, suppress(ConnectionError):
            connection.settimeout(PATIENCE)
            self._behave(self, connection)


@contextmanager
def peer(behave: Behaviour) -> Iterator[Peer]:
    """Run a server that behaves so."""
    server = Peer(behave)
    try:
        yield server
    finally:
        server.close()


def echo(server: Peer, connection: socket.socket) -> None:
    """Send back each byte until the client's FIN, then close."""
    while data := server.read(connection):
        connection.sendall(data)


def close_at_once(server: Peer, connection: socket.socket) -> None:
    """Close without a word."""


def echo_some(server: Peer, connection: socket.socket) -> None:
    """Echo what comes first, then close while the client is still there."""
    connection.sendall(server.read(connection))


def reset_at_once(server: Peer, connection: socket.socket) -> None:
    """Reset without reading: SO_LINGER of zero seconds makes close(2) send RST (socket(7))."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def reset(server: Peer, connection: socket.socket) -> None:
    """Read something, then reset."""
    server.read(connection)
    reset_at_once(server, connection)


def never_read(server: Peer, connection: socket.socket) -> None:
    """Take nothing until the test says so, then reset."""
    server.go_on.wait()
    reset_at_once(server, connection)


def echo_and_goodbye(server: Peer, connection: socket.socket) -> None:
    """Echo, and say one thing more after the client's FIN."""
    echo(server, connection)
    connection.sendall(b"goodbye\n")


def answer_after_end(server: Peer, connection: socket.socket) -> None:
    """Send nothing before the client's FIN, and then only when the test says so."""
    while server.read(connection):
        pass
    server.go_on.wait(PATIENCE)
    connection.sendall(bytes(server.received))


class Client(subprocess.Popen[bytes]):
    """``python3 -m client`` against a port of the loopback device; its streams are pipes unless said otherwise."""

    def __init__(self, port: int, *words: str, program: tuple[str, ...] = ("-m", "client"), **options: Any) -> None:
        self.mark = f"FORKLAB_TEST={uuid.uuid4()}"
        name, value = self.mark.split("=")
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        super().__init__(
            [sys.executable, *program, "--host", "127.0.0.1", "--port", str(port), *words],
            cwd=ROOT,
            env={**os.environ, name: value},
            bufsize=0,
            **{**pipes, "preexec_fn": _default_signals, **options},
        )

    def type(self, data: bytes) -> None:
        """Write to its standard input, if it still reads it."""
        assert self.stdin is not None
        with suppress(BrokenPipeError):
            self.stdin.write(data)

    def end(self, data: bytes = b"") -> tuple[int, bytes, str]:
        """Write ``data``, end its input, wait; return exit code, output and what it told the user."""
        output, told = self.communicate(data, timeout=PATIENCE)
        return self.returncode, output, (told or b"").decode()

    def end_by_itself(self) -> tuple[int, str]:
        """Wait with its input left open; return the exit code and what it told the user."""
        code = self.wait(PATIENCE)
        stderr: IO[bytes] | None = self.stderr
        return code, stderr.read().decode() if stderr else ""

    def writer(self) -> int:
        """Return the process id of its child, once there is one."""
        return int(until(lambda: children(self.pid), "the client has forked")[0])

    def round_trip(self) -> None:
        """Send a line through an echo and read it back: then all its processes are in their loops."""
        assert self.stdout is not None
        self.type(b"round trip\n")
        assert self.stdout.read(11) == b"round trip\n"

    def processes(self) -> list[int]:
        """Return its processes that still run, orphans and zombies among them."""
        return [pid for pid in _pids() if self.mark.encode() in _read(pid, "environ").split(b"\0")]


@contextmanager
def running(port: int, *words: str, **options: Any) -> Iterator[Client]:
    """Run a client; afterwards it must have ended, with all its processes."""
    client = Client(port, *words, **options)
    try:
        yield client
        client.wait(PATIENCE)
        until(lambda: not client.processes(), "all processes of the client have ended")
    finally:
        for pid in client.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        client.wait(PATIENCE)
        for stream in (client.stdin, client.stdout, client.stderr):
            if stream:
                stream.close()


def talk(port: int, data: bytes, *words: str, **options: Any) -> tuple[int, bytes, str]:
    """Run a client with ``data`` as its whole input; return exit code, output and what it told the user."""
    with running(port, *words, **options) as client:
        return client.end(data)


def children(pid: int) -> list[int]:
    """Return the processes whose PPid is ``pid``, zombies included (proc(5), stat)."""
    return [child for child in _pids() if _stat(child)[1:2] == [str(pid)]]


def switches(pid: int) -> list[str]:
    """Return a process's state and its counts of context switches: the same twice means it slept in between."""
    status = _read(pid, "status").decode()
    return [line for line in status.splitlines() if line.startswith(("State", "voluntary", "nonvoluntary"))]


def descriptors(pid: int) -> set[str]:
    """Return what the process has open: ``socket:[INODE]``, ``pipe:[INODE]`` or a path (proc(5), fd)."""
    return {str(fd.readlink()) for fd in Path(f"/proc/{pid}/fd").iterdir()}


def _default_signals() -> None:
    # A test run started in the background by a script has SIGINT ignored, and the client would rightly keep that.
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _stat(pid: int) -> list[str]:
    return _read(pid, "stat").decode(errors="replace").rpartition(")")[2].split()


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""
