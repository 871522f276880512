"""Captures of a real lab: whole whatever ends them, true to what client and server did, and nothing left behind."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from forklab.capture import CLIENT, SERVER, Connection, read
from forklab.capture.frames import CaptureError
from forklab.capture.newfile import new_file
from forklab.capture.record import record
from protocol import exits
from tests.deadline import until
from tests.lab.conftest import ROOT, Hand, Rig

COMMAND = [sys.executable, "-m", "invoke", "--search-root", str(ROOT), "capture"]
TCPDUMPS = "for p in /proc/[0-9]*; do grep -qa '^tcpdump' $p/cmdline 2>/dev/null && echo $p; done; true"


class Capturing:
    """``invoke capture`` while it runs; it captures when this is there."""

    def __init__(self, rig: Rig, *words: str, **environment: str) -> None:
        # A shell without job control, as pytest's own starter may be, leaves SIGINT ignored in what it starts.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            self.process = subprocess.Popen(
                [*COMMAND, *words],
                cwd=ROOT,
                env=os.environ | {"COMPOSE_PROJECT_NAME": rig.project} | environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        finally:
            signal.signal(signal.SIGINT, before)
        assert self.process.stderr
        self.begun = self.process.stderr.readline()

    def end(self, number: int = signal.SIGINT) -> tuple[int, str, str]:
        """Send a signal; exit code, output, and what it said after its first line."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> tuple[int, str, str]:
        """Wait for its end."""
        out, err = self.process.communicate(timeout=60)
        assert "Traceback" not in err
        return self.process.returncode, out, err


@contextlib.contextmanager
def capturing(rig: Rig, *words: str, **environment: str) -> Iterator[Capturing]:
    """A capture that has begun, and is gone afterwards."""
    made = Capturing(rig, *words, **environment)
    try:
        assert made.begun.startswith("capturing on any"), made.begun + made.wait()[2]
        yield made
    finally:
        made.process.kill()
        made.process.communicate()


def tcpdumps(rig: Rig) -> list[str]:
    """The tcpdumps that run in the probe."""
    _, said = rig.container("probe").exec_run(["sh", "-c", TCPDUMPS])
    assert isinstance(said, bytes)
    return said.decode().split()


@pytest.fixture
def clean(quiet: Rig) -> Iterator[Rig]:
    """A quiet lab in which no capture runs, before and after."""
    until(lambda: not tcpdumps(quiet), "no capture runs before the test")
    yield quiet
    until(lambda: not tcpdumps(quiet), "no capture process stays", patience=5)


def only(path: Path, name: str) -> Connection:
    """The connection of that client in a file that ends well and lacks nothing."""
    found = read(path)
    assert (found.file.kind, found.file.cut, found.file.dropped) == ("pcapng", None, 0)
    (made,) = [each for each in found.connections if each.client == name]
    assert made.complete
    assert not any(sending.missing for sending in made.sent.values())
    return made


def test_bytes_and_half_close_are_those_of_the_client(clean: Rig, tmp_path: Path) -> None:
    """A million bytes each way, as many as the client counted; it half-closed first; Ctrl-C keeps all of it."""
    file = tmp_path / "a.pcapng"
    with clean.hand() as hand, capturing(clean, "--out", str(file), "--json") as capture:
        (name,) = hand.open(1)
        assert hand.finish(name, 1 << 20) == {"same": True, "end": "FIN"}
        code, out, _ = capture.end()
    assert code == exits.OK
    answer = json.loads(out)
    assert (answer["ended"], answer["dropped"], answer["file"]) == ("interrupt", 0, str(file))
    made = only(file, name)
    assert answer["packets"] == read(file).frames >= len(made.steps)
    assert made.bytes == {CLIENT: 1 << 20, SERVER: 1 << 20}
    assert [(closing.by, closing.how) for closing in made.closing] == [(CLIENT, "FIN"), (SERVER, "FIN")]
    assert (made.end, made.reset_by) == ("closed", None)


def child_of(rig: Rig, name: str) -> int:
    """Who serves a client, as soon as nobody else holds its connection: the parent closes its copy after the fork."""

    def alone() -> tuple[int, ...]:
        (holders,) = [s.holders for s in rig.snapshot().established() if s.remote == name]
        return holders if len(holders) == 1 else ()

    return int(until(alone, "only its child holds the connection")[0])


def server_closes(rig: Rig, hand: Hand, name: str) -> None:
    """Its child is killed with nothing unread: the kernel closes for it, by FIN."""
    assert hand.say(name, "five5") == "five5"
    rig.kill(child_of(rig, name), signal.SIGKILL)
    assert hand.end_of(name) == "FIN"


