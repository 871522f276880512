"""The two processes of the split client always end together, whoever of them or of their neighbours dies first."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from tests.deadline import PATIENCE, until
from tests.unit import peers
from tests.unit.peers import Client, Peer, children, peer, running

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the client forks, and the tests read /proc")


def test_two_processes() -> None:
    """While the conversation lasts there are a reader and its one child; neither is there afterwards."""
    with peer(peers.echo) as server, running(server.port) as client:
        writer = client.writer()
        assert sorted(client.processes()) == sorted([client.pid, writer])
        client.end(b"q\n")


def test_descriptors_are_divided() -> None:
    """Both hold the connection; standard input is the writer's alone, standard output the reader's alone."""
    with peer(peers.echo) as server, running(server.port) as client:
        client.round_trip()
        reader, writer = peers.descriptors(client.pid), peers.descriptors(client.writer())
        assert client.stdin is not None
        assert client.stdout is not None
        typed, printed = (name_of(stream) for stream in (client.stdin, client.stdout))
        assert (typed in writer, typed in reader) == (True, False)
        assert (printed in writer, printed in reader) == (False, True)
        assert [name for name in reader & writer if name.startswith("socket:")]
        client.end()


def test_part_of_a_line_is_sent_at_once() -> None:
    """What is typed is on its way before its newline."""
    with peer(peers.echo) as server, running(server.port) as client:
        client.type(b"part")
        until(lambda: server.received == b"part", "the part of a line has arrived")
        client.end()


def test_answers_do_not_wait_for_input() -> None:
    """The reader prints what comes while the writer sleeps for more input."""
    with peer(peers.echo) as server, running(server.port) as client:
        client.type(b"first\n")
        assert client.stdout is not None
        assert client.stdout.read(6) == b"first\n"
        client.end()


def test_writer_is_reaped_before_the_server_answers() -> None:
    """After our FIN the writer is gone, not a zombie, while the reader waits for the rest and then gets all of it."""
    data = b"all of this\n" * 20000
    with peer(peers.answer_after_end) as server, running(server.port) as client:
        client.writer()
        client.type(data)
        assert client.stdin is not None
        client.stdin.close()
        client.stdin = None
        until(server.got_end.is_set, "FIN has arrived")
        until(lambda: not children(client.pid), "the writer has been waited for")
        server.go_on.set()
        assert client.end() == (0, data, "")


@pytest.mark.parametrize("behave", [peers.close_at_once, peers.reset_at_once])
def test_server_goes_away_while_we_wait_for_input(behave: peers.Behaviour) -> None:
    """The writer ends although it sleeps on an input that stays open, and the user is told."""
    with peer(behave) as server, running(server.port) as client:
        code, told = client.end_by_itself()
    assert code == 1
    assert told.startswith("client: ")
    assert told.count("\n") == 1


def test_server_goes_away_while_the_writer_is_stuck() -> None:
    """A writer that cannot send because nobody reads ends when the server resets."""
    with peer(peers.never_read) as server, endless_input(server) as client:
        stuck(client)
        server.go_on.set()
        code, told = client.end_by_itself()
    assert code == 1
    assert "lost" in told


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_signal_to_the_parent_alone(signum: signal.Signals) -> None:
    """The parent takes the child along and then dies of that signal, so that a shell knows."""
    with peer(peers.echo) as server, running(server.port) as client:
        client.round_trip()
        client.send_signal(signum)
        assert client.end_by_itself() == (-signum, "")


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_signal_while_the_writer_is_stuck(signum: signal.Signals) -> None:
    """The same when the child sleeps because the server takes nothing."""
    with peer(peers.never_read) as server, endless_input(server) as client:
        stuck(client)
        client.send_signal(signum)
        assert client.end_by_itself() == (-signum, "")


def test_parent_waits_for_the_writer() -> None:
    """The parent dies only when the child has gone; a child that cannot go does not hold it: SIGINT again ends it."""
    with peer(peers.echo) as server, running(server.port) as client:
        client.round_trip()
        writer = client.writer()
        before = peers.descriptors(client.pid)
        os.kill(writer, signal.SIGSTOP)
        client.send_signal(signal.SIGINT)
        until(lambda: peers.descriptors(client.pid) < before, "the parent has closed the lifeline")
        assert client.poll() is None
        client.send_signal(signal.SIGINT)
        assert client.wait(PATIENCE) == -signal.SIGINT
        os.kill(writer, signal.SIGCONT)


def test_writer_ignores_sigint() -> None:
    """SIGINT ends the conversation through the parent alone; the writer goes on until that tells it."""
    with peer(peers.echo) as server, running(server.port) as client:
        client.round_trip()
        os.kill(client.writer(), signal.SIGINT)
        assert client.end(b"still here\n") == (0, b"still here\n", "")


def test_signal_while_the_output_is_stuck() -> None:
    """The same when the parent sleeps because nobody takes its output."""
    with peer(peers.echo) as server, endless_input(server) as client:
        stuck(client)
        client.send_signal(signal.SIGINT)
        assert client.end_by_itself() == (-signal.SIGINT, "")


@pytest.mark.parametrize("moment", range(12))
def test_signal_at_any_moment(moment: int) -> None:
    """Whenever SIGINT comes, around fork() or later, it leaves no process and no traceback behind."""
    with peer(peers.echo) as server, running(server.port) as client:
        until(server.accepted.is_set, "connected")
        time.sleep(moment / 2000)  # not to wait for something, but to hit another moment
        client.send_signal(signal.SIGINT)
        assert client.end_by_itself() == (-signal.SIGINT, "")


def test_ignored_sigint_stays_ignored() -> None:
    """Started with SIGINT ignored, as by nohup or by a script's ``&``, the client goes on."""
    with peer(peers.echo) as server, running(server.port, preexec_fn=ignore_sigint) as client:
        client.round_trip()
        client.send_signal(signal.SIGINT)
        assert client.end(b"still here\n") == (0, b"still here\n", "")


