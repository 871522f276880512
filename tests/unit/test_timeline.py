"""The time-line: recorded traces of servers in C and Python read right, garbage read without a word, and the shows."""

import gzip
import json
import random
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import pytest

from forklab.timeline import jsonl, perfetto, picture, strace, text
from forklab.timeline.model import Event, Lane, Timeline
from forklab.timeline.page import page
from forklab.timeline.replay import replay
from forklab.timeline.tcp import Tcp
from tests.chromium import Browser

TRACES = Path(__file__).parent / "traces"
NAMES = sorted(file.name.removesuffix(".strace.gz") for file in TRACES.glob("*.gz"))
SERVERS = [name for name in NAMES if name != "c-odd"]
CLOCK = {"offset": 0, "error": 40, "monotonic": 10**18 * 2}


def trace(name: str) -> str:
    """A recorded trace."""
    return gzip.decompress((TRACES / f"{name}.strace.gz").read_bytes()).decode()


def timeline(text: str, **files: str) -> Timeline:
    """What becomes of it."""
    all_ = {"server-0": text, "meta": json.dumps({"clock": {"offset": 0, "error": 40}}), **files}
    return replay({name: content.encode(errors="replace") for name, content in all_.items()})


def made(*lines: str) -> Timeline:
    """Of lines that begin after the time: ``7 accept(...) = 3``; one millisecond passes from each to the next."""
    return timeline("".join(f"{pid} 1.{n:03}000000 {rest}\n" for n, (pid, _, rest) in numbered(*lines)))


def numbered(*lines: str) -> list[tuple[int, tuple[str, str, str]]]:
    """Each line's number, and its PID apart."""
    return list(enumerate(line.partition(" ") for line in lines))


def kinds(line: Timeline) -> Counter[str]:
    """Events that are not minor, by kind."""
    return Counter(event.kind for event in line.events if not event.minor)


def lane(line: Timeline, pid: int, nth: int = 0) -> Lane:
    """The nth life of a PID."""
    return [lane for lane in line.lanes if lane.pid == pid][nth]


def of(line: Timeline, kind: str) -> list[Event]:
    """The events of one kind."""
    return [event for event in line.events if event.kind == kind and not event.minor]


@pytest.mark.parametrize("name", NAMES)
def test_every_line_is_read(name: str) -> None:
    """Nothing that strace wrote is passed over; no call is left open but those at the end."""
    reading = strace.read(trace(name))
    assert reading.lines > 0
    assert reading.unread == 0
    calls = [record for record in reading.records if isinstance(record, strace.Call)]
    still_open = [call for call in calls if call.end is None]
    assert len(still_open) <= len({record.pid for record in reading.records})
    assert all(call.begin <= call.end for call in calls if call.end is not None)


@pytest.mark.parametrize("name", SERVERS)
def test_both_clients_are_seen(name: str) -> None:
    """Each model, in C and in Python: two are accepted, served and closed; who closed last left none behind."""
    line = timeline(trace(name))
    assert len(of(line, "accept")) == len(line.connections) == 2
    sent = [event for event in of(line, "write") if "connection" in event.fields]
    assert {event.fields["bytes"] for event in sent} == {6}
    for connection in line.connections:
        holds = line.things[connection.things["server"]].holds
        assert holds
        assert all(hold[3] is not None for hold in holds), "closed by all"
        assert connection.state("server") in ("LAST_ACK", "CLOSED")
    assert line.findings == []


@pytest.mark.parametrize("name", ["c-fork", "python-fork"])
def test_fork_is_accepted_above_and_served_below(name: str) -> None:
    """The parent accepts and closes its copy; the child serves, exits, is a zombie, and is reaped by the parent."""
    line = timeline(trace(name))
    parent, *children = [lane for lane in line.lanes if lane.kind == "process"]
    assert [child.parent for child in children] == [parent.id] * 2
    assert kinds(line)["exit"] == kinds(line)["zombie"] == kinds(line)["reap"] == 2
    for child in children:
        assert child.how == "exit status 0"
        assert child.ended is not None
        assert child.reaped is not None
        assert child.born < child.ended < child.reaped
        assert child.reaped_by == parent.id
    for connection in line.connections:
        thing = line.things[connection.things["server"]]
        (worker,) = thing.used_by
        assert connection.accepted_by == parent.id
        assert worker != parent.id
        assert {hold[0] for hold in thing.holds} >= {parent.id, worker}