def server_resets(rig: Rig, hand: Hand, name: str) -> None:
    """Its child is stopped, then killed with bytes unread: the kernel resets (RFC 9293, 3.6.1)."""
    assert hand.say(name, "five5") == "five5"
    child = child_of(rig, name)
    rig.kill(child, signal.SIGSTOP)
    # Woken by the signal in recv(2), it would still take bytes that are there by then.
    until(lambda: [p.state for p in rig.snapshot().processes if p.pid == child] == ["T"], "it is stopped")
    hand.send(name, "lost")
    until(lambda: [s.rx_queue for s in rig.snapshot().established() if s.remote == name] == [4], "4 bytes unread")
    rig.kill(child, signal.SIGKILL)
    assert hand.end_of(name) == "RST"


def client_closes(rig: Rig, hand: Hand, name: str) -> None:
    """It has read all, and closes both directions."""
    assert hand.say(name, "five5") == "five5"
    hand.close(name)
    until(lambda: not rig.snapshot().established(), "the server has closed too")


@pytest.mark.parametrize(
    ("deed", "first", "reset_by", "sent"),
    [(server_closes, SERVER, None, 5), (server_resets, SERVER, SERVER, 9), (client_closes, CLIENT, None, 5)],
)
def test_the_closing_order_is_what_was_done(
    clean: Rig, tmp_path: Path, deed: Any, first: str, reset_by: str | None, sent: int
) -> None:
    """Who closed first, and by FIN or RST, is in the capture as the test made it happen."""
    file = tmp_path / "a.pcapng"
    with clean.hand() as hand, capturing(clean, "--out", str(file), "--filter", "tcp port 9190") as capture:
        (name,) = hand.open(1)
        deed(clean, hand, name)
        hand.close()
        until(lambda: len(clean.snapshot().processes) == 1, "the child is gone")
        assert capture.end()[0] == exits.OK
    made = only(file, name)
    assert (made.closed_first, made.reset_by) == (first, reset_by)
    assert made.bytes == {CLIENT: sent, SERVER: 5}
    assert made.end == ("reset" if reset_by else "closed")


def test_a_capture_from_python_has_the_interface_kernel_and_filter(clean: Rig, tmp_path: Path) -> None:
    """It ends by itself after its seconds; a second Python function reads it back."""
    begun: list[str] = []
    counts: list[int] = []
    with clean.hand() as hand:
        done = record(
            clean.container("probe"),
            lambda: new_file(tmp_path / "a.pcapng"),
            expression="tcp port 9190",
            seconds=2,
            begun=lambda interface: begun.append(interface) or hand.visit(3),  # type: ignore[func-returns-value]
            progress=counts.append,
        )
    assert begun == ["any"]
    assert (done.ended, done.dropped, done.interface) == ("time", 0, "any")
    assert counts[-1] == done.packets == done.received
    content = (tmp_path / "a.pcapng").read_bytes()
    assert done.kernel.encode() in content
    assert b"tcp port 9190" in content
    assert [each.bytes for each in read(tmp_path / "a.pcapng").connections] == [{CLIENT: 1, SERVER: 1}] * 3


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_command_leaves_a_readable_file_and_no_tcpdump(clean: Rig, tmp_path: Path, number: int) -> None:
    """The engine closes the probe's standard input: tcpdump ends although nobody could tell it to."""
    file = tmp_path / "a.pcapng"
    with clean.hand() as hand, capturing(clean, "--out", str(file)) as capture:
        assert tcpdumps(clean)
        (name,) = hand.open(1, "hello")
        until(lambda: any(each.client == name for each in read(file).connections), "its packets are in the file")
        capture.process.send_signal(number)
        capture.process.wait(30)
        until(lambda: not tcpdumps(clean), "tcpdump has ended", patience=5)
    found = read(file)
    assert found.file.cut is None
    assert any(each.client == name for each in found.connections)


def test_a_killed_probe_process_takes_tcpdump_with_it(clean: Rig, tmp_path: Path) -> None:
    """Also SIGKILL of what watches over tcpdump ends it; the command says so and keeps what it has."""
    file = tmp_path / "a.pcapng"
    with capturing(clean, "--out", str(file)) as capture:
        kill = "for p in /proc/[0-9]*; do tr '\\0' ' ' <$p/cmdline | grep -q '^python3 -m probe capture'"
        kill += " && kill -9 ${p#/proc/}; done; true"
        clean.container("probe").exec_run(["sh", "-c", kill])
        code, _, err = capture.wait()
    assert code == exits.LAB_FAILED
    assert "has the packets until then" in err
    assert read(file).file.cut is None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--filter", "tcp prot 9190"], "tcpdump: can't parse filter expression"),
        (["--filter", "-w /tmp/x"], "tcpdump: "),
        (["--seconds", "soon"], '"soon"'),
        (["--seconds", "-1"], '"-1"'),
        (["--wireshark"], "--wireshark"),
    ],
)
def test_wrong_words_leave_no_file(clean: Rig, tmp_path: Path, words: list[str], said: str) -> None:
    """One line with what was wrong, in tcpdump's own words where it was the filter; exit code 2."""
    file = tmp_path / "a.pcapng"
    wrong = Capturing(clean, "--out", str(file), *words)
    code, _, err = wrong.wait()
    assert code == exits.USAGE
    assert said in wrong.begun
    assert err == ""
    assert not file.exists()


