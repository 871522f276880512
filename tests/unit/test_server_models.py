"""What only one model promises, beside what all do."""

import errno
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from protocol import events, exits
from tests.deadline import PATIENCE, until
from tests.unit.serving import ROOT, Server, say, serving

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the server runs in Linux containers")

SPARE = 4


@pytest.fixture
def spare(tmp_path: Path) -> Iterator[Server]:
    """A fork server that keeps four children waiting."""
    with serving(tmp_path, "fork", "--spare", str(SPARE), pool=SPARE) as running:
        yield running


def test_spare_children_serve_one_client_each(spare: Server) -> None:
    """The client gets a child that was there before it came; each serves one; the next is forked meanwhile."""
    ahead = set(spare.children())
    with spare.connect() as client:
        say(client, b"x")
        until(lambda: len(spare.children()) == SPARE + 1, "another one waits in its place")
    for _ in range(20):
        with spare.connect() as client:
            say(client, b"x")
    until(lambda: len(spare.events(events.REAPED)) == 21, "each has left after its client")
    served_by = [event["child"] for event in spare.events(events.CONNECTED)]
    assert served_by[0] in ahead
    assert len(set(served_by)) == 21
    until(lambda: len(spare.children()) == SPARE and "Z" not in spare.children().values(), "four wait again")


def test_spare_drains_and_leaves_nobody(spare: Server) -> None:
    """At SIGTERM those that wait leave at once, the one that serves finishes first."""
    with spare.connect() as client:
        say(client, b"before")
        spare.process.terminate()
        until(lambda: len(spare.children()) == 1, "only the serving one is left")
        assert say(client, b"during") == b"during"
    assert spare.process.wait(15) == exits.OK


TOLD_AT_BIRTH = """
import os, signal
from server._conversation import Handle
from server._listener import Listener
from server._pool import Lifeline, fork_worker
from server._stop import Stop
from server.services import echo
listener, stop, lifeline = Listener("127.0.0.1", 0, 1, 1), Stop(1), Lifeline()
for _ in range(500):
    pid = fork_worker(listener, Handle(echo, 0, stop), stop, lifeline, None)
    os.kill(pid, signal.SIGTERM)
    os.waitpid(pid, 0)
"""


def test_a_worker_that_is_told_to_leave_at_once() -> None:
    """SIGTERM in the first microseconds after the fork is not lost."""
    subprocess.run([sys.executable, "-c", TOLD_AT_BIRTH], cwd=ROOT, check=True, timeout=60)


POOLS = [("fork", "--spare", "2"), ("prefork", "--max-connections", "2")]


def served_by(server: Server, client: socket.socket) -> int:
    """The PID of the worker that has this client."""
    say(client, b"x")
    peer = "{}:{}".format(*client.getsockname())
    (pid,) = [event["child"] for event in server.events(events.CONNECTED) if event["peer"] == peer]
    return int(pid)


@pytest.mark.parametrize("words", POOLS)
def test_a_busy_worker_may_be_told_twice(words: tuple[str, ...], tmp_path: Path) -> None:
    """SIGTERM to the process group reaches a worker before its parent's: its client is served to the end all the same.

    SIGINT ends it now, and the log says that the conversation was cut.
    """
    with serving(tmp_path, *words, pool=2) as server, server.connect() as client, server.connect() as other:
        told, cut = served_by(server, client), served_by(server, other)
        for _ in range(3):
            os.kill(told, signal.SIGTERM)
            assert say(client, b"still") == b"still"
        os.kill(cut, signal.SIGINT)
        assert other.recv(1) == b""
        client.close()
        until(lambda: len(server.events(events.DISCONNECTED)) == 2, "both are told of")
        reasons = {event["pid"]: event["reason"] for event in server.events(events.DISCONNECTED)}
        assert reasons == {told: events.REASON_END, cut: events.REASON_CUT}


@pytest.mark.parametrize("words", POOLS)
@pytest.mark.parametrize("busy", [1, 2])
def test_orphans_do_not_keep_the_port(busy: int, words: tuple[str, ...], tmp_path: Path) -> None:
    """The parent dies by SIGKILL: idle workers leave, the port can be bound at once, and who is served is served on.

    That is so when one worker is busy and when all are.
    """
    with serving(tmp_path, *words, pool=2) as first, ExitStack() as stack:
        clients = [stack.enter_context(first.connect()) for _ in range(busy)]
        serve = {served_by(first, client) for client in clients}
        workers = set(first.children())
        first.process.kill()
        first.process.wait()
        until(lambda: set(filter(alive, workers)) == serve, "the idle ones have left")
        until(lambda: refuses(first.port), "nobody listens")
        (tmp_path / "second").mkdir()
        with serving(tmp_path / "second", "fork", "--port", str(first.port)) as second, second.connect() as other:
            assert say(other, b"new") == b"new"
            assert [say(client, b"to the end") for client in clients] == [b"to the end"] * busy
        stack.close()
        until(lambda: not any(map(alive, serve)), "the busy ones have left as well")


