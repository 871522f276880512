"""What every model promises its clients, seen from a client on the loopback device."""

import ctypes
import hashlib
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from protocol import events, exits
from tests.deadline import PATIENCE, until
from tests.unit.serving import MODELS, ROOT, Server, hear, say, serving

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the server runs in Linux containers")

NO_WAIT_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER on, zero seconds: close() sends RST (socket(7))."""


@pytest.fixture(params=MODELS)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    """A server of each model."""
    with serving(tmp_path, request.param) as running:
        yield running


def test_each_byte_comes_back(server: Server) -> None:
    """All 256 values return in order."""
    with server.connect() as client:
        assert say(client, bytes(range(256))) == bytes(range(256))


@pytest.mark.parametrize("size", [0, 1, 4095, 65536, 65537, 16 << 20])
def test_any_size_comes_back_and_then_fin(server: Server, size: int) -> None:
    """A client that writes all, half-closes and reads gets every byte and then EOF."""
    data = os.urandom(size)
    with server.connect() as client:

        def write() -> None:
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)

        writer = threading.Thread(target=write)
        writer.start()
        digest = hashlib.sha256()
        while more := client.recv(1 << 16):
            digest.update(more)
        writer.join()
    assert digest.digest() == hashlib.sha256(data).digest()
    until(lambda: [e for e in server.events(events.DISCONNECTED) if e["bytes"] == size], "told with its bytes")
    assert server.events(events.DISCONNECTED)[-1]["reason"] == events.REASON_END


@pytest.mark.parametrize("model", MODELS)
def test_bulk_goes_through_a_pipe(model: str, tmp_path: Path) -> None:
    """Who fills the largest buffer is echoed through a pipe (splice(2)), byte for byte; it is gone when they have gone.

    Without a descriptor left for a pipe, the bytes come back all the same.
    """
    import resource

    data = os.urandom(8 << 20)
    with serving(tmp_path, model) as server:
        before = server.descriptors()

        def pipes() -> int:
            if model in ("fork", "prefork"):  # in a child: with its end, or that of the pool's own pipes, all is closed
                return 0
            held = [Path(f"/proc/{pid}/fd") for pid in (server.process.pid, *server.children())]
            return sum(str(fd.readlink()).startswith("pipe:") for folder in held for fd in folder.iterdir())

        at_rest = pipes()
        for limited in (False, True):
            with server.connect() as client:
                assert say(client, b"hello") == b"hello"
                holders = [server.process.pid, *server.children()]
                hard = resource.prlimit(holders[0], resource.RLIMIT_NOFILE)[1]
                for pid in holders if limited else ():
                    resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, hard))
                writer = threading.Thread(target=client.sendall, args=(data,))
                writer.start()
                assert hear(client, len(data)) == data
                writer.join()
                assert pipes() == at_rest + (0 if limited or model in ("fork", "prefork") else 2)
                for pid in holders if limited else ():
                    resource.prlimit(pid, resource.RLIMIT_NOFILE, (hard, hard))
            until(lambda: server.at_rest() and pipes() == at_rest, "the pipe is closed")
        assert server.descriptors() == before


def test_reset_is_survived(server: Server) -> None:
    """A client that resets its connection harms nobody; the server says so and goes on."""
    with server.connect() as rude:
        assert say(rude, b"x") == b"x"
        rude.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_WAIT_RESET)
    until(lambda: server.events(events.DISCONNECTED), "the reset is noticed")
    assert server.events(events.DISCONNECTED)[0]["reason"] == events.REASON_RESET
    with server.connect() as next_one:
        assert say(next_one, b"still there") == b"still there"


def test_peer_that_leaves_while_written_to(server: Server) -> None:
    """A client that goes with unread echo in its buffer causes EPIPE or RST in the server, not its death."""
    with server.connect() as client:
        client.sendall(os.urandom(1 << 16))
    until(lambda: server.events(events.DISCONNECTED), "it has ended")
    with server.connect() as next_one:
        assert say(next_one, b"alive") == b"alive"


def test_gone_before_accept(server: Server) -> None:
    """Connections reset while still in the backlog are skipped."""
    server.process.send_signal(signal.SIGSTOP)
    for _ in range(5):
        with server.connect() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_WAIT_RESET)
    server.process.send_signal(signal.SIGCONT)
    with server.connect() as client:
        assert say(client, b"next") == b"next"


def test_signals_interrupt_nothing(server: Server) -> None:
    """A hundred SIGCHLDs from outside while bytes flow: every byte comes back (EINTR is not an error)."""
    with server.connect() as client:
        for _ in range(100):
            server.process.send_signal(signal.SIGCHLD)
            assert say(client, b"ping") == b"ping"


@pytest.mark.parametrize("model", MODELS)
def test_orphans_are_waited_for(model: str, tmp_path: Path) -> None:
    """Whoever inherits the orphans of the container, as PID 1 or as here a subreaper, leaves no zombie.

    The orphans are the store's keeper and recorder.
    """
    words = ["--service", "store", "--store", str(tmp_path / "store.log"), "--max-connections", "2"]
    pool = 2 if model == "prefork" else 0
    with serving(tmp_path, model, *words, pool=pool + 1, before=become_subreaper) as server:
        recorder = until(lambda: server.events(events.RECORDING), "the recorder is there")[0]["pid"]
        (keeper,) = [pid for pid in server.children() if Path(f"/proc/{pid}/comm").read_text() == "keeper\n"]
        os.kill(keeper, signal.SIGKILL)
        until(lambda: keeper not in server.children(), "the keeper is no zombie")
        until(lambda: recorder in server.children(), "the recorder is an orphan, too")
        os.kill(recorder, signal.SIGKILL)
        until(lambda: recorder not in server.children(), "the recorder is no zombie")


def become_subreaper() -> None:
    """Inherit the orphans among one's descendants (PR_SET_CHILD_SUBREAPER, 36: prctl(2)); execve(2) keeps it."""
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)


