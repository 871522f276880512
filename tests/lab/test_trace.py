"""The time-line: recorded by the probe in real containers, judged by what it tells of known conversations."""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from docker.models.containers import Container

from forklab import recording
from forklab.capture import CLIENT, SERVER
from forklab.capture import read as read_capture
from forklab.capture.newfile import new_file
from forklab.capture.record import record
from forklab.timeline.model import Timeline
from forklab.timeline.page import page
from forklab.timeline.replay import replay
from tests.chromium import Browser
from tests.deadline import until
from tests.lab.conftest import Lone, Rig

FLAWED = Path(__file__).parents[1] / "flawed"


class Traced:
    """A server behind the gate and the probe that records it, as ``./lab up --trace`` starts them."""

    def __init__(self, server: Container, probe: Container) -> None:
        self.lone = Lone(server, probe)
        self.probe = probe

    def listening(self) -> bool:
        """Whether the gate is open and the server there; the network's name server listens from the start."""
        return any(row.state == "LISTEN" and row.local.endswith(":9190") for row in self.lone.snapshot().sockets)

    def timeline(self) -> Timeline:
        """What has been recorded until now."""
        return replay(recording.since_up(self.probe))


@contextmanager
def traced(rig: Rig, *words: str) -> Iterator[Traced]:
    """A server whose first call is recorded; ``words`` follow its ``python3``."""
    options: dict[str, Any] = {
        "labels": {"forklab": "container", "com.docker.compose.project": rig.project},
        "cap_drop": ["ALL"],
        "read_only": True,
        "detach": True,
    }
    gate = ["sh", "gate", "python3"]
    server = rig.client.containers.run(
        "forklab-server", list(words), entrypoint=gate, network=rig.network(), init=True, **options
    )
    probe = None
    try:
        namespaces = {"network_mode": f"container:{server.id}", "pid_mode": f"container:{server.id}"}
        rights = {"cap_add": ["SYS_PTRACE", "NET_RAW", "DAC_READ_SEARCH", "KILL"], "tmpfs": {"/trace": "size=64m"}}
        options |= {**namespaces, **rights}
        probe = rig.client.containers.run("forklab-probe", ["stay", "--trace"], **options)
        one = Traced(server, probe)
        until(one.listening, "the traced server listens")
        yield one
    finally:
        for container in filter(None, (probe, server)):
            container.remove(force=True)


def kinds(line: Timeline) -> Counter[str]:
    """How many events of each kind the server's processes had, without the minor ones."""
    return Counter(event.kind for event in line.events if event.lane is not None and not event.minor)


def settled(one: Traced, exits: int) -> Timeline:
    """The time-line as soon as that many processes have ended and been waited for."""

    def enough() -> Timeline | None:
        line = one.timeline()
        return line if kinds(line)["reap"] >= exits else None

    return until(enough, f"{exits} processes were reaped")  # type: ignore[no-any-return]


def test_five_clients_of_a_fork_server(rig: Rig, browser: Browser, tmp_path: Path) -> None:
    """Five lanes, each accepted by the parent, closed on either side, exited and reaped; and the page shows it."""
    with traced(rig, "-m", "server", "fork") as one, rig.hand(one.lone.address) as hand:
        peers = hand.open(5, "hello")
        until(lambda: len(one.lone.snapshot().processes) == 6, "five children")
        hand.close()
        line = settled(one, 5)
    first = next(event for event in line.events if event.kind == "exec" and not event.minor)
    assert "server" in first.fields["command"], "the very first execve of the server was seen"
    parent = next(lane for lane in line.lanes if not lane.reaped and lane.kind == "process" and lane.parent is None)
    children = [lane for lane in line.lanes if lane.parent == parent.id]
    assert len(children) == 5
    assert all(child.born < (child.ended or 0) <= (child.reaped or 0) for child in children)
    assert {child.reaped_by for child in children} == {parent.id}
    counted = kinds(line)
    assert {kind: counted[kind] for kind in ("fork", "accept", "exit", "zombie", "reap")} == dict.fromkeys(
        ("fork", "accept", "exit", "zombie", "reap"), 5
    )
    assert sorted(c.client for c in line.connections) == sorted(peers)
    for connection in line.connections:
        assert connection.accepted_by == parent.id
        holds = line.things[connection.things["server"]].holds
        assert {hold[0] for hold in holds} - {parent.id} != set()
        assert all(hold[3] is not None for hold in holds), "each side closed its copy"
        states = [state for _, state in connection.states["server"]]
        assert states == ["SYN_RECV", "ESTABLISHED", "CLOSE_WAIT", "LAST_ACK", "CLOSED"]
        assert [state for _, state in connection.states["client"]][:2] == ["SYN_SENT", "ESTABLISHED"]
    for child in children:
        closed = {event.text for event in line.events if event.lane == child.id and event.kind == "close"}
        assert any("listener" in text for text in closed), "the child closes the listener"
    seen = browser.look(page(line, "five clients"), tmp_path)
    assert (seen.data("lanes"), seen.data("zombies")) == ("6", "0")
    ending = browser.look(page(line, "five clients"), tmp_path, f"#step={seen.data('events')}")
    assert ending.text("at").startswith(f"{seen.data('events')} of")


