"""The probe beside a real server: what it must never get wrong, however fast everything moves."""

import json
import re
import signal
import subprocess
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from forklab.observe import snapshot
from tests.deadline import PATIENCE, until
from tests.lab.conftest import Rig

ALONE = "python3 -m probe stay"
SECONDS = 30
CLIENTS = 200
CONNECTED = re.compile(r"client connected: (\S+), descriptor \d+, served by process (\d+)")


@contextmanager
def watching(rig: Rig, *words: str) -> Iterator["subprocess.Popen[str]"]:
    """The probe's stream, as the live view starts it."""
    command = [*rig.compose, "exec", "-T", "probe", "python3", "-m", "probe", "watch", *words]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def in_the_probe(rig: Rig) -> list[str]:
    """The commands that run in the probe's container."""
    top = rig.container("probe").top()
    return [row[top["Titles"].index("CMD")] for row in top["Processes"]]


def test_no_wrong_join_while_clients_churn(quiet: Rig) -> None:
    """Look after look, more than a hundred a second, while 200 clients come and go: each line is whole and true.

    True is, by what the server logged: a connection is held by its own child or by the parent, and by nobody else; one
    that did not move while it was looked at is held by somebody; every holder is a process of the server.
    """
    lines: list[str] = []
    with quiet.hand() as hand, watching(quiet, "--interval", "0", "--details") as stream:
        assert stream.stdin
        assert stream.stdout
        reader = threading.Thread(target=lambda: lines.extend(stream.stdout or ()))
        reader.start()
        until(lambda: lines, "the stream flows")
        visits = hand.churn(CLIENTS, SECONDS, 1.0)
        stream.stdin.close()
        reader.join(PATIENCE)
        assert stream.wait(PATIENCE) == 0
    children = defaultdict(set)
    for peer, child in CONNECTED.findall(quiet.container("server").logs().decode()):
        children[peer].add(int(child))
    if not lines[-1].endswith("\n"):  # our end of the stream came while it was written
        lines.pop()
    looks = [json.loads(line) for line in lines]
    joined = 0
    for look in looks:
        joined += check(look, children)
    rate = len(looks) / (looks[-1]["time"] - looks[0]["time"])
    print(f"{rate:.0f} a second: {len(looks)} looks, {visits} visits, {joined} joins")
    assert joined > CLIENTS
    assert [look["time"] for look in looks] == sorted({look["time"] for look in looks})
    until(lambda: in_the_probe(quiet) == [ALONE], "no process is left in the probe")


def check(look: dict[str, Any], children: dict[str, set[int]]) -> int:
    """How many connections of a look are joined with processes; each of them rightly."""
    pids = {process["pid"]: process for process in look["processes"]}
    assert len(pids) == len(look["processes"])
    assert {process["name"] for process in look["processes"]} <= {"python3"}
    joined = 0
    for row in look["sockets"]:
        if row["state"] != "ESTABLISHED" or not row["inode"]:
            continue
        allowed = children[row["remote"]] | {look["server"]}
        assert set(row["holders"]) <= allowed & pids.keys(), (row, allowed)
        assert row["holders"] or row["remote"] in look["consistent"]["sockets"], row
        joined += bool(row["holders"])
    return joined


def test_a_quiet_moment_is_known_as_one(quiet: Rig) -> None:
    """Nothing moves: the snapshot says that it is whole, and that connections were read over sock_diag."""
    with quiet.hand() as hand:
        peers = hand.open(5, "x")
        seen = until(lambda: (s := quiet.snapshot()).consistent.whole and s, "a whole one")
        assert seen.source == "sock_diag"
        assert sorted(row.remote for row in seen.established()) == sorted(peers)
        assert (seen.consistent.began, seen.consistent.ended, seen.consistent.sockets) == ((), (), ())


def test_a_stream_whose_reader_is_killed_ends(quiet: Rig) -> None:
    """SIGKILL of whoever asked for the stream: the engine closes its input, and no process stays."""
    with watching(quiet, "--interval", "0.1") as stream:
        assert stream.stdout
        stream.stdout.readline()
        assert len(in_the_probe(quiet)) == 2
        stream.send_signal(signal.SIGKILL)
    until(lambda: in_the_probe(quiet) == [ALONE], "no process is left in the probe")


def test_only_the_server_is_seen(quiet: Rig) -> None:
    """Not the init, nor a docker exec beside the server, nor an orphan of the probe that the init inherits."""
    server, probe = quiet.container("server"), quiet.container("probe")
    server.exec_run(["sleep", "60"], detach=True)
    probe.exec_run(["sh", "-c", "sleep 61 &"], detach=True)
    try:
        until(lambda: sorted(in_the_probe(quiet)) == [ALONE, "sleep 61"], "the probe has an orphan")
        until(lambda: "sleep 60" in str(server.top()["Processes"]), "somebody is beside the server")
        for details in (None, ()):
            seen = snapshot(probe, details)
            assert [process.pid for process in seen.processes] == [seen.server]
    finally:
        probe.exec_run(["sh", "-c", "cd /proc; for p in [0-9]*; do grep -q ^sleep $p/comm && kill -9 $p; done"])
    until(lambda: in_the_probe(quiet) == [ALONE], "they are gone")
