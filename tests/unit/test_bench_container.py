"""The bench's container side, run here: what the load generator notices, and what a sample leaves behind."""

import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from bench import _processes
from bench._entrants import PORT, Entrant
from bench._load import Loaded, Programs
from bench._processes import Failed, listens, running, session
from bench._sections import SECTIONS, Bench
from tests.deadline import PATIENCE, until

FIRST_PORT = 12000
"""Below the ports that the kernel gives to clients (32768 and more), and not those of a bench that somebody runs."""

Behaviour = Callable[[socket.socket], None]


@pytest.fixture
def bench(programs: Path, tmp_path: Path) -> Bench:
    """A bench that measures for a short time, run as a warm-up where a test can."""
    return Bench(programs, tmp_path, quick=True, first_port=free_from(FIRST_PORT))


def free_from(port: int) -> int:
    """The first of a few ports on which nobody listens."""
    while any(listens(port + each) for each in range(8)):
        port += 8
    return port


@contextmanager
def server(behave: Behaviour) -> Iterator[int]:
    """A server on all addresses that treats each client so, one after the other; its port."""
    with socket.create_server(("0.0.0.0", 0), backlog=100) as listener:
        over = threading.Event()

        def serve() -> None:
            while True:
                connection, _ = listener.accept()
                with connection, suppress(OSError):  # the load generator may have hung up
                    if over.is_set():
                        return
                    behave(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        port = listener.getsockname()[1]
        try:
            yield port
        finally:
            over.set()
            socket.create_connection(("127.0.0.1", port)).close()
            thread.join(PATIENCE)
            assert not thread.is_alive()


def close_early(connection: socket.socket) -> None:
    """Send back one byte too few."""
    connection.sendall(connection.recv(100)[:-1])


def reset(connection: socket.socket) -> None:
    """SO_LINGER of 0 s: close(2) sends a reset (socket(7))."""
    connection.recv(100)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def flip(connection: socket.socket) -> None:
    """Change one bit of the last byte."""
    data = connection.recv(100)
    connection.sendall(data[:-1] + bytes([data[-1] ^ 1]))


def say_more(connection: socket.socket) -> None:
    """Send back one byte too many."""
    connection.sendall(connection.recv(100) + b"x")
    connection.recv(100)


def answer_another(connection: socket.socket) -> None:
    """Send back what the first client said, to everybody."""
    data = connection.recv(100)
    FIRST.append(data)
    connection.sendall(FIRST[0])


FIRST: list[bytes] = []


def say_nothing(connection: socket.socket) -> None:
    """Leave the client waiting until it goes."""
    while connection.recv(100):
        pass


@pytest.mark.parametrize(
    ("behave", "kind", "count"),
    [(close_early, "short", 5), (reset, "reset", 5), (flip, "wrong", 5), (say_more, "wrong", 5)],
)
def test_the_load_generator_names_what_is_wrong(programs: Path, behave: Behaviour, kind: str, count: int) -> None:
    """Each connection is counted once, under its own kind, and none of them as answered."""
    with server(behave) as port:
        loaded = Programs(programs).load("churn", port, concurrency=2, count=count)
    assert (loaded.errors, loaded.done) == ({kind: count}, 0)


def test_bytes_of_another_connection_are_wrong(programs: Path) -> None:
    """Clients do not all say the same: a server that mixes them up is found out."""
    FIRST.clear()
    with server(answer_another) as port:
        loaded = Programs(programs).load("churn", port, concurrency=1, count=5)
    assert (loaded.errors, loaded.done) == ({"wrong": 4}, 1)


def test_a_port_without_a_server_refuses(programs: Path) -> None:
    """Each connection is an error, and the load generator gives up after a thousand instead of going on for ever."""
    with socket.create_server(("0.0.0.0", 0)) as listener:
        port = listener.getsockname()[1]
    assert Programs(programs).load("churn", port, concurrency=2, count=5).errors == {"refused": 5}
    assert Programs(programs).load("churn", port, concurrency=64, seconds=60.0).errors == {"refused": 1000}


def test_a_client_that_waits_for_too_long_is_an_error(programs: Path) -> None:
    """The patience is 10 s; this load generator was compiled with 1 s."""
    with server(say_nothing) as port:
        loaded = Programs(programs / "hasty").load("churn", port, concurrency=1, count=1)
    assert loaded.errors == {"timeout": 1}


def test_a_wrong_byte_in_a_long_stream_is_noticed(programs: Path) -> None:
    """Bulk compares every byte, also the one after three million."""

    def behave(connection: socket.socket) -> None:
        count = 0
        while data := connection.recv(65536):
            changed = bytearray(data)
            if count <= 3_000_000 < count + len(data):
                changed[3_000_000 - count] ^= 1
            count += len(data)
            connection.sendall(changed)

    with server(behave) as port:
        loaded = Programs(programs).load("bulk", port, 30.0, concurrency=1)
    assert loaded.errors == {"wrong": 1}
    assert 0 < loaded.facts["bytes"] <= 3_000_000


def test_held_connections_must_still_be_served(programs: Path) -> None:
    """A server that answers once and then closes holds nobody."""

    def behave(connection: socket.socket) -> None:
        connection.sendall(connection.recv(100))

    with server(behave) as port, Programs(programs).holding(port, 5, 10.0) as holding:
        assert holding.opened.done == 5
        released = holding.release()
    assert released.done == 0
    assert released.errors == {"short": 5}


def test_latencies_are_in_order(programs: Path) -> None:
    """p50, p90, p99 and the most of one run; each connection has one."""

    def behave(connection: socket.socket) -> None:
        connection.sendall(connection.recv(100))

    with server(behave) as port:
        loaded = Programs(programs).load("churn", port, concurrency=4, count=200)
    low, *rest = loaded.latencies.values()
    assert [low, *rest] == sorted([low, *rest])
    assert low > 0
    assert (loaded.done, loaded.facts["bytes"], loaded.errors) == (200, 6400, {})


@pytest.mark.parametrize(
    "entrant",
    ["epoll", "fork-spare", "c-fork", "c-prefork", "c-epoll", "forking-tcpserver", "threading-tcpserver", "asyncio"],
)
def test_a_sample_has_no_errors_and_leaves_nothing(bench: Bench, entrant: str) -> None:
    """Each entrant that runs here serves its clients; then its port and its processes are gone."""
    port = bench.port()
    # The round that warms up is short: on a busy machine nobody may be served in it.
    samples = [bench.take(SECTIONS["churn-8"], entrant, warmup=True)]
    while not samples[-1].value and len(samples) < 10:
        samples.append(bench.take(SECTIONS["churn-8"], entrant, warmup=True))
    sample = samples[-1]
    assert sample.errors == {}
    assert sample.value > 0
    assert sample.cpu is not None
    assert 0 < sample.cpu <= 1.1
    assert not listens(port + 1)


@pytest.mark.parametrize("entrant", ["c-fork", "c-epoll", "asyncio"])
def test_peers_echo_whatever_comes(bench: Bench, entrant: str) -> None:
    """Four connections that send and read as fast as they can, and then a FIN: every byte comes back."""
    sample = bench.take(SECTIONS["bulk-4"], entrant, warmup=True)
    assert sample.errors == {}
    assert sample.value > 0


def test_the_relay_delays_and_changes_nothing(bench: Bench) -> None:
    """Fifty lines, each waited for, take far longer than fifty lines at once; nothing is lost on the way."""
    together = bench.take(SECTIONS["split"], "fork-split", warmup=True)
    alone = bench.take(SECTIONS["split"], "lock-step", warmup=True)
    assert together.errors == alone.errors == {}
    assert together.value > 5 * alone.value
    assert alone.details["seconds"] >= 50 * 0.020


def in_python(id: str, code: str, pool: int = 0) -> Entrant:
    """An entrant that listens on its port and then runs ``code``."""
    words = f"import os, signal, socket, time; s = socket.create_server(('', {PORT}), backlog=99)\n{code}"
    return Entrant(id, (sys.executable, "-c", words), pool)


def test_what_an_entrant_leaves_behind_is_counted_and_ended(tmp_path: Path) -> None:
    """A child that ignores SIGTERM and outlives its parent is an error; it is killed all the same."""
    code = "if os.fork() == 0: signal.signal(15, signal.SIG_IGN)\nwhile True: time.sleep(1)"
    entrant = in_python("stubborn", code)
    with running(entrant, free_from(FIRST_PORT), tmp_path / "log") as server:
        until(lambda: len(session(server.pid)) == 2, "the child is there")
        child = next(iter(server.children()))
        until(lambda: ignores_sigterm(child), "the child ignores SIGTERM")
    assert server.errors == {"left": 1}
    assert set(session(server.pid).values()) <= {"Z"}


def ignores_sigterm(pid: int) -> bool:
    """Whether bit 14 is set in the mask of ignored signals (proc_pid_status(5))."""
    status = Path("/proc", str(pid), "status").read_text()
    return bool(int(status.partition("SigIgn:")[2].split()[0], 16) >> 14 & 1)


def test_zombies_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that never waits for its children is found out when its clients have gone."""
    monkeypatch.setattr(_processes, "REST_SECONDS", 0.2)
    entrant = in_python("careless", "for _ in range(3):\n if os.fork() == 0: os._exit(0)\nwhile True: time.sleep(1)")
    with running(entrant, free_from(FIRST_PORT), tmp_path / "log") as server:
        until(lambda: list(server.children().values()).count("Z") == 3, "three children have ended")
        server.come_to_rest()
    assert server.errors == {"zombies": 3}


def test_a_zombie_that_is_waited_for_in_the_end_is_none(tmp_path: Path) -> None:
    """Also where there are no more processes than there may be: SIGCHLD and waitpid(2) take their time."""
    code = "if os.fork() == 0: os._exit(0)\ntime.sleep(1); os.wait()\nwhile True: time.sleep(1)"
    with running(in_python("slow", code, pool=1), free_from(FIRST_PORT), tmp_path / "log") as server:
        until(lambda: "Z" in server.children().values(), "the child has ended")
        server.come_to_rest()
    assert server.errors == {}


def test_an_entrant_that_does_not_start_is_told(tmp_path: Path) -> None:
    """With its own last words where it has some."""
    port = free_from(FIRST_PORT)
    with (
        pytest.raises(Failed, match="cannot start no-such-program"),
        running(Entrant("none", ("no-such-program",)), port, tmp_path / "log"),
    ):
        pass
    words = (sys.executable, "-c", "raise SystemExit('no way')")
    with (
        pytest.raises(Failed, match="hasty does not listen: no way"),
        running(Entrant("hasty", words), port, tmp_path / "log"),
    ):
        pass


def test_a_rate_of_nothing_is_nothing() -> None:
    """A run that ended at once has neither rate nor share."""
    loaded = Loaded({"done": 0, "seconds": 0.0, "cpu_seconds": 0.1, "errors": {}})
    assert (loaded.rate, loaded.cpu) == (0.0, 0.0)