@pytest.mark.parametrize("name", ["c-thread", "python-thread"])
def test_threads_share_one_table(name: str) -> None:
    """A thread is a lane without a table of its own, and no zombie."""
    line = timeline(trace(name))
    threads = [lane for lane in line.lanes if lane.kind == "thread"]
    (process,) = [lane for lane in line.lanes if lane.kind == "process"]
    assert len(threads) == 2
    assert {thread.owner for thread in threads} == {process.id}
    assert all(thread.ended == thread.reaped for thread in threads)
    assert kinds(line)["zombie"] == 0
    assert {hold[0] for thing in line.things for hold in thing.holds} == {process.id}


def test_what_servers_seldom_do() -> None:
    """A PID given away twice, vfork and exec, a signal in a read, stop, kill, SIG_IGN, exec by a thread, SCM_RIGHTS."""
    line = timeline(trace("c-odd"))
    forks = of(line, "fork")
    again = next(event.fields["child_pid"] for event in forks)
    first, second = lane(line, again), lane(line, again, 1)
    assert (first.how, second.how) == ("exit status 3", "exit status 4")
    assert first.reaped is not None
    assert first.reaped <= second.born
    vforked = lane(line, forks[2].fields["child_pid"])
    assert vforked.name == "replaced from-a-vfork"
    assert forks[2].time < next(event.time for event in of(line, "exec") if event.lane == vforked.id)
    killed = lane(line, forks[3].fields["child_pid"])
    assert killed.how == "killed by SIGKILL"
    assert len(killed.stops) == 1
    assert None not in killed.stops[0]
    assert [event.fields["bytes"] for event in of(line, "read") if event.lane == killed.id] == [1]
    ignored = lane(line, forks[4].fields["child_pid"])
    assert ignored.ended == ignored.reaped, "SIGCHLD is ignored: no zombie"
    assert kinds(line)["reap"] == 4, "WNOWAIT and a stopped child are no reaping"
    main = line.lanes[0]
    assert main.name == "replaced from-a-thread"
    assert main.how == "exit status 5"
    (thread,) = [lane for lane in line.lanes if lane.kind == "thread"]
    assert thread.ended is not None
    assert main.ended is not None
    assert thread.ended < main.ended


def test_exec_closes_what_was_marked() -> None:
    """FD_CLOEXEC by accept4, fcntl and ioctl; a copy by dup2 does not inherit the mark (dup(2))."""
    line = made(
        "7 pipe2([3<pipe:[1]>, 4<pipe:[1]>], O_CLOEXEC) = 0",
        "7 dup2(4<pipe:[1]>, 5) = 5<pipe:[1]>",
        "7 socket(AF_INET, SOCK_STREAM, IPPROTO_TCP) = 6<TCP:[9]>",
        "7 fcntl(6<TCP:[9]>, F_SETFD, FD_CLOEXEC) = 0",
        '7 memfd_create("slate", MFD_CLOEXEC) = 7</memfd:slate>(deleted)',
        "7 fcntl(7</memfd:slate>(deleted), F_DUPFD, 0) = 8</memfd:slate>(deleted)",
        '7 execve("/bin/true", ["true", "a, \\"b\\")"], 0x1 /* 1 var */) = 0',
    )
    held = {hold[1] for thing in line.things for hold in thing.holds if hold[3] is None}
    assert held == {5, 8}
    assert line.unread == 0
    assert line.lanes[0].name == 'true a, "b")'


def test_a_fork_that_never_returns_still_has_a_child() -> None:
    """The parent was killed in clone, or the recording ends there: the child is its child all the same."""
    line = made("7 accept(3, NULL, NULL) = 4", "7 clone(flags=SIGCHLD <unfinished ...>", "9 close(3) = 0")
    assert lane(line, 9).parent == lane(line, 7).id
    assert not lane(line, 9).before


