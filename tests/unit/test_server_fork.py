"""What only the fork server promises: a process a connection, none left behind, and no harm from one to another.

FORKLAB_HELD=10000 holds so many clients at once.
"""

import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from protocol import events
from tests.deadline import until
from tests.unit.serving import ROOT, Server, say, serving

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the server runs in Linux containers")

HELD = int(os.environ.get("FORKLAB_HELD", "400"))
"""Clients at the same time, of which one in ten loses its process."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A fork server."""
    with serving(tmp_path, "fork") as running:
        yield running


def sockets_of(pid: int) -> set[str]:
    """The sockets that a process holds, as /proc names them."""
    targets = {str(path.readlink()) for path in Path(f"/proc/{pid}/fd").iterdir()}
    return {target for target in targets if target.startswith("socket:")}


def test_each_side_closes_what_is_not_its_own(server: Server) -> None:
    """The parent holds the listener only; each child one connection, its own, and not the parent's signal pipe."""
    with ExitStack() as stack:
        for client in [stack.enter_context(server.connect()) for _ in range(5)]:
            say(client, b"x")
        until(lambda: len(server.children()) == 5, "five children")
        # The last child may answer before the parent has closed its copy.
        until(lambda: len(sockets_of(server.process.pid)) == 1, "the parent holds the listener only")
        (listener,) = sockets_of(server.process.pid)
        held = [sockets_of(child) for child in server.children()]
        assert all(len(one) == 1 for one in held)
        assert len(set.union(*held) | {listener}) == 6
        for child in server.children():
            assert len(list(Path(f"/proc/{child}/fd").iterdir())) == 4  # 0, 1, 2 and the connection


def test_five_children_end_together(server: Server) -> None:
    """With the parent stopped until five are zombies there is one SIGCHLD pending; all five are reaped all the same."""
    with ExitStack() as stack:
        for client in [stack.enter_context(server.connect()) for _ in range(5)]:
            say(client, b"x")
        server.process.send_signal(signal.SIGSTOP)
    until(lambda: list(server.children().values()) == ["Z"] * 5, "five zombies")
    server.process.send_signal(signal.SIGCONT)
    until(lambda: not server.children(), "no zombie")
    assert [event["status"] for event in server.events(events.REAPED)] == [0] * 5


def test_killed_child_harms_nobody(server: Server) -> None:
    """One child dies by SIGKILL: its client sees the end, the others are served on, the parent names the signal."""
    with server.connect() as doomed, server.connect() as lucky:
        say(doomed, b"x")
        say(lucky, b"x")
        first = server.events(events.CONNECTED)[0]["child"]
        os.kill(first, signal.SIGKILL)
        assert doomed.recv(1) == b""
        assert say(lucky, b"still") == b"still"
        reaped = until(lambda: server.events(events.REAPED), "reaped")
        assert (reaped[0]["child"], reaped[0]["signal"]) == (first, "SIGKILL")


def test_real_time_signal_has_no_name(server: Server) -> None:
    """A child killed by a signal that Python has no name for does not take the parent along."""
    with server.connect() as client:
        say(client, b"x")
        (connected,) = until(lambda: server.events(events.CONNECTED), "the parent tells of it")
        os.kill(connected["child"], signal.SIGRTMIN + 3)
        until(lambda: server.events(events.REAPED), "reaped")
    with server.connect() as client:
        assert say(client, b"x") == b"x"


def test_fin_goes_out_while_the_parent_still_holds_a_copy(server: Server) -> None:
    """The child ends the connection by shutdown: a parent stopped before its close cannot keep the client waiting."""
    with server.connect() as client:
        say(client, b"x")
        server.process.send_signal(signal.SIGSTOP)
        client.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b""


def test_cap_leaves_clients_in_the_backlog(tmp_path: Path) -> None:
    """The third client of two allowed waits, unharmed, and is served when one has left."""
    with (
        serving(tmp_path, "fork", "--max-connections", "2") as server,
        server.connect() as first,
        server.connect() as second,
        server.connect() as third,
    ):
        say(first, b"x")
        say(second, b"x")
        third.sendall(b"later")
        until(lambda: server.events(events.FULL), "the cap is told")
        assert len(server.children()) == 2
        first.close()
        assert third.recv(5) == b"later"