def test_one_lane_and_many_bars(rig: Rig, browser: Browser, tmp_path: Path) -> None:
    """An event loop: one process, and a bar for each of twenty connections that it holds."""
    with traced(rig, "-m", "server", "epoll") as one, rig.hand(one.lone.address) as hand:
        hand.open(20, "hello")
        line = one.timeline()
        hand.close()
    (lane,) = [lane for lane in line.lanes if lane.kind == "process"]
    held = [line.things[c.things["server"]].holds for c in line.connections]
    assert len(held) == 20
    assert {hold[0] for holds in held for hold in holds} == {lane.id}
    seen = browser.look(page(line, "epoll"), tmp_path)
    assert seen.data("lanes") == "1"
    assert int(seen.data("bars")) >= 20


def test_nobody_is_missed(rig: Rig) -> None:
    """A thousand clients that connect and leave within a millisecond: each is in the time-line, with both its ends."""
    with traced(rig, "-m", "server", "epoll", "--log", "json") as one, rig.hand(one.lone.address) as hand:
        names = hand.dash(1000)
        assert len(set(names)) == 1000
        until(lambda: not one.lone.snapshot().connections(), "all have left", patience=120)
        line = until(lambda: enough(one.timeline()), "a thousand were accepted", patience=120)
    accepted = Counter(event.fields.get("peer") for event in line.events if event.kind == "accept" and not event.minor)
    assert accepted == Counter(names)
    assert sorted(c.client for c in line.connections) == sorted(names)
    assert all("client" in c.fin or "client" in c.reset for c in line.connections)
    assert line.unread == 0


def enough(line: Timeline) -> Timeline | None:
    """The time-line, once a thousand have been accepted."""
    return line if kinds(line)["accept"] >= 1000 else None


def test_the_fin_that_never_left(rig: Rig, browser: Browser, tmp_path: Path) -> None:
    """A parent that keeps the connection's descriptor: text and page name the process, the number and the state."""
    source = (FLAWED / "leaky_parent.py").read_text()
    with traced(rig, "-c", source) as one, rig.hand(one.lone.address) as hand:
        (peer,) = hand.open(1, "hello")
        parent = one.lone.snapshot().server
        hand.half_close(peer)
        line = settled(one, 1)
        (row,) = [row for row in one.lone.snapshot().connections() if row.remote == peer]
        (held,) = one.lone.snapshot().holders(row.inode)
    (finding,) = line.findings
    assert f"FIN to {peer} never left: process {parent} " in finding
    assert f"still holds the socket as fd {held.fd}" in finding
    assert row.state in finding, "the state is the kernel's"
    assert finding in browser.look(page(line, "leak"), tmp_path).text("findings")


def test_tables_agree_with_proc(rig: Rig) -> None:
    """At the end of a recording, the descriptors that follow from the calls are those that /proc shows."""
    words = ("-m", "server", "fork", "--service", "store", "--store", "/dev/shm/log")
    with traced(rig, *words) as one, rig.hand(one.lone.address) as hand:
        hand.open(3, "line\n")
        hand.close(hand.open(1, "line\n")[0])
        until(lambda: len(one.lone.snapshot().established()) == 3, "three are left")
        until(lambda: one.lone.snapshot().zombies() == [], "no zombie is left")
        files = recording.since_up(one.probe)
    line, last = replay(files), json.loads(files["last"])
    expected = {(row["pid"], row["fd"]) for row in last["descriptors"]}
    found = {
        (line.lanes[h[0]].pid, h[1]) for thing in line.things for h in thing.holds if h[3] is None and h[0] is not None
    }
    assert found == expected
    alive = {lane.pid for lane in line.lanes if lane.kind == "process" and lane.ended is None}
    assert alive == {row["pid"] for row in last["processes"]}


@pytest.mark.parametrize("number", ["INT", "KILL"])
def test_a_tracer_that_dies_stops_nobody(rig: Rig, number: str) -> None:
    """Strace killed in the middle of a conversation: the server and its child go on, untraced."""
    with traced(rig, "-m", "server", "fork") as one, rig.hand(one.lone.address) as hand:
        (peer,) = hand.open(1, "hello")
        code, said = one.probe.exec_run(
            ["sh", "-c", f"kill -{number} $(grep -lx strace /proc/[0-9]*/comm | cut -d/ -f3)"]
        )
        assert code == 0, said
        assert hand.say(peer, "again") == "again"
        hand.open(1, "another")
        states = {process.state for process in one.lone.snapshot().processes}
        assert states <= {"S", "R"}


def test_a_full_recording_stops_nobody(rig: Rig) -> None:
    """No space is left: the server goes on, no longer traced, and the time-line says that it is not whole."""
    with traced(rig, "-m", "server", "fork") as one, rig.hand(one.lone.address) as hand:
        one.probe.exec_run(["dd", "if=/dev/zero", "of=/trace/fill", "bs=1M"])
        hand.visit(50)
        line = one.timeline()
        tracer = ["sh", "-c", "grep -lx strace /proc/[0-9]*/comm"]
        until(lambda: one.probe.exec_run(tracer)[1] == b"", "strace has ended")
        hand.visit(5)
    assert any("full before the end" in note for note in line.notes)