def test_a_child_may_speak_before_its_fork_returns() -> None:
    """The fork has happened when the child says its first word."""
    line = made(
        "7 pipe2([3<pipe:[1]>, 4<pipe:[1]>], 0) = 0",
        "7 clone(flags=SIGCHLD <unfinished ...>",
        "9 close(3<pipe:[1]>) = 0",
        "7 <... clone resumed>) = 9",
    )
    (fork,) = of(line, "fork")
    (close,) = of(line, "close")
    assert fork.time < close.time
    assert "still held by 7" in close.text


def test_queues_of_a_socket_are_told() -> None:
    """What ioctl(2) says of bytes that nobody has read, or the peer has not confirmed; other requests are not told."""
    line = made(
        "7 ioctl(5<TCP:[1.1.1.1:1->1.1.1.1:2]>, FIONREAD, [32768]) = 0",
        "7 ioctl(5<TCP:[1.1.1.1:1->1.1.1.1:2]>, TIOCOUTQ, [7]) = 0",
        "7 ioctl(5<TCP:[1.1.1.1:1->1.1.1.1:2]>, TCGETS, 0x7ffee0c2c9d0) = -1 ENOTTY (Inappropriate ioctl for device)",
    )
    told = [(event.fields["queue"], event.fields["bytes"]) for event in line.events if event.kind == "queue"]
    assert told == [("unread", 32768), ("unconfirmed", 7)]


def test_orphans_belong_to_init() -> None:
    """A parent that ends first: its zombie goes with it, its living child gets parent 1."""
    line = made(
        "7 clone(flags=SIGCHLD) = 8",
        "7 clone(flags=SIGCHLD) = 9",
        "8 exit_group(0) = ?",
        "8 +++ exited with 0 +++",
        "7 exit_group(0) = ?",
        "7 +++ exited with 0 +++",
    )
    assert lane(line, 9).ppid == 1
    assert lane(line, 8).reaped == lane(line, 7).ended
    assert lane(line, 8).reaped_by is None


def test_the_leak_is_told_in_words() -> None:
    """The child served and closed, the parent never did: who holds it, as which number, and what the client sees."""
    line = timeline(
        "7 1.000000000 accept4(3<TCP:[10.0.0.2:9190]>, NULL, NULL, 0) = 4<TCP:[10.0.0.2:9190->10.0.0.3:5000]>\n"
        "7 1.001000000 clone(flags=SIGCHLD) = 8\n"
        '8 1.002000000 read(4<TCP:[10.0.0.2:9190->10.0.0.3:5000]>, "", 10) = 0\n'
        "8 1.003000000 close(4<TCP:[10.0.0.2:9190->10.0.0.3:5000]>) = 0\n"
    )
    (finding,) = line.findings
    assert "FIN to 10.0.0.3:5000 never left: process 7 " in finding
    assert "still holds the socket as fd 4, although process 8, which served it, closed its copy" in finding
    assert "CLOSE_WAIT" in finding
    mended = timeline(
        "7 1.000000000 accept4(3<TCP:[10.0.0.2:9190]>, NULL, NULL, 0) = 4<TCP:[10.0.0.2:9190->10.0.0.3:5000]>\n"
        "7 1.001000000 clone(flags=SIGCHLD) = 8\n"
        "7 1.001500000 close(4<TCP:[10.0.0.2:9190->10.0.0.3:5000]>) = 0\n"
        '8 1.002000000 read(4<TCP:[10.0.0.2:9190->10.0.0.3:5000]>, "x", 10) = 1\n'
    )
    assert mended.findings == []


def test_a_zombie_nobody_waited_for_is_told() -> None:
    """Its PID, its status, and whose duty it is."""
    line = made("7 clone(flags=SIGCHLD) = 8", "8 exit_group(3) = ?", "8 +++ exited with 3 +++", "7 pause() = ?")
    (finding,) = line.findings
    assert finding.startswith("Process 8 is a zombie")
    assert "exit status 3" in finding
    assert "process 7, has not waited" in finding