def test_an_existing_file_stays(clean: Rig, tmp_path: Path) -> None:
    """Refused, with what to do; not a byte of it changes."""
    file = tmp_path / "a.pcapng"
    file.write_text("mine")
    refused = Capturing(clean, "--out", str(file))
    assert refused.wait()[0] == exits.USAGE
    assert "choose another name" in refused.begun
    assert file.read_text() == "mine"


def test_a_full_disk_is_told_and_what_was_written_is_whole(clean: Rig, tmp_path: Path) -> None:
    """A limit on the file's size stands for the disk: one line, exit code 4, a file without half a packet."""
    file = tmp_path / "a.pcapng"
    limited = "import resource, os, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000)); "
    limited += "os.execv(sys.executable, sys.argv[1:])"
    process = subprocess.Popen(
        [sys.executable, "-c", limited, *COMMAND, "--out", str(file)],
        cwd=ROOT,
        env=os.environ | {"COMPOSE_PROJECT_NAME": clean.project},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    assert process.stderr
    assert process.stderr.readline().startswith("capturing")
    with clean.hand() as hand:
        (name,) = hand.open(1)
        hand.finish(name, 1 << 18)
        err = process.communicate(timeout=30)[1]
    assert process.returncode == exits.LAB_FAILED
    assert "cannot be written any more" in err
    assert read(file).file.cut is None


def clients_so_far(path: Path) -> list[str]:
    """Of a capture that is being written; none while it has not begun."""
    try:
        return [connection.client for connection in read(path).connections]
    except CaptureError:
        return []


@pytest.mark.parametrize("reads", ["cat", "head -c 300"])
def test_wireshark_gets_the_packets_live(clean: Rig, tmp_path: Path, reads: str) -> None:
    """A program of that name gets them while the capture runs; when it is closed, the capture ends, and all is well."""
    fake = tmp_path / "wireshark"
    fake.write_text(f'#!/bin/sh\necho "$@" > "{tmp_path}/words"\nexec {reads} > "{tmp_path}/shown"\n')
    fake.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    with clean.hand() as hand, capturing(clean, "--wireshark", "--json", PATH=path) as capture:
        (name,) = hand.open(1, "hello")
        if reads == "cat":
            until(lambda: name in clients_so_far(tmp_path / "shown"), "it is shown live")
            code, out, _ = capture.end()
        else:
            until(lambda: hand.say(name, "more") and capture.process.poll() is not None, "the capture ended")
            code, out, _ = capture.wait()
    assert (code, json.loads(out)["ended"]) == (exits.OK, "interrupt" if reads == "cat" else "reader")
    assert (tmp_path / "words").read_text() == "-k -i -\n"


def test_without_wireshark_another_way_is_named(clean: Rig, tmp_path: Path) -> None:
    """No program of that name: one line that names --out."""
    refused = Capturing(clean, "--wireshark", PATH=str(tmp_path))
    assert refused.wait()[0] == exits.LAB_FAILED
    assert "--out FILE.pcapng" in refused.begun


def test_the_lab_goes_down_in_the_middle(clean: Rig, tmp_path: Path) -> None:
    """Its server is killed, and the probe's namespaces with it: told, exit code 4, the file is whole."""
    file = tmp_path / "a.pcapng"
    with clean.server("fork") as lone:
        process = subprocess.Popen(
            [sys.executable, "-c", GO_DOWN, str(lone.probe.id), str(file)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout
        assert process.stdout.readline() == "begun\n"
        lone.container.kill()
        said = process.communicate(timeout=30)[0]
    assert "the lab went away" in said
    assert read(file).file.cut is None


GO_DOWN = """
import sys
from pathlib import Path
from forklab import engine
from forklab.capture.frames import CaptureError
from forklab.capture.newfile import new_file
from forklab.capture.record import record
from forklab.errors import LabError
probe = engine.connect(print).containers.get(sys.argv[1])
begun = lambda interface: print("begun", flush=True)
try:
    record(probe, lambda: new_file(Path(sys.argv[2])), expression="", seconds=60, begun=begun, progress=lambda n: None)
except LabError as error:
    print(error)
"""
