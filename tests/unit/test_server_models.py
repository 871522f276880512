"""What only one model promises, beside what all do."""

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from protocol import events, exits
from tests.deadline import until
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
from server._listener import Listener
from server._pool import Lifeline, fork_worker
from server._stop import Stop
listener, stop, lifeline = Listener("127.0.0.1", 0, 1, 1), Stop(1), Lifeline()
for _ in range(500):
    pid = fork_worker(listener, None, stop, lifeline, None)
    os.kill(pid, signal.SIGTERM)
    os.waitpid(pid, 0)
"""


def test_a_worker_that_is_told_to_leave_at_once() -> None:
    """SIGTERM in the first microseconds after the fork is not lost."""
    subprocess.run([sys.executable, "-c", TOLD_AT_BIRTH], cwd=ROOT, check=True, timeout=60)


@pytest.mark.parametrize("words", [("fork", "--spare", "4"), ("prefork",)])
def test_orphans_do_not_keep_the_port(words: tuple[str, ...], tmp_path: Path) -> None:
    """The parent dies by SIGKILL: idle workers leave, the busy one finishes; the port can be bound again at once."""
    with serving(tmp_path, *words, pool=4 if "--spare" in words else 16) as first, first.connect() as client:
        say(client, b"x")
        (busy,) = [event["child"] for event in first.events(events.CONNECTED)]
        workers = set(first.children())
        first.process.kill()
        first.process.wait()
        until(lambda: {pid for pid in workers if Path(f"/proc/{pid}").exists()} == {busy}, "the idle ones have left")
        assert say(client, b"to the end") == b"to the end"
        client.close()
        until(lambda: not Path(f"/proc/{busy}").exists(), "the busy one has left as well")
        (tmp_path / "second").mkdir()
        with serving(tmp_path / "second", "fork", "--port", str(first.port)) as second, second.connect() as other:
            assert say(other, b"new") == b"new"


def test_dead_worker_is_replaced(tmp_path: Path) -> None:
    """A worker that is killed is reaped, and another one takes its place."""
    with serving(tmp_path, "prefork") as server:
        victim = next(iter(server.children()))
        os.kill(victim, signal.SIGKILL)
        until(lambda: server.events(events.REAPED), "reaped")
        until(lambda: len(server.children()) == 16 and victim not in server.children(), "replaced")


def test_full_pool_says_who_waits(tmp_path: Path) -> None:
    """With all workers busy the next client waits, unharmed, and is served by the first that is free."""
    with serving(tmp_path, "prefork", "--max-connections", "2", pool=2) as server, ExitStack() as stack:
        first, second, third = (stack.enter_context(server.connect()) for _ in range(3))
        say(first, b"x")
        say(second, b"x")
        third.sendall(b"later")
        assert until(lambda: server.events(events.FULL), "the pool is full")[0]["connections"] == 2
        first.close()
        assert third.recv(5) == b"later"


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


@pytest.mark.parametrize(("model", "tasks"), [("thread", 6), ("select", 1), ("poll", 1), ("epoll", 1)])
def test_one_process_serves_all(model: str, tasks: int, tmp_path: Path) -> None:
    """Five clients are served at once by one process, of one thread or of one for each of them."""
    with serving(tmp_path, model) as server, ExitStack() as stack:
        for client in reversed([stack.enter_context(server.connect()) for _ in range(5)]):
            say(client, b"x")
        assert not server.children()
        assert len(list(Path(f"/proc/{server.process.pid}/task").iterdir())) == tasks