@pytest.mark.parametrize("words", POOLS)
def test_the_port_is_free_while_workers_drain(words: tuple[str, ...], tmp_path: Path) -> None:
    """After SIGTERM new clients are refused, not connected and forgotten, as long as those before them are served."""
    with serving(tmp_path, *words, "--drain", "60", pool=2) as server, server.connect() as client:
        say(client, b"before")
        server.process.terminate()
        until(lambda: refuses(server.port), "nobody listens")
        assert say(client, b"during") == b"during"


def alive(pid: int) -> bool:
    """Whether there is such a process, and not only its exit status."""
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


def refuses(port: int) -> bool:
    """Whether nobody listens there."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == errno.ECONNREFUSED


def test_dead_worker_is_replaced(tmp_path: Path) -> None:
    """A worker that is killed is reaped, and another one takes its place."""
    with serving(tmp_path, "prefork") as server:
        victim = next(iter(server.children()))
        os.kill(victim, signal.SIGKILL)
        until(lambda: server.events(events.REAPED), "reaped")
        until(lambda: len(server.children()) == 16 and victim not in server.children(), "replaced")


DIE_AT_BIRTH = """
import importlib, os, signal, sys
from server import _pool
from server._conversation import Handle
from server._listener import Listener
from server._log import speak
from server._stop import Stop
from server.services import echo
speak("json")
_pool._work = lambda *_: os._exit(1)
listener, stop = Listener("127.0.0.1", 0, 1, 4, 4), Stop(0)
signal.setitimer(signal.ITIMER_REAL, 1)
importlib.import_module(f"server.{sys.argv[1]}").serve(listener, Handle(echo, 0, stop), stop)
"""


@pytest.mark.parametrize("model", ["fork", "prefork"])
def test_workers_that_die_at_birth(model: str) -> None:
    """What kills each of four workers at once is tried again after 0.1 s, then 0.2, 0.4: four times in a second."""
    command = [sys.executable, "-c", DIE_AT_BIRTH, model]
    log = subprocess.check_output(command, cwd=ROOT, text=True, timeout=60)
    assert 4 <= log.count(f'"{events.REAPED}"') <= 4 * 4


def test_a_round_of_deaths_is_one(tmp_path: Path) -> None:
    """Sixteen young workers that are killed together are replaced as soon as a single one would be."""
    with serving(tmp_path, "prefork") as server:
        victims = set(server.children())
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        until(lambda: set(server.children()) - victims, "the next round", patience=4)  # the longest delay is 5 s


def test_an_old_death_ends_no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pause that the young have caused goes on when an old worker dies; then an old one's death begins anew."""
    from server._listener import Listener
    from server._pool import DELAYS, YOUNG, BackOff

    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    listener = Listener("127.0.0.1", 0, 1, 1)
    back_off, old = BackOff(listener), now - 10 * YOUNG
    back_off.bury([old, now])
    assert listener.pause_left() == pytest.approx(DELAYS[0])
    back_off.bury([old])
    back_off.bury([now])
    assert listener.pause_left() == pytest.approx(DELAYS[0])
    now += 1.1 * DELAYS[0]
    assert listener.pause_left() <= 0
    back_off.bury([now])
    assert listener.pause_left() == pytest.approx(2 * DELAYS[0])
    listener.close()


def test_full_pool_says_who_waits(tmp_path: Path) -> None:
    """With all workers busy the next client waits, unharmed, and is served by the first that is free.

    How many wait is told again when it has changed.
    """
    with serving(tmp_path, "prefork", "--max-connections", "2", pool=2) as server, ExitStack() as stack:
        first, second, third = (stack.enter_context(server.connect()) for _ in range(3))
        say(first, b"x")
        say(second, b"x")
        third.sendall(b"later")
        assert until(lambda: server.events(events.FULL), "the pool is full")[0]["connections"] == 2
        until(lambda: server.events(events.FULL)[-1]["waiting"] == 1, "one waits")
        for _ in range(20):
            stack.enter_context(server.connect())
        until(lambda: server.events(events.FULL)[-1]["waiting"] == 21, "many wait")
        first.close()
        assert third.recv(5) == b"later"


ENDLESS = """
import os, sys
from server._conversation import Handle
from server._serve import load

class Endless:
    device = os.open("/dev/zero", os.O_RDWR)

    def recv(self, size, flags):
        return bytes(99) + b"\\n"

    def send(self, data, flags):
        return len(data)

    def fileno(self):
        return self.device

    def setblocking(self, blocks):
        pass

class Torrent(Endless):
    def recv(self, size, flags):
        return bytes(size)

for connection in Endless(), Torrent():
    talk = Handle(load("server.services." + sys.argv[1]), 0, None).begin(connection, "")
    for _ in range(5):
        before = talk.echoed
        print(talk.step(), talk.echoed - before)
"""