SEGMENTS = {
    "the client closes first": (
        ("c S 100 0", "s SA 500 101", "c A 101 501", "c FA 101 501", "s A 501 102", "s FA 501 102", "c A 102 502"),
        "SYN_SENT ESTABLISHED FIN_WAIT1 FIN_WAIT2 TIME_WAIT",
        "SYN_RECV ESTABLISHED CLOSE_WAIT LAST_ACK CLOSED",
    ),
    "the server closes first": (
        ("c S 100 0", "s SA 500 101", "c A 101 501", "s FA 501 101", "c FA 101 502", "s A 502 102"),
        "SYN_SENT ESTABLISHED CLOSE_WAIT LAST_ACK CLOSED",
        "SYN_RECV ESTABLISHED FIN_WAIT1 FIN_WAIT2 TIME_WAIT",
    ),
    "both at once": (
        ("c S 100 0", "s SA 500 101", "c A 101 501", "c FA 101 501", "s FA 501 101", "s A 502 102", "c A 102 502"),
        "SYN_SENT ESTABLISHED FIN_WAIT1 FIN_WAIT2 TIME_WAIT",
        "SYN_RECV ESTABLISHED FIN_WAIT1 CLOSING TIME_WAIT",
    ),
    "a reset": (
        ("c S 100 0", "s SA 500 101", "c A 101 501", "c R 101 0"),
        "SYN_SENT ESTABLISHED CLOSED",
        "SYN_RECV ESTABLISHED CLOSED",
    ),
    "a FIN that was lost is sent again": (
        ("c S 100 0", "s SA 500 101", "c A 101 501", "s FA 501 101", "s FA 501 101", "c A 101 502"),
        "SYN_SENT ESTABLISHED CLOSE_WAIT",
        "SYN_RECV ESTABLISHED FIN_WAIT1 FIN_WAIT2",
    ),
}


@pytest.mark.parametrize("name", SEGMENTS)
def test_states_follow_from_segments(name: str) -> None:
    """RFC 9293, figure 5: both ends, whoever closes first."""
    segments, client, server = SEGMENTS[name]
    tcp, passed = Tcp(), {"client": list[str](), "server": list[str]()}
    for at, segment in enumerate(segments):
        sender, flags, seq, ack = segment.split()
        for changed, state, _ in tcp.take(at, "client" if sender == "c" else "server", flags, int(seq), int(ack), 0):
            passed[changed].append(state)
    assert passed == {"client": client.split(), "server": server.split()}


def test_segments_and_calls_meet() -> None:
    """The SYN, the accept and a client's own trace tell of one connection; a SYN sent again is none of its own."""
    syn = {"source": "10.0.0.3:5000", "target": "10.0.0.2:9190", "flags": "S", "seq": 1, "ack": 0, "length": 0}
    rows = [syn | {"real": 900_000_000}, syn | {"real": 950_000_000}, syn | {"real": 9_000_000_000, "seq": 7}]
    pair = "10.0.0.3:5000->10.0.0.2:9190"
    line = timeline(
        "7 1.000000000 accept(3<TCP:[10.0.0.2:9190]>, NULL, NULL) = 4<TCP:[10.0.0.2:9190->10.0.0.3:5000]>\n",
        segments="".join(json.dumps(row) + "\n" for row in rows),
        **{"client-abc": f'7 1.100000000 sendto(3<TCP:[{pair}]>, "x", 1, 0, NULL, 0) = 1\n'},
    )
    first, second = line.connections
    assert set(first.things) == {"client", "server"}
    assert second.things == {}
    assert line.lanes[1].place == 1


def test_faults_are_spans() -> None:
    """Lines of the file faults become spans on the same clock; one that never ended stays open."""
    rows = [
        {"time": 0.1, "event": "fault-begin", "fault": "rate", "target": "server", "did": "1 Mbit/s"},
        {"time": 0.2, "event": "fault-end", "fault": "rate", "target": "server"},
        {"time": 1.5, "event": "fault-begin", "fault": "delay", "target": "server", "did": "50 ms"},
        {"time": 2.5, "event": "fault-end", "fault": "delay", "target": "server"},
        {"time": 3.0, "event": "fault-begin", "fault": "loss", "target": "server", "did": "10 %"},
    ]
    line = timeline("7 1.000000000 pause() = ?\n", faults="".join(json.dumps(row) + "\n" for row in rows))
    assert [(f.name, f.detail, f.begin, f.end) for f in line.faults] == [
        ("delay", "at the server: 50 ms", 500_000_000, 1_500_000_000),
        ("loss", "at the server: 10 %", 2_000_000_000, None),
    ]