def test_a_running_server_is_joined(rig: Rig) -> None:
    """``./lab trace --seconds`` of a lab without --trace: what is there already is known, and nothing stays behind."""
    with rig.server("prefork") as lone, rig.hand(lone.address) as hand:
        (before,) = hand.open(1, "hello")
        with Background(lone.probe) as recorder:
            (during,) = hand.open(1, "hello")
            hand.close()
            until(lambda: all(not row.inode for row in lone.snapshot().connections()), "both are closed")
            files = recorder.end()
        line = replay(files)
        clients = {c.client: c for c in line.connections}
        assert {before, during} <= set(clients)
        assert clients[before].before
        assert not clients[during].before
        assert clients[during].accepted_by is not None
        assert line.things[clients[before].things["server"]].holds[-1][3] is not None
        assert {process.state for process in lone.snapshot().processes} <= {"S", "R"}
        _, left = lone.probe.exec_run(["sh", "-c", "grep -lx strace /proc/[0-9]*/comm"])
        assert left == b""


class Background:
    """A recording of a running server that ends when told to."""

    def __init__(self, probe: Container) -> None:
        words = [sys.executable, "-c", _RECORD, str(probe.id)]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        self._process = subprocess.Popen(words, stdout=subprocess.PIPE, stdin=subprocess.PIPE, env=environment)

    def __enter__(self) -> "Background":
        assert self._process.stdout
        assert self._process.stdout.readline() == b"attached\n"
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    def end(self) -> dict[str, bytes]:
        """Ctrl-C; what was recorded."""
        self._process.send_signal(2)
        out, _ = self._process.communicate(timeout=60)
        return {name: content.encode("latin-1") for name, content in json.loads(out).items()}


_RECORD = """
import json, sys
from forklab import engine, recording
say = lambda text: print("attached", flush=True) if text.startswith("recording") else None
probe = engine.connect(lambda text: None).containers.get(sys.argv[1])
files = recording.live(probe, None, say)
print(json.dumps({name: content.decode("latin-1") for name, content in files.items()}))
"""


def moved(line: Timeline, thing: int, kind: str) -> int:
    """How many bytes were read from, or written to, a socket."""
    return sum(e.fields.get("bytes", 0) for e in line.events if e.kind == kind and e.fields.get("thing") == thing)


@pytest.mark.parametrize("first", [CLIENT, SERVER])
def test_a_capture_agrees(rig: Rig, tmp_path: Path, first: str) -> None:
    """Packets and system calls, two witnesses of one conversation, tell the same bytes and the same closing order."""
    size = 1 << 15
    with traced(rig, "-m", "server", "fork") as one, rig.hand(one.lone.address) as hand:

        def converse(_: str) -> None:
            (peer,) = hand.open(1)
            names.append(peer)
            if first == CLIENT:
                hand.finish(peer, size)
            else:
                hand.say(peer, "x" * size)
                child = max(process.pid for process in one.lone.snapshot().processes)
                one.probe.exec_run(["sh", "-c", f"kill -TERM {child}"])
                until(lambda: peer not in [row.remote for row in one.lone.snapshot().established()], "it has closed")
                hand.close()

        names: list[str] = []
        file = tmp_path / "both.pcapng"
        record(
            one.probe,
            lambda: new_file(file),
            expression="tcp port 9190",
            seconds=4,
            begun=converse,
            progress=lambda _: None,
        )
        line = one.timeline()
    (seen,) = [each for each in read_capture(file).connections if each.client == names[0]]
    (told,) = [each for each in line.connections if each.client == names[0]]
    assert seen.bytes == {CLIENT: size, SERVER: size}
    assert moved(line, told.things["server"], "read") == seen.bytes[CLIENT]
    assert moved(line, told.things["server"], "write") == seen.bytes[SERVER]
    assert [closing.by for closing in seen.closing] == sorted(told.fin, key=told.fin.__getitem__)
    assert seen.closed_first == first


def test_a_fault_is_a_span(rig: Rig) -> None:
    """What the lab broke on purpose is on the same clock as what came of it."""
    with traced(rig, "-m", "server", "fork") as one:
        wish = {"fault": "pause", "target": "server", "parameters": {"who": "parent"}, "seconds": 0.3, "facts": {}}
        code, said = one.probe.exec_run(["python3", "-m", "probe", "fault", json.dumps(wish)])
        assert code == 0, said
        until(lambda: {row.state for row in one.lone.snapshot().processes} == {"S"}, "it goes on afterwards")
        line = one.timeline()
    (span,) = line.faults
    assert span.name == "pause"
    assert span.end is not None
    assert 0.3e9 <= span.end - span.begin < 5e9
    stops = [event.time for event in line.events if event.kind == "stop"]
    assert any(span.begin - 1e9 < time <= span.end for time in stops)
