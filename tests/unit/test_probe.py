"""The probe reads this very machine: processes, descriptors and sockets that the test has made itself."""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from probe import snapshot
from tests.deadline import PATIENCE, until
from tests.unit.serving import ROOT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the probe reads Linux's /proc")

if sys.platform == "linux":
    import fcntl

    from probe import diag, processes, sockets
    from probe.features import features


def process(pid: int) -> dict[str, Any]:
    """A process with all details; empty when there is none."""
    found = processes.look(pid)
    return found.process if found else {}


def held(pid: int) -> dict[int, dict[str, Any]]:
    """Its descriptors by number."""
    found = processes.look(pid)
    return {row["fd"]: row for row in found.descriptors} if found else {}


def test_a_process_as_it_is() -> None:
    """PID, parent, state, name, memory and where it sleeps; brackets and blanks in a name do not confuse."""
    script = "import time; open('/proc/self/comm', 'w').write('a (b) c'); print(flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as child:
        assert child.stdout
        child.stdout.readline()
        found = until(lambda: (p := process(child.pid)) and p["state"] == "S" and p, "it sleeps")
        assert process(os.getpid())["wait_channel"] is None, "whoever looks is running"
        child.kill()
    assert (found["pid"], found["ppid"], found["name"]) == (child.pid, os.getpid(), "a (b) c")
    assert found["command"].startswith(sys.executable)
    assert 0 < found["pss_kib"] <= found["rss_kib"]
    assert found["wait_channel"] is None or "nanosleep" in found["wait_channel"]
    assert found["cpu"] >= 0
    assert found["waited"] is False


