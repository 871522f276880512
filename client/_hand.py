"""A client that does as it is told: one JSON line in, ``[deed, words]``, one out, ``{"ok": …}`` or ``{"error": …}``.

``python3 -m client._hand HOST`` opens, uses and closes connections to the server on HOST for a scenario or a test, who
holds the other end of its standard input; when that closes, this ends and its connections with it. A connection is
named by its own address, under which the server's kernel knows it: ``172.31.0.3:40512``.
"""

import heapq
import json
import resource
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from client._crowd import Crowd
from protocol.ports import SERVER_PORT

patience = 30.0
"""Seconds after which an answer is given up."""

held: dict[str, socket.socket] = {}
host = sys.argv[1] if len(sys.argv) > 1 else "localhost"


def turn_to(other: str) -> None:
    """Connect to another host from now on."""
    global host
    host = other


def give_up_after(seconds: float) -> None:
    """Wait no longer than so many seconds for an answer, on connections made from now on."""
    global patience
    patience = seconds


def connect() -> socket.socket:
    """One more connection."""
    return socket.create_connection((host, SERVER_PORT), timeout=patience)


def names(connections: list[socket.socket]) -> list[str]:
    """The addresses by which the server's kernel knows these connections."""
    return ["{}:{}".format(*c.getsockname()[:2]) for c in connections]


def hear(connection: socket.socket, count: int) -> bytes:
    """Read ``count`` bytes, fewer only at EOF."""
    data = b""
    while len(data) < count and (more := connection.recv(count - len(data))):
        data += more
    return data


def open_(count: int, say: str = "") -> list[str]:
    """Connect ``count`` times; with ``say``, each has its echo back before the next command is read."""
    made = [connect() for _ in range(count)]
    held.update(zip(names(made), made, strict=True))
    for c in made:
        c.sendall(say.encode())
    for c in made:
        hear(c, len(say))
    return names(made)


def say(name: str, text: str) -> str:
    """Send a text and return what came back for it."""
    held[name].sendall(text.encode())
    return hear(held[name], len(text)).decode()


def send(name: str, text: str) -> None:
    """Send a text and read nothing."""
    held[name].sendall(text.encode())


def back(name: str, count: int) -> str:
    """Read what came back for something sent before."""
    return hear(held[name], count).decode()


def half_close(name: str) -> None:
    """Say that no more will come, and go on to listen."""
    held[name].shutdown(socket.SHUT_WR)


def end_of(name: str, seconds: float | None = None) -> str:
    """What the connection ends in, FIN or RST, reading on until it does; NONE when it says nothing for ``seconds``."""
    held[name].settimeout(patience if seconds is None else seconds)
    try:
        while held[name].recv(65536):
            pass
    except ConnectionResetError:
        return "RST"
    except TimeoutError:
        return "NONE"
    return "FIN"


def close(*which: str) -> None:
    """Close these connections, or all."""
    for name in which or list(held):
        held.pop(name).close()


def converse(mode: str, text: str) -> tuple[int, str]:
    """Run the lab's client in ``mode`` with ``text`` as its input; its exit code, and what it printed."""
    words = [sys.executable, "-m", "client", mode, "--host", host, "--raw"]
    done = subprocess.run(words, input=text.encode(), capture_output=True)
    return done.returncode, done.stdout.decode()


def round_trips(name: str, count: int) -> list[float]:
    """How many seconds each of ``count`` lines takes there and back."""
    taken = []
    for _ in range(count):
        begin = time.monotonic()
        say(name, "x\n")
        taken.append(time.monotonic() - begin)
    return taken


def arrivals(count: int) -> list[float]:
    """Come and go ``count`` times, one after the other; how many seconds each waits from connecting to its answer."""
    taken = []
    for _ in range(count):
        begin = time.monotonic()
        with connect() as connection:
            connection.sendall(b"x\n")
            connection.recv(1)
            taken.append(time.monotonic() - begin)
            hear(connection, 1)
    return taken


def visits(count: int, stay: float, before: str = "") -> list[list[float]]:
    """``count`` clients come together; each says a line, stays ``stay`` seconds from its answer on, and leaves.

    With a line ``before``, one more client says that first. It leaves when its answer is whole, and the others come
    when its answer has begun.

    Returns:
        Of each client, in the order of coming, when it came, when its answer began, when it left: seconds from the
        coming of the first.

    Raises:
        OSError: somebody has not been answered.
    """
    rows: list[list[float]] = []
    waiting = selectors.DefaultSelector()
    leaving: list[tuple[float, int, socket.socket]] = []

    def come(line: bytes) -> socket.socket:
        rows.append([time.monotonic()])
        connection = connect()
        connection.sendall(line)
        waiting.register(connection, selectors.EVENT_READ, len(rows) - 1)
        return connection

    def listen(connection: socket.socket, number: int) -> None:
        data = connection.recv(4096)
        now = time.monotonic()
        if not data:
            raise OSError("the server ended a connection without an answer")
        if len(rows[number]) == 1:
            rows[number].append(now)
        if data.endswith(b"\n"):
            waiting.unregister(connection)
            heapq.heappush(leaving, (now if before and number == 0 else now + stay, number, connection))

    def leave() -> None:
        while leaving and leaving[0][0] <= time.monotonic():
            _, number, connection = heapq.heappop(leaving)
            connection.close()
            rows[number].append(time.monotonic())

    if before:
        listen(come(before.encode() + b"\n"), 0)
    for _ in range(count):
        come(b"x\n")
    while waiting.get_map() or leaving:
        ready = waiting.select(max(0.0, leaving[0][0] - time.monotonic()) if leaving else patience)
        if not ready and not leaving:
            raise OSError(f"nobody was answered within {patience:g} s")
        for key, _ in ready:
            listen(key.fileobj, key.data)  # type: ignore[arg-type]  # it is the socket that was registered
            leave()
        leave()
    return [[moment - rows[0][0] for moment in row] for row in rows]


def clock() -> float:
    """Seconds by which CLOCK_REALTIME, the one of a capture, is ahead of CLOCK_MONOTONIC, the one of all else."""
    return time.time() - time.monotonic()


def table() -> str:
    """What the kernel says of this container's TCP sockets, also of those that no process has any more: proc_net(5)."""
    with open("/proc/net/tcp") as file:
        return file.read()


crowds: list[Crowd] = []


def crowd(clients: int, lines: int) -> None:
    """Let many clients of the service store talk, until they are told to end and each had ``lines`` back."""
    crowds[:] = [Crowd(connect, clients, lines)]


def crowd_state() -> dict[str, int]:
    """How far they are."""
    return crowds[0].state()


def crowd_end() -> dict[str, Any]:
    """Let them come to their end, and tell what they know."""
    return crowds[0].end()


DEEDS: dict[str, Callable[..., Any]] = {
    deed.__name__.rstrip("_"): deed
    for deed in (
        *(turn_to, give_up_after, open_, say, send, back, half_close, end_of, close),
        *(converse, round_trips, arrivals, visits, clock),
        *(table, crowd, crowd_state, crowd_end),
    )
}


def main() -> None:
    """Do as told until there is nobody to tell."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # thousands of connections, where 1,024 files are usual
    for line in sys.stdin:
        deed, words = json.loads(line)
        try:
            answer = {"ok": DEEDS[deed](*words)}
        except OSError as error:
            answer = {"error": str(error)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