def test_no_descriptor_stays(server: Server) -> None:
    """After 200 connections the server holds the descriptors that it held before."""
    with server.connect() as client:
        say(client, b"warm")
    until(lambda: server.events(events.CONNECTED) and server.at_rest(), "the first has left")
    before = server.descriptors()
    for _ in range(200):
        with server.connect() as client:
            say(client, b"x")
    until(server.at_rest, "all have left")
    until(lambda: server.descriptors() == before, "the descriptors are as before")


@pytest.mark.parametrize("model", MODELS)
def test_idle_peer_is_given_up(model: str, tmp_path: Path) -> None:
    """With --idle-timeout a client that says nothing is ended with FIN, and told apart in the log."""
    with serving(tmp_path, model, "--idle-timeout", "0.2") as server, server.connect() as client:
        assert client.recv(1) == b""
        until(lambda: server.events(events.DISCONNECTED), "it is told")
        assert server.events(events.DISCONNECTED)[0]["reason"] == events.REASON_IDLE


@pytest.mark.parametrize("model", MODELS)
def test_sigterm_drains(model: str, tmp_path: Path) -> None:
    """After SIGTERM the port refuses new clients, the one being served finishes, and the exit status is 0."""
    with serving(tmp_path, model, "--drain", "30") as server, server.connect() as client:
        say(client, b"before")
        server.process.terminate()
        until(lambda: server.events(events.DRAINING), "draining")
        assert say(client, b"during") == b"during"
        client.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b""
        assert server.process.wait(PATIENCE) == exits.OK
        with pytest.raises(ConnectionRefusedError):
            server.connect()


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(("drain", "numbers"), [("0", ["TERM"]), ("0.2", ["TERM"]), ("60", ["TERM", "TERM"])])
def test_drain_is_bounded(model: str, drain: str, numbers: list[str], tmp_path: Path) -> None:
    """A client that never ends is ended when the time is up, or at a second SIGTERM."""
    with serving(tmp_path, model, "--drain", drain) as server, server.connect() as client:
        say(client, b"x")
        for count, number in enumerate(numbers, 1):
            server.process.send_signal(getattr(signal, f"SIG{number}"))
            until(lambda: server.events(events.DRAINING) or server.process.poll() is not None, f"signal {count}")
        assert server.process.wait(PATIENCE) == exits.OK
        assert client.recv(1) == b""


ASKED_BETWEEN = """
import os, signal, sys
from server._crowd import Crowd
from server._serve import main

has_room = Crowd.has_room

def and_then_a_signal(crowd):
    room = has_room(crowd)
    if crowd._talks and not crowd._stop.asked and sys._getframe(1).f_code.co_name == "serve":
        os.kill(os.getpid(), signal.SIGTERM)
    return room

Crowd.has_room = and_then_a_signal
raise SystemExit(main())
"""