def test_parent_is_killed() -> None:
    """SIGKILL of the parent ends the child too, although it sleeps on its input; the server gets FIN."""
    with peer(peers.echo) as server, running(server.port) as client:
        client.round_trip()
        client.kill()
        until(lambda: not client.processes(), "the child has ended")
        assert server.got_end.wait(PATIENCE)


def test_parent_is_killed_while_the_writer_is_stuck() -> None:
    """The same when the child sleeps because the server takes nothing."""
    with peer(peers.never_read) as server, endless_input(server) as client:
        stuck(client)
        client.kill()
        until(lambda: not client.processes(), "the child has ended")


@pytest.mark.parametrize("signum", [9, signal.SIGTERM])
def test_writer_is_killed(signum: int) -> None:
    """Without its writer the parent ends the conversation in its place, gets the rest, and says what happened."""
    with peer(peers.answer_after_end) as server, running(server.port) as client:
        client.type(b"first\n")
        until(lambda: server.received == b"first\n", "the line has arrived")
        os.kill(client.writer(), signum)
        assert server.got_end.wait(PATIENCE)
        server.go_on.set()
        code, output, told = client.end()
    assert (code, output) == (1, b"first\n")
    assert f"was killed by signal {int(signum)};" in told
    assert told.count("\n") == 1


def test_fork_fails() -> None:
    """When no second process can be had: exit 4, and one line that says so."""
    refuse = (
        "import errno, os, runpy\n"
        "def fork(): raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))\n"
        "os.fork = fork\n"
        "runpy.run_module('client', run_name='__main__', alter_sys=True)\n"
    )
    with peer(peers.echo) as server, running(server.port, program=("-c", refuse)) as client:
        code, _, told = client.end()
    assert code == 4
    assert told == "client: cannot fork the writer: Resource temporarily unavailable; raise the limit on processes\n"


def ignore_sigint() -> None:
    """Be the process that starts a client in the background."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def name_of(stream: IO[bytes]) -> str:
    """Return what the kernel calls this end of a pipe; the other end has the same name."""
    return str(Path(f"/proc/self/fd/{stream.fileno()}").readlink())


def stuck(client: Client) -> None:
    """Wait until both processes have slept through 25 looks at them in a row: nothing moves any more."""
    seen: list[list[list[str]]] = []
    both = [client.pid, client.writer()]

    def still() -> bool:
        seen.append([peers.switches(pid) for pid in both])
        return seen[-25:] == [seen[-1]] * 25 and all("S (sleeping)" in states[0] for states in seen[-1])

    until(still, "the client is stuck")


@contextmanager
def endless_input(server: Peer) -> Iterator[Client]:
    """Run a client whose input never ends and never makes it wait."""
    with Path("/dev/zero").open("rb") as zeros, running(server.port, stdin=zeros) as client:
        yield client