@pytest.mark.parametrize(
    ("of_pid_1", "of_the_zombie", "own"),
    [
        ("0::/docker/ours", "0::/docker/ours", True),  # the second hierarchy alone
        ("0::/", "0::/", True),  # the same in a namespace of its own
        ("4:memory:/docker/ours\n0::/", "4:memory:/\n0::/", True),  # the first ones alone
        ("4:memory:/docker/ours\n0::/docker/ours", "4:memory:/\n0::/docker/ours", True),  # both
        ("4:memory:/docker/ours\n0::/docker/ours", "4:memory:/\n0::/docker/probe", False),
        ("0::/docker/ours", "0::/docker/probe", False),
    ],
)
def test_whose_zombie_it_is(of_pid_1: str, of_the_zombie: str, own: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A zombie that PID 1 has inherited is the server's if it was in its control group, however they are kept."""
    monkeypatch.setattr(processes, "_group", {1: of_pid_1, 7: of_the_zombie}.__getitem__)
    rows = {
        pid: processes.Found({"pid": pid, "ppid": ppid, "state": state, "name": "python3"}, [])
        for pid, ppid, state in ((1, 0, "S"), (7, 1, "Z"))
    }
    assert [row["pid"] for row in processes.server_tree(rows)] == ([1, 7] if own else [1])


def test_a_zombie_has_no_memory() -> None:
    """State Z, no memory, no descriptors; once it is waited for it is gone, and its parent is known to have waited."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    zombie = until(lambda: (p := process(child.pid)) and p["state"] == "Z" and p, "it is a zombie")
    assert (zombie["rss_kib"], zombie["pss_kib"]) == (None, None)
    assert held(child.pid) == {}
    child.wait()
    assert processes.look(child.pid) is None
    assert process(os.getpid())["waited"] is True


def test_signals_by_their_names() -> None:
    """What is pending, blocked, ignored and caught, also real-time signals; other fields of the file are no masks."""
    script = (
        "import signal as s, os; s.pthread_sigmask(s.SIG_BLOCK, [s.SIGUSR1, s.SIGRTMIN + 3])"
        "; s.signal(s.SIGHUP, s.SIG_IGN); s.signal(s.SIGCHLD, lambda *_: None)"
        "; os.kill(os.getpid(), s.SIGUSR1); print(flush=True); s.pause()"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as child:
        assert child.stdout
        child.stdout.readline()
        found = process(child.pid)
        child.kill()
    assert found["pending"] == ("SIGUSR1",)
    assert found["blocked"] == ("SIGUSR1", "SIGRTMIN+3")
    assert "SIGHUP" in found["ignored"]
    assert {"SIGCHLD", "SIGINT"} <= set(found["caught"])


@pytest.mark.parametrize("name", [b"SigPnd:\t7", b"x\x0bUid:\t0", b"x\nUid:\t0", b"TracerPid:\t1", b"\xff\xfe\x85"])
def test_a_name_is_no_field_and_need_not_be_text(name: bytes) -> None:
    """What a process calls itself hides nothing else about it."""
    script = f"import sys; open('/proc/self/comm', 'wb').write({name!r}); print(flush=True); sys.stdin.read()"
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", script], stdin=pipe, stdout=pipe) as child:
        assert child.stdout
        child.stdout.readline()
        found, fields = process(child.pid), processes.status(child.pid)
        child.kill()
    assert found["pending"] == ()
    assert "SIGINT" in found["caught"]
    assert fields["Uid"].split()[0] == str(os.getuid())
    assert fields["TracerPid"] == "0"


STATUS = """Name:\tserver
SigQ:\t3/7823
SigPnd:\t0000000000000001
ShdPnd:\t0000000000000200
SigBlk:\t0000000000000000
SigIgn:\t0000000000001000
SigCgt:\t0000000000014002
"""


@pytest.mark.skipif(os.uname().machine.startswith(("mips", "alpha", "sparc")), reason="signals have other numbers")
def test_the_masks_of_a_status_file() -> None:
    """Bit n is signal n+1; pending for a thread and pending for the process are told as one."""
    assert processes.parse_signals(STATUS) == {
        "pending": ("SIGHUP", "SIGUSR1"),
        "blocked": (),
        "ignored": ("SIGPIPE",),
        "caught": ("SIGINT", "SIGTERM", "SIGCHLD"),
    }


def test_a_stat_line_of_a_server() -> None:
    """A name that looks like the rest of the line; ticks become seconds, pages become KiB."""
    line = b"12 (x) S 1 (y) Z 7 12 7 0 -1 4194560 1523 0 2 0 30 12 0 0 20 0 4 0 1234 14540800 2560 184467440"
    found = processes.parse_stat(line)
    assert (found["pid"], found["name"], found["state"], found["ppid"]) == (12, "x) S 1 (y", "Z", 7)
    assert (found["threads"], found["waited"], found["rss_kib"]) == (4, False, None)
    assert found["cpu"] == 42 / os.sysconf("SC_CLK_TCK")
    assert found["start"] == 1234 / os.sysconf("SC_CLK_TCK")


def test_what_is_read_belongs_to_one_process() -> None:
    """An open directory of /proc never shows the files of the next process with that PID: the old one is gone."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    pin = processes.Pin(child.pid)
    pin.stat()
    child.communicate(b"\n")
    with pytest.raises(OSError, match="No such"):
        pin.stat()
    assert processes.descriptors(pin, frozenset(processes.DETAILS)) == []
    pin.close()


def test_a_kept_process_that_has_gone_is_let_go() -> None:
    """From one look to the next its directory stays open; when it has gone nothing of it is left open."""
    before = len(os.listdir("/proc/self/fd"))
    pins = processes.Pins(8)
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    for _ in range(2):
        found = processes.look(child.pid, pins=pins)
        assert found
        assert found.process["pid"] == child.pid
    child.communicate(b"\n")
    assert processes.look(child.pid, pins=pins) is None
    pins.keep_only(())
    assert len(os.listdir("/proc/self/fd")) == before


HOLDS = """
import signal, socket, sys, threading
def hold():
    for line in sys.stdin:
        kept.append(socket.socket())
        print(len(kept), flush=True)
kept = []
threading.Thread(target=hold, daemon=True).start() if sys.argv[1] == "a thread" else hold()
signal.pause()
"""


@pytest.mark.parametrize("who", ["itself", "a thread"])
def test_who_has_run_is_read_again(who: str) -> None:
    """What a process holds is told as it is now, also of one that is kept open and of which one thread sleeps on."""
    pins = processes.Pins(8)
    command = [sys.executable, "-c", HOLDS, who]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdin
        assert child.stdout
        counts = []
        for _ in range(20):
            print(file=child.stdin, flush=True)
            said = int(child.stdout.readline())
            found = [processes.look(child.pid, frozenset(), pins) for _ in range(3)]
            counts.append((said, *(len(look.descriptors) for look in found if look)))
        child.kill()
    assert counts == [(number,) * 4 for number in range(1, 21)]
    pins.keep_only(())


def test_who_has_not_run_is_not_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look at a thousand processes that sleep shall be quick."""
    reads: list[int] = []
    read = processes.descriptors

    def counted(pin: processes.Pin, details: frozenset[str]) -> list[dict[str, Any]]:
        reads.append(pin.pid)
        return read(pin, details)

    monkeypatch.setattr(processes, "descriptors", counted)
    pins = processes.Pins(8)
    with socket.socket() as held_by_both, subprocess.Popen(["sleep", "60"], pass_fds=[held_by_both.fileno()]) as child:

        def looks() -> int:
            reads.clear()
            assert all(processes.look(child.pid, frozenset(), pins) for _ in range(3))
            return len(reads)

        until(lambda: looks() == 0, "it is not read again")
        child.kill()
    pins.keep_only(())


def test_an_orphan_that_sleeps_has_another_parent() -> None:
    """Its parent's end is not its own doing: it is told although it has not run."""
    script = "import os, time\nif pid := os.fork(): print(pid, flush=True); input()\nelse: time.sleep(60)"
    pins = processes.Pins(8)
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdin
        assert parent.stdout
        child = int(parent.stdout.readline())

        def its_parent() -> int:
            found = processes.look(child, frozenset(), pins)
            return int(found.process["ppid"]) if found else 0

        assert [its_parent() for _ in range(3)] == [parent.pid] * 3
        parent.stdin.close()
    assert its_parent() not in (0, parent.pid)
    os.kill(child, signal.SIGKILL)
    pins.keep_only(())


def test_both_ends_of_a_pipe_have_one_inode() -> None:
    """Descriptors come with kind, flags, the end of a pipe, and the inode by which two are known to be one thing."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    os.set_inheritable(write, True)
    mine = held(os.getpid())
    assert mine[read]["kind"] == mine[write]["kind"] == "pipe"
    assert mine[read]["inode"] == mine[write]["inode"] == os.fstat(read).st_ino
    assert (mine[read]["end"], mine[read]["flags"]) == ("read", ("O_RDONLY", "O_CLOEXEC"))
    assert (mine[write]["end"], mine[write]["flags"]) == ("write", ("O_WRONLY", "O_NONBLOCK"))
    os.close(read)
    os.close(write)


def test_details_that_are_left_out_are_not_there() -> None:
    """Without details: no flags, no signals, no memory beyond RSS, and of the descriptors only the sockets."""
    with socket.socket() as mine:
        found = processes.look(os.getpid(), frozenset())
    assert found
    assert {row["kind"] for row in found.descriptors} == {"socket"}
    assert {row["flags"] for row in found.descriptors} == {None}
    assert mine.fileno() not in held(os.getpid())
    assert [found.process[key] for key in ("pss_kib", "wait_channel", "pending")] == [None] * 3


@pytest.fixture(params=["sock_diag", "proc"])
def source(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways to the sockets; the second with sock_diag hidden, as on a kernel that has none."""
    if request.param == "proc":
        monkeypatch.setattr(diag, "NETLINK_SOCK_DIAG", 31)  # a protocol of netlink that nobody has registered
    return str(request.param)


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_connections_and_their_queues(family: int, host: str, source: str) -> None:
    """A connection's two ends, states, waiting bytes and inode; a client in the backlog has inode 0."""
    if family == socket.AF_INET6 and not Path("/proc/net/if_inet6").exists():
        pytest.skip("this kernel has no IPv6")
    with socket.create_server((host, 0), family=family, backlog=3) as listener, socket.socket(family) as client:
        client.connect(listener.getsockname())
        client.sendall(b"12345")
        ours = "[::1]:%d" if family == socket.AF_INET6 else "127.0.0.1:%d"
        name = ours % client.getsockname()[1]

        def rows() -> list[dict[str, object]]:
            came_from, everything = sockets.table()
            assert came_from == source
            port = f":{listener.getsockname()[1]}"  # others of this machine may have the client's number elsewhere
            return [row for row in everything if row["remote"] == name and row["local"].endswith(port)]

        (waiting,) = rows()
        assert (waiting["state"], waiting["inode"], waiting["rx_queue"]) == ("ESTABLISHED", 0, 5)
        (listening,) = [row for row in sockets.sockets() if row["inode"] == os.fstat(listener.fileno()).st_ino]
        assert listening in sockets.listeners()
        assert {row["state"] for row in sockets.listeners()} == {"LISTEN"}
        assert (listening["state"], listening["backlog"]) == ("LISTEN", 1)
        assert listening["backlog_limit"] == (3 if source == "sock_diag" else None)
        connection, _ = listener.accept()
        (accepted,) = rows()
        assert accepted["inode"] == os.fstat(connection.fileno()).st_ino
        client.close()
        until(lambda: rows()[0]["state"] == "CLOSE_WAIT", "the FIN has arrived")
        connection.close()


def test_both_ways_tell_the_same() -> None:
    """sock_diag and /proc/net/tcp have the same rows, but for the limit of a backlog."""
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as client:
        here, there = (f"127.0.0.1:{each.getsockname()[1]}" for each in (listener, client))
        ours = {(here, "0.0.0.0:0"), (here, there), (there, here)}

        def rows(found: list[dict[str, Any]]) -> dict[tuple[str, str], dict[str, Any]]:
            ends = {(row["local"], row["remote"]): row for row in found}
            return {key: ends[key] | {"backlog_limit": None} for key in ours}

        assert rows(sockets.from_diag()) == rows([row | {"backlog_limit": None} for row in sockets.from_proc()])


def test_ipv4_comes_first(source: str) -> None:
    """Of a server that listens for both, the socket at which clients of 127.0.0.1 wait comes first."""
    if not Path("/proc/net/if_inet6").exists():
        pytest.skip("this kernel has no IPv6")
    with socket.create_server(("::1", 0), family=socket.AF_INET6), socket.create_server(("127.0.0.1", 0)):
        told, rows = sockets.table()
    families = [row["family"] for row in rows]
    assert (told, families, set(families)) == (source, sorted(families), {4, 6})


def test_an_answer_of_netlink_that_is_cut_short() -> None:
    """Is an error, after which /proc answers; it is never read as a socket."""
    whole = diag.HEADER.pack(diag.HEADER.size + 72, 20, 0, 1, 0) + bytes(72)
    assert len(list(diag.messages(whole))) == 1
    for length in range(diag.HEADER.size, len(whole)):
        with pytest.raises(OSError, match="cut short"):
            list(diag.messages(whole[:length]))
    with pytest.raises(OSError, match="inet_diag_msg"):
        diag.parse(bytes(40))


def test_addresses_as_people_write_them() -> None:
    """The kernel prints 32-bit words in the processor's byte order; an IPv4 peer of an IPv6 socket is shown as IPv4."""
    if sys.byteorder == "big":
        pytest.skip("the words below are of a little-endian kernel")
    assert sockets.endpoint(4, "0100007F:23E6") == "127.0.0.1:9190"
    assert sockets.endpoint(6, "00000000000000000000000001000000:0050") == "[::1]:80"
    assert sockets.endpoint(6, "0000000000000000FFFF00000100007F:0050") == "127.0.0.1:80"


def test_features_are_tried() -> None:
    """Each feature is answered with yes or no, never with an exception; netlink's sock_diag needs no privilege."""
    found = features()["features"]
    assert set(found) == {"netem", "tbf", "nftables", "nfqueue", "sock_diag", "ptrace"}
    assert all(isinstance(works, bool) for works in found.values())


def test_the_command_answers_with_one_json_line() -> None:
    """A snapshot is one line of JSON with the documented keys."""
    command = [sys.executable, "-m", "probe", "snapshot"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.count("\n") == 1
    said = json.loads(done.stdout)
    assert set(said) == {
        *("time", "server", "processes", "descriptors", "holders", "sockets", "source", "consistent"),
    }
    assert set(said["consistent"]) == {"whole", "seconds", "began", "ended", "sockets"}


@pytest.mark.parametrize(("listening", "code"), [(True, 0), (False, 1)])
def test_waiting_for_a_listener(listening: bool, code: int) -> None:
    """wait-listening answers 0 as soon as the port listens, and 1 when the time is over."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        if not listening:
            listener.close()
        command = [sys.executable, "-m", "probe", "wait-listening", "--port", str(port), "--seconds", "0.2"]
        assert subprocess.run(command, cwd=ROOT).returncode == code


def test_a_stream_ends_with_its_input() -> None:
    """One line a snapshot, until standard input is closed."""
    with stream(0.01) as watching:
        assert watching.stdin
        assert watching.stdout
        times = [json.loads(watching.stdout.readline())["time"] for _ in range(3)]
        watching.stdin.close()
        assert watching.wait(PATIENCE) == 0
    assert times == sorted(set(times))


def test_a_stream_that_nobody_reads_ends() -> None:
    """The reader goes: no traceback, no process that stays."""
    with stream(0.01) as watching:
        assert watching.stdout
        watching.stdout.readline()
        watching.stdout.close()
        assert watching.wait(PATIENCE) == 0


def test_a_stream_that_is_stuck_ends_too() -> None:
    """Nobody takes its lines, the pipe is full, and then the other side goes: it does not block for ever."""
    with stream(0) as watching:
        assert watching.stdin
        assert watching.stdout
        watching.stdout.readline()  # it has made room in the pipe by now, which is taken away again
        fcntl.fcntl(watching.stdout, fcntl.F_SETPIPE_SZ, select.PIPE_BUF)
        writer = os.open(f"/proc/self/fd/{watching.stdout.fileno()}", os.O_WRONLY)
        until(lambda: not select.select([], [writer], [], 0)[1], "the pipe is full")
        os.close(writer)
        watching.stdin.close()
        assert watching.wait(PATIENCE) == 0


def test_a_stream_takes_its_share_and_no_more() -> None:
    """Asked for as many looks as it can, with a tenth of a processor: it takes that, and not twice as much."""
    with stream(0, 0.1) as watching:
        assert watching.stdin
        assert watching.stdout
        watching.stdout.readline()
        before, begin = process(watching.pid)["cpu"], time.monotonic()
        for _ in range(20):
            watching.stdout.readline()
        used, took = process(watching.pid)["cpu"] - before, time.monotonic() - begin
        watching.stdin.close()
    assert used / took < 0.2


@pytest.mark.parametrize(
    "words",
    [
        ["watch", "--interval", "x"],
        ["watch", "--share", "0"],
        ["watch", "--interval", "-1"],
        ["snapshot", "--details", "x"],
    ],
)
def test_wrong_words(words: list[str]) -> None:
    """Exit code 2, and the value is named."""
    done = subprocess.run([sys.executable, "-m", "probe", *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert words[-1] in done.stderr


WATCH = """
import sys, time
from probe import watch

def snapshot(details, pins):
    end = time.process_time() + 0.01  # what a look costs, however many processes this machine has
    while time.process_time() < end:
        pass
    return {"time": time.monotonic(), "processes": ["x" * 1000]}

watch.snapshot = snapshot
watch.watch(float(sys.argv[1]), frozenset(), float(sys.argv[2]))
"""


def stream(interval: float, share: float = 1.0) -> "subprocess.Popen[bytes]":
    """A stream of looks of a known cost."""
    command = [sys.executable, "-c", WATCH, str(interval), str(share)]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def test_the_probe_does_not_look_at_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """It holds descriptors of every process that it keeps open, and would read them all each time."""
    seen: list[int] = []
    monkeypatch.setattr(snapshot, "look", lambda pid, details, pins: seen.append(pid))
    snapshot.snapshot()
    assert os.getppid() in seen
    assert os.getpid() not in seen