def damaged(text: str, chance: random.Random) -> str:
    """Cut, shuffle, repeat, drop and garble lines."""
    lines = text.splitlines() or [""]
    for _ in range(chance.randint(1, 12)):
        at = chance.randrange(len(lines))
        match chance.randrange(6):
            case 0:
                lines[at] = lines[at][: chance.randrange(len(lines[at]) + 1)]
            case 1:
                chance.shuffle(lines)
            case 2:
                lines.insert(at, "".join(chr(chance.randrange(1, 300)) for _ in range(chance.randrange(80))))
            case 3 if len(lines) > 1:
                del lines[at]
            case 4:
                letters = list(lines[at])
                for _ in range(min(5, len(letters))):
                    letters[chance.randrange(len(letters))] = chance.choice('<>()[]{},"\\=+- 09aZ')
                lines[at] = "".join(letters)
            case _:
                lines.insert(at, chance.choice(lines))
    return "\n".join(lines)


@pytest.mark.parametrize("name", NAMES)
def test_whatever_comes_is_read(name: str) -> None:
    """Damaged traces raise nothing and are shown all the same; what could not be read is counted."""
    chance = random.Random(name)
    whole, unread = trace(name), 0
    for _ in range(60):
        line = timeline(damaged(whole, chance), first=damaged(FIRST, chance), segments=damaged("{}\n" * 9, chance))
        assert 0 <= line.unread <= line.lines + 1
        unread += line.unread
        jsonl.text(line)
        page(line, "damaged")
        ElementTree.fromstring(picture.svg(line, "damaged"))
        perfetto.trace(line)
        list(text.lines(line))
    assert unread > 0


FIRST = json.dumps(
    {
        "processes": [{"pid": 7, "ppid": 1, "state": "S", "name": "a", "command": "a b", "start": 1.0}],
        "descriptors": [{"pid": 7, "fd": 3, "kind": "socket", "target": "socket:[5]", "inode": 5}],
        "sockets": [{"inode": 5, "local": "10.0.0.2:9190", "remote": "10.0.0.9:77", "state": "ESTABLISHED"}],
    }
)


def test_what_was_there_before_is_known() -> None:
    """A recording that began late knows processes, descriptors and connections from one look at the kernel."""
    line = timeline("7 5.000000000 close(3<TCP:[10.0.0.2:9190->10.0.0.9:77]>) = 0\n", first=FIRST)
    (connection,) = line.connections
    assert connection.before
    assert connection.states["server"] == [(0, "ESTABLISHED")]
    assert line.things[connection.things["server"]].holds == [[0, 3, 0, 0]]
    assert line.lanes[0].name == "a b"


def test_json_lines_hold_all() -> None:
    """Each row is one object of a known type; events are in order of time and name their process."""
    line = timeline(trace("c-fork"))
    rows = [json.loads(row) for row in jsonl.text(line).splitlines()]
    assert rows[0]["type"] == "head"
    assert {row["type"] for row in rows} == {"head", "lane", "thing", "connection", "event"}
    events = [row for row in rows if row["type"] == "event"]
    assert [row["time"] for row in events] == sorted(row["time"] for row in events)
    accepted = next(row for row in events if row["kind"] == "accept" and not row["minor"])
    assert {"pid", "fd", "peer", "connection", "begin", "end", "call"} <= set(accepted)


def test_a_chrome_trace() -> None:
    """Spans have a duration, arrows a beginning and an end, and each track a name."""
    document = json.loads(json.dumps(perfetto.trace(timeline(trace("c-fork")))))
    phases = Counter(event["ph"] for event in document["traceEvents"])
    assert phases["s"] == phases["f"] == 2
    assert phases["M"] > 0
    assert all(event["dur"] >= 0 for event in document["traceEvents"] if event["ph"] == "X")