@pytest.mark.parametrize("service", ["echo", "compute"])
def test_who_never_stops_holds_up_nobody(service: str) -> None:
    """In an event loop the others get their turn after a MiB, though the peer has always more to say, and takes all."""
    words = [sys.executable, "-c", ENDLESS, service]
    said = subprocess.run(words, cwd=ROOT, check=True, capture_output=True, text=True, timeout=PATIENCE).stdout
    turns = [tuple(map(int, line.split())) for line in said.splitlines()]
    assert len(turns) == 10
    for waits, echoed in turns:
        assert waits == select.POLLIN
        assert 0 < echoed <= 1 << 20


def test_beyond_fd_setsize(tmp_path: Path) -> None:
    """A client whose descriptor select(2) cannot hold is turned away with a line; all others are served on."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 2600:
        pytest.skip("this system does not allow 2,600 descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (2600, hard))
    try:
        with serving(tmp_path, "select", "--max-connections", "2000") as server, ExitStack() as stack:
            clients = [stack.enter_context(server.connect()) for _ in range(1030)]
            refused = until(lambda: server.events(events.REFUSED), "turned away")
            assert refused[0]["fd"] == 1024
            assert clients[-1].recv(1) == b""
            assert say(clients[0], b"first") == b"first"
            assert say(clients[1000], b"last") == b"last"
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_threads_count_together(tmp_path: Path) -> None:
    """Fifty clients at once, and not one of them, nor a byte, is lost in the statistics."""
    with serving(tmp_path, "thread") as server:
        with ExitStack() as stack:
            for client in [stack.enter_context(server.connect()) for _ in range(50)]:
                say(client, b"twenty bytes to echo")
        until(server.at_rest, "all have left")
        assert server.stop() == exits.OK
        (served,) = server.events(events.SERVED)
        assert (served["clients"], served["bytes"]) == (50, 1000)


NO_THREAD = """
import socket, threading
from server._conversation import Handle
from server._listener import PAUSE, Listener
from server._log import speak
from server._stop import Stop
from server import thread
from server.services import echo
speak("json")
start, refused = threading.Thread.start, []
def refuse_three_times(self):
    refused.append(self)
    if len(refused) <= 3:
        raise RuntimeError("can't start new thread")
    start(self)
threading.Thread.start = refuse_three_times
listener, stop = Listener("127.0.0.1", 0, 1, 4), Stop(60)
with socket.create_connection(listener.address) as client:
    client.shutdown(socket.SHUT_WR)
    def serve_one_and_stop(connection, peer):
        stop.asked = True
        return Handle(echo, 0, stop)(connection, peer)
    thread.serve(listener, serve_one_and_stop, stop)
assert len(refused) == 4
"""


def test_a_client_is_connected_once() -> None:
    """While no thread can be started a client waits, and is not told of again and again."""
    log = subprocess.check_output([sys.executable, "-c", NO_THREAD], cwd=ROOT, text=True, timeout=60)
    assert log.count(f'"{events.FORK_FAILED}"') == 1
    assert log.count(f'"{events.CONNECTED}"') == 1
    assert log.index(events.CONNECTED) > log.index(events.FORK_FAILED)


def test_link_local_addresses_have_a_scope() -> None:
    """An address as fe80::1%2 is bound on that interface. Without it the kernel says EINVAL, as of a wrong call."""
    from server._listener import Listener

    entries = Path("/proc/net/if_inet6")  # address, interface, prefix, scope (20 is link), flags, name
    if not entries.exists():
        pytest.skip("this system has no IPv6")
    rows = [line.split() for line in entries.read_text().splitlines()]
    digits, scope = next((row[:2] for row in rows if row[3] == "20"), ["fe80" + "1".zfill(28), "1"])
    refused = 0
    try:
        Listener(f"{socket.inet_ntop(socket.AF_INET6, bytes.fromhex(digits))}%{int(scope, 16)}", 0, 1, 1).close()
    except OSError as error:
        refused = error.errno or 0
    assert refused in (0, errno.EADDRNOTAVAIL)  # this machine has no such address


@pytest.mark.parametrize(("model", "tasks"), [("thread", 6), ("select", 1), ("poll", 1), ("epoll", 1)])
def test_one_process_serves_all(model: str, tasks: int, tmp_path: Path) -> None:
    """Five clients are served at once by one process, of one thread or of one for each of them."""
    with serving(tmp_path, model) as server, ExitStack() as stack:
        for client in reversed([stack.enter_context(server.connect()) for _ in range(5)]):
            say(client, b"x")
        assert not server.children()
        assert len(list(Path(f"/proc/{server.process.pid}/task").iterdir())) == tasks
