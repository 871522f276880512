"""The fork server in its container, from outside: the kernel's view on what 1, 200 and 1,000 clients do to it."""

import hashlib
import os
import signal
import subprocess

from tests.deadline import until
from tests.lab.conftest import Rig, holders

SIGKILL = int(signal.SIGKILL)

LIMIT = """
import resource, sys
pid, soft = map(int, sys.argv[1:])
hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)[1]
resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
"""


def test_each_client_has_a_process(quiet: Rig) -> None:
    """200 clients at once: 200 children, each with one connection, which no other process holds."""
    with quiet.hand() as hand:
        peers = hand.open(200, "hello")
        held = holders(quiet.snapshot, peers)
        seen = quiet.snapshot()
        assert len(seen.processes) == 201
        assert [process.ppid for process in seen.processes if process.pid != seen.server] == [seen.server] * 200
        assert len(set(held) - {(seen.server,)}) == 200
        hand.close()
        until(lambda: len(quiet.snapshot().processes) == 1, "all gone within two seconds", patience=2)


def test_killed_child_harms_nobody(quiet: Rig) -> None:
    """SIGKILL of one child ends its client's connection with FIN; the other nine go on, and no zombie stays."""
    with quiet.hand() as hand:
        peers = hand.open(10, "x")
        (victim,) = holders(quiet.snapshot, peers)[0]
        quiet.kill(victim, SIGKILL)
        assert hand.end_of(peers[0]) == "FIN"
        assert [hand.say(peer, "still here") for peer in peers[1:]] == ["still here"] * 9
        until(lambda: len(quiet.snapshot().processes) == 10, "the victim is reaped")
    assert f"process removed: {victim}, killed by SIGKILL" in quiet.container("server").logs().decode()


def test_thousand_visits_leave_nothing(quiet: Rig) -> None:
    """After 1,000 clients came and left, the parent's descriptors and the number of processes are as before."""
    with quiet.hand() as hand:
        hand.visit(1)
        until(lambda: len(quiet.snapshot().processes) == 1, "the first has left")
        before = quiet.snapshot().descriptors
        hand.visit(1000)
        until(lambda: len(quiet.snapshot().processes) == 1, "the last has left")
        assert quiet.snapshot().descriptors == before


def test_half_close_returns_everything_and_then_fin(quiet: Rig) -> None:
    """64 KiB are written, the client half-closes, and only then reads: each byte comes back, then FIN and not RST."""
    with quiet.hand() as hand:
        (peer,) = hand.open(1)
        assert hand.finish(peer, 1 << 16) == {"same": True, "end": "FIN"}


def test_children_ending_together_leave_no_zombie(quiet: Rig) -> None:
    """The parent sleeps while five children end: one SIGCHLD is pending, five zombies wait, and all of them go."""
    with quiet.hand() as hand:
        hand.open(5, "x")
        server = quiet.snapshot().server
        assert server
        quiet.kill(server, int(signal.SIGSTOP))
        try:
            hand.close()
            until(lambda: len(quiet.snapshot().zombies()) == 5, "five zombies")
        finally:
            quiet.kill(server, int(signal.SIGCONT))
        until(lambda: not quiet.snapshot().zombies(), "no zombie", patience=2)


def test_pids_limit_is_survived(rig: Rig) -> None:
    """With room for a few processes the other clients wait, unharmed; each is served when one before it leaves."""
    with rig.server("fork", pids_limit=5) as server, rig.hand(server.address) as hand:
        peers = hand.open(6)
        for peer in peers:
            hand.send(peer, "hello")
        until(lambda: "nobody to serve" in server.log(), "EAGAIN is told")
        for peer in peers:  # in the order of the backlog: each that is answered leaves and makes room
            assert hand.end_after(peer, "hello") == "hello"
        until(lambda: len(server.snapshot().processes) == 1, "all served, all gone")


def test_descriptor_limit_is_survived(rig: Rig) -> None:
    """With no descriptor left clients wait in the backlog; when the limit is lifted they are served."""
    with rig.server("fork") as server, rig.hand(server.address) as hand:
        pid = str(server.snapshot().server)
        held = str(len(server.snapshot().descriptors))
        assert server.container.exec_run(["python3", "-c", LIMIT, pid, held])[0] == 0
        (peer,) = hand.open(1)
        hand.send(peer, "patience")
        until(lambda: "cannot accept" in server.log(), "EMFILE is told")
        assert server.container.exec_run(["python3", "-c", LIMIT, pid, "1024"])[0] == 0
        assert hand.end_after(peer, "patience") == "patience"


def test_restart_on_the_same_port_with_clients_attached(rig: Rig) -> None:
    """The parent is killed, its children serve on as orphans, and the next server binds the port at once."""
    shell = "python3 -m server fork & wait; python3 -m server fork"
    with rig.server("-c", shell, entrypoint="sh", init=True) as server, rig.hand(server.address) as hand:
        (old,) = hand.open(1, "x")
        shell_pid, *_ = [p for p in server.snapshot().processes if p.name == "sh"]
        (parent,) = [p for p in server.snapshot().processes if p.ppid == shell_pid.pid]
        code, said = server.probe.exec_run(["sh", "-c", f"kill -9 {parent.pid}"])
        assert code == 0, said
        until(lambda: server.log().count("listening on") == 2, "the second server listens")
        assert hand.say(old, "served by an orphan") == "served by an orphan"
        (new,) = hand.open(1)
        assert hand.say(new, "served by the next") == "served by the next"


def test_correct_as_pid_1(rig: Rig) -> None:
    """Without an init the server is PID 1: it serves, reaps orphans it inherits, and SIGTERM still ends it."""
    with rig.server("fork", init=False) as server, rig.hand(server.address) as hand:
        (peer,) = hand.open(1, "x")
        assert server.snapshot().server == 1
        assert server.container.exec_run(["sh", "-c", "sh -c 'sleep 0.1 & :'"])[0] == 0
        hand.close(peer)
        until(lambda: len(server.snapshot().processes) == 1, "nobody but PID 1")
        server.container.kill("SIGTERM")
        assert server.container.wait(timeout=20)["StatusCode"] == 0


def test_bytes_of_any_value_and_size(rig: Rig) -> None:
    """From 0 bytes to 64 MiB of random data come back identical through the client's standard input and output."""
    for size in (0, 1, 65537, 64 << 20):
        data = os.urandom(size)
        command = [*rig.compose, "run", "--rm", "-T", "--no-deps", "client", "--raw"]
        done = subprocess.run(command, input=data, capture_output=True, timeout=300)
        assert done.returncode == 0, done.stderr
        assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(data).digest(), f"{size} bytes"