def test_restart_with_clients_attached(tmp_path: Path) -> None:
    """The parent dies by SIGKILL; its children serve on, and a new server binds the same port at once."""
    with serving(tmp_path, "fork") as first, first.connect() as client:
        say(client, b"x")
        first.process.kill()
        first.process.wait()
        (tmp_path / "second").mkdir()
        with serving(tmp_path / "second", "fork", "--port", str(first.port)) as second:
            assert say(client, b"orphan serves on") == b"orphan serves on"
            with second.connect() as other:
                assert say(other, b"new") == b"new"


def test_log_lines_are_whole(server: Server) -> None:
    """Fifty processes write one log at once: each line is whole, and each client appears in it as it came and went."""
    with ExitStack() as stack:
        for client in [stack.enter_context(server.connect()) for _ in range(50)]:
            say(client, b"x")
    until(lambda: len(server.events(events.REAPED)) == 50, "fifty reaped")
    connected = {event["child"] for event in server.events(events.CONNECTED)}
    assert connected == {event["pid"] for event in server.events(events.DISCONNECTED)}
    assert connected == {event["child"] for event in server.events(events.REAPED)}


def test_the_log_in_plain_words() -> None:
    """Without --log json each event is a sentence, with PIDs and descriptors."""
    command = [sys.executable, "-m", "server", "fork", "--host", "127.0.0.1", "--port", "0"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        parent = process.pid
        port = re.search(r":(\d+): model fork, service echo", process.stdout.readline())
        assert port
        with socket.create_connection(("127.0.0.1", int(port[1]))) as client:
            peer = "{}:{}".format(*client.getsockname())
            say(client, b"hello")
            client.shutdown(socket.SHUT_WR)
            client.recv(1)
        lines = [process.stdout.readline().rstrip() for _ in range(3)]
        process.terminate()
        rest = process.stdout.read()
    connected = re.fullmatch(
        rf"\[{parent}\] client connected: {peer}, descriptor \d+, served by process (\d+)", lines[0]
    )
    assert connected, lines
    child = connected[1]
    assert set(lines[1:]) == {
        f"[{child}] client disconnected: {peer}, 5 bytes echoed, end of input",
        f"[{parent}] process removed: {child}, exit status 0",
    }
    assert rest == f"[{parent}] draining: no new clients; those being served have 10 s\n[{parent}] stopped\n"


def test_many_held_and_some_killed(tmp_path: Path) -> None:
    """Of many clients at once none is lost but those whose processes are killed; SIGTERM ends the rest in its time."""
    left = HELD - HELD // 10
    room = ["--max-connections", str(HELD)]
    with serving(tmp_path, "fork", "--drain", "1", *room) as server, ExitStack() as stack:
        clients = [stack.enter_context(server.connect()) for _ in range(HELD)]
        assert all(say(client, b"here") == b"here" for client in clients)
        for pid in random.sample(sorted(server.children()), HELD // 10):
            os.kill(pid, signal.SIGKILL)
        until(lambda: len(server.children()) == left, "the killed are reaped")
        answers = [answer(client) for client in clients]
        assert answers.count(b"still") == left
        assert answers.count(b"") == HELD // 10
        told = time.monotonic()
        assert server.stop() == 0
        print(f"{HELD} held, {HELD // 10} killed, the other {left} served; drained in {time.monotonic() - told:.1f} s")
        assert server.events(events.CUT)[0]["connections"] == left


def answer(client: socket.socket) -> bytes:
    """What a client gets back; nothing when the other end is gone."""
    try:
        return say(client, b"still")
    except ConnectionError:
        return b""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_ends_a_child_and_nobody_else(server: Server, name: str) -> None:
    """A child has inherited its parent's handlers, and yet dies of the signal itself; the parent does not drain."""
    with server.connect() as client, ExitStack() as stack:
        say(client, b"x")
        (child,) = server.children()
        other = stack.enter_context(server.connect())
        say(other, b"x")
        os.kill(child, getattr(signal, name))
        until(
            lambda: [e.get("signal") for e in server.events(events.REAPED)] == [name], "it is reaped, and why it died"
        )
        assert client.recv(1) == b""
        assert say(other, b"still") == b"still"
        assert say(stack.enter_context(server.connect()), b"new") == b"new"
        assert not server.events(events.DRAINING)