@pytest.mark.parametrize("model", ["select", "poll", "epoll"])
def test_a_signal_may_come_between_any_two_lines(model: str) -> None:
    """SIGTERM after an event loop has found that there is room, and before it looks whether it shall end."""
    words = {"model": model, "module": f"{model}_loop", "service": "echo", "host": "127.0.0.1", "port": "0"}
    words |= {"backlog": "5", "spare": "0", "idle-timeout": "0", "drain": "10", "log": "json"}
    environment = os.environ | {f"forklab.{key}": value for key, value in words.items()}
    command, pipe = [sys.executable, "-c", ASKED_BETWEEN], subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=pipe, stderr=pipe) as process:
        assert process.stdout
        port = json.loads(process.stdout.readline())["port"]
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as client:
            say(client, b"x")
            told = [json.loads(process.stdout.readline())["event"] for _ in range(2)]
            client.shutdown(socket.SHUT_WR)
            _, error = process.communicate(timeout=PATIENCE)
    assert told == [events.CONNECTED, events.DRAINING]
    assert (process.returncode, error) == (exits.OK, b"")


@pytest.mark.parametrize("model", MODELS)
def test_sigint_stops_at_once(model: str, tmp_path: Path) -> None:
    """SIGINT ends open conversations without waiting for the drain."""
    with serving(tmp_path, model, "--drain", "600") as server, server.connect() as client:
        say(client, b"x")
        assert server.stop(signal.SIGINT) == exits.OK
        assert client.recv(1) == b""
        assert server.events(events.STOPPED)


@pytest.mark.parametrize("model", MODELS)
def test_descriptor_limit_is_survived(model: str, tmp_path: Path) -> None:
    """At RLIMIT_NOFILE clients wait in the backlog, nothing spins, and they are served once there is room."""
    import resource

    with serving(tmp_path, model) as server:
        before = sockets(server.process.pid, *server.children())
        with server.connect() as client:
            say(client, b"warm")
        until(lambda: server.events(events.CONNECTED) and server.at_rest(), "idle")
        until(lambda: sockets(server.process.pid, *server.children()) == before, "what served it has closed it")
        pid, hard = server.process.pid, resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)[1]
        for process in (pid, *server.children()):
            held = len(list(Path(f"/proc/{process}/fd").iterdir()))
            resource.prlimit(process, resource.RLIMIT_NOFILE, (held, hard))
        with server.connect() as client:
            client.sendall(b"patience")
            until(lambda: server.events(events.ACCEPT_FAILED), "EMFILE is told")
            spent = sum(map(cpu_ticks, (pid, *server.children())))
            client.settimeout(0.5)
            with pytest.raises(TimeoutError):
                client.recv(1)
            more = sum(map(cpu_ticks, (pid, *server.children()))) - spent
            assert more <= 10, "the server spins on a listener it cannot accept from"
            tellers = [event["pid"] for event in server.events(events.ACCEPT_FAILED)]
            assert len(tellers) == len(set(tellers)), "each process tells it once"
            for process in (pid, *server.children()):
                resource.prlimit(process, resource.RLIMIT_NOFILE, (hard, hard))
            client.settimeout(15)
            assert hear(client, 8) == b"patience"


def sockets(*pids: int) -> int:
    """How many descriptors of sockets the processes have together."""
    links = [os.readlink(fd) for pid in pids for fd in Path(f"/proc/{pid}/fd").iterdir()]
    return sum(link.startswith("socket:") for link in links)


def cpu_ticks(pid: int) -> int:
    """Processor time that a process has used, in clock ticks (1/100 s)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["frok"], "frok"),
        (["fork", "--port", "abc"], "abc"),
        (["fork", "--port", "70000"], "70000"),
        (["fork", "--service", "ehco"], "ehco"),
        (["fork", "--max-connections", "0"], "0"),
        (["poll", "--spare", "2"], "--spare 2"),
        ([], "MODEL"),
    ],
)
def test_wrong_words(words: list[str], named: str) -> None:
    """A wrong word is named in one line, with exit code 2."""
    import subprocess

    done = subprocess.run([sys.executable, "-m", "server", *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == exits.USAGE
    assert named in done.stderr
    assert done.stderr.count("\n") == 1


def test_port_taken(server: Server) -> None:
    """A port that another server has is named, with exit code 4 and no traceback."""
    import subprocess

    command = [sys.executable, "-m", "server", "fork", "--host", "127.0.0.1", "--port", str(server.port)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == exits.LAB_FAILED
    assert str(server.port) in done.stderr
    assert "Traceback" not in done.stderr