def test_the_page_is_whole_and_safe() -> None:
    """One file without an address to load from; what a client sent can neither end the script nor become markup."""
    evil = "</script><script>alert(1)</script><!--"
    quoted = evil.replace('"', "")
    line = timeline(f'7 1.000000000 write(1<pipe:[3]>, "{quoted}", 40) = 40\n')
    shown = page(line, evil)
    assert evil not in shown
    assert "://" not in shown.replace("http://www.w3.org", "")
    assert 'src="' not in shown
    assert "@DATA@" not in shown


def many(count: int) -> str:
    """A fork server with that many connections at once."""
    lines = []
    for n in range(count):
        pair = f"TCP:[10.0.0.2:9190->10.0.0.3:{2000 + n}]"
        lines += [
            f"7 {1 + n}.000000000 accept(3<TCP:[10.0.0.2:9190]>, NULL, NULL) = 4<{pair}>",
            f"7 {1 + n}.100000000 clone(flags=SIGCHLD) = {100 + n}",
            f"7 {1 + n}.200000000 close(4<{pair}>) = 0",
            f'{100 + n} {1 + n}.300000000 read(4<{pair}>, "x", 9) = 1',
        ]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("count", [5, 500])
@pytest.mark.parametrize("width", [400, 1280])
def test_the_page_in_a_browser(browser: Browser, tmp_path: Path, count: int, width: int) -> None:
    """No script error; all lanes and bars are laid out, and nothing runs over the edge of a narrow window."""
    seen = browser.at_width(page(timeline(many(count)), "many"), tmp_path, width)
    assert seen.data("overflow") == "false"
    assert seen.data("lanes") == str(count + 1)
    assert int(seen.data("bars")) >= 2 * count


def test_stepping_shows_the_tables_of_that_moment(browser: Browser, tmp_path: Path) -> None:
    """Before the fork the parent alone holds the connection, then both, then the child; and so backwards."""
    line = timeline(trace("c-fork"))
    shown = [event for event in line.events if not event.minor]
    accept = next(n for n, event in enumerate(shown) if event.kind == "accept")
    parent, child = line.lanes[0].pid, of(line, "fork")[0].fields["child_pid"]
    where = page(line, "steps")
    before = browser.look(where, tmp_path, f"#step={accept + 1}")
    assert "accepts" in before.text("event")
    assert str(child) not in before.text("processes")
    assert str(parent) in before.text("descriptors")
    fork = next(n for n, event in enumerate(shown) if event.kind == "fork" and event.fields["child_pid"] == child)
    both = browser.look(where, tmp_path, f"#step={fork + 1}")
    assert str(child) in both.text("processes")
    assert f"{child} as fd 4" in both.text("connections")
    assert f"{parent} as fd 4" in both.text("connections")
    closed = next(n for n, event in enumerate(shown) if event.kind == "close" and event.lane == line.lanes[0].id)
    alone = browser.look(where, tmp_path, f"#step={closed + 1}")
    assert f"{child} as fd 4" in alone.text("connections")
    assert f"{parent} as fd 4" not in alone.text("connections")
    zombie = next(n for n, event in enumerate(shown) if event.kind == "zombie")
    assert "ZOMBIE" in browser.look(where, tmp_path, f"#step={zombie + 1}").text("processes")
    assert "ZOMBIE" not in browser.look(where, tmp_path, f"#step={len(shown)}").text("processes")


@pytest.mark.parametrize("width", [500, 1280])
def test_colours_are_on_the_picture(browser: Browser, tmp_path: Path, width: int) -> None:
    """A screenshot has the colours of an open connection and of a zombie."""
    line = timeline(many(5) + "100 8.0 exit_group(0) = ?\n100 8.1 +++ exited with 0 +++\n7 9.0 pause() = ?\n")
    colours = browser.colours(page(line, "colours"), tmp_path, width, 900)
    assert {(0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00)} <= colours
