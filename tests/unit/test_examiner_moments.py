"""What the examiner records of a check for its time-line: bounded, in order, and true of what was looked at."""

from types import SimpleNamespace
from typing import Any

import pytest

from examiner import _moments
from examiner._moments import FIRST, LAST, MOST_BETWEEN, Moments

Clock = SimpleNamespace


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The time as the examiner reads it, in seconds: ``now`` can be set."""
    made = SimpleNamespace(now=100.0)
    monkeypatch.setattr(_moments, "time", SimpleNamespace(monotonic=lambda: made.now))
    return made


def process(pid: int, state: str = "S", ppid: int = 1, threads: int = 1) -> dict[str, Any]:
    """As ``Subject.tree`` has it."""
    return {"pid": pid, "ppid": ppid, "state": state, "name": "server", "threads": threads}


def tree(*processes: dict[str, Any]) -> dict[int, dict[str, Any]]:
    """Some of them by PID."""
    return {each["pid"]: each for each in processes}


def states(moments: Moments, pid: int) -> list[str]:
    """What a process was, one after the other."""
    return [each["state"] for each in moments.told() if each["kind"] == "process" and each["pid"] == pid]


def test_a_process_is_recorded_when_it_changes() -> None:
    """Running and sleeping are one; a stop under strace is a stop only if we stopped it; what is not there has gone."""
    moments = Moments()
    for state in "RSDt":
        moments.processes(7, tree(process(7), process(8, state, ppid=7)))
    moments.signal(8, "SIGSTOP")
    moments.processes(7, tree(process(7), process(8, "t", ppid=7)))
    moments.signal(8, "SIGCONT")
    moments.processes(7, tree(process(7), process(8, "Z", ppid=7)))
    moments.processes(7, tree(process(7, "Z")))
    assert states(moments, 8) == ["alive", "stopped", "zombie", "gone"]
    assert states(moments, 7) == ["alive", "gone"]  # that it stays a zombie is our doing, not its


def test_an_orphan_and_a_thread_are_changes() -> None:
    """The parent is then the examiner, which is 0."""
    moments = Moments()
    moments.processes(7, tree(process(7), process(8, ppid=7)))
    moments.processes(7, tree(process(8, ppid=1, threads=3)))
    (_, _, last, gone) = moments.told()
    assert (last["pid"], last["ppid"], last["threads"]) == (8, 0, 3)
    assert (gone["pid"], gone["state"]) == (7, "gone")


def test_bytes_that_follow_each_other_are_one_record(clock: Clock) -> None:
    """Until something else happens, or nothing for a while."""
    moments = Moments()
    tell = moments.client("127.0.0.1:40001")
    for _ in range(3):
        clock.now += 0.01
        tell("send", 5)
        tell("receive", 4)
    tell("half-close")
    tell("receive", 1)
    clock.now += 1
    tell("receive", 2)
    told = [(each["kind"], each.get("bytes")) for each in moments.told()]
    assert told == [
        ("connect", None),
        ("send", 15),
        ("receive", 12),
        ("half-close", None),
        *[("receive", n) for n in (1, 2)],
    ]


def row(state: str, remote: str, inode: int = 9) -> dict[str, Any]:
    """As ``probe.sockets`` has it."""
    return {"state": state, "remote": remote, "inode": inode}


def test_a_socket_is_its_state_and_its_holders(clock: Clock) -> None:
    """Both are known only as of when they were looked at; a process that has ended holds nothing."""
    moments = Moments()
    tell = moments.client("c:1")
    moments.processes(7, tree(process(7), process(8, ppid=7)))
    moments.sockets([row("LISTEN", "0:0", 3), row("ESTABLISHED", "c:1"), row("ESTABLISHED", "another:1", 4)])
    moments.holders({9: {7, 8}, 4: {7}})
    clock.now += 0.1
    tell("close")
    moments.processes(7, tree(process(7), process(8, "Z", ppid=7)))
    moments.holders({9: {7}})
    moments.sockets([row("CLOSE_WAIT", "c:1")])
    found = [(e["state"], e["pids"]) for e in moments.told() if e["kind"] == "socket" and e["client"] == 1]
    assert found == [("ESTABLISHED", [7, 8]), ("ESTABLISHED", [7]), ("open", [7]), ("CLOSE_WAIT", None)]
    listener = [e["state"] for e in moments.told() if e["kind"] == "socket" and e["client"] == 0]
    assert listener[-1] == ""


def test_a_connection_in_the_backlog_is_held_by_nobody() -> None:
    """Its inode is 0 until it is accepted."""
    moments = Moments()
    moments.client("c:1")
    moments.sockets([row("ESTABLISHED", "c:1", 0)])
    assert moments.told()[-1]["pids"] == []
    moments.sockets([row("ESTABLISHED", "c:1", 9)])
    assert moments.told()[-1]["pids"] is None  # accepted, and nobody has looked by whom


def test_the_middle_of_too_much_is_left_out_but_not_what_it_led_to() -> None:
    """The first and the last records stay; between them stand their count and the states as of then."""
    moments = Moments()
    moments.processes(7, tree(process(7)))
    for pid in range(1000, 2000):
        zombies = [process(each, "Z", ppid=7) for each in range(1500, pid, 100)]
        moments.processes(7, tree(process(7), *zombies, process(pid, ppid=7)))
        moments.note("note", "x" * 10_000)
    moments.end("FAIL", "bad")
    told = moments.told()
    assert len(told) <= FIRST + LAST + MOST_BETWEEN + 1
    gap = next(each for each in told if each["kind"] == "left-out")
    after = told[told.index(gap) + 1 :]
    assert gap["count"] > 1000
    assert states(moments, 1500)[-1] == "zombie"
    assert all(each["at"] >= gap["until"] for each in after)
    assert told[-1]["verdict"] == "FAIL"
    assert max(len(each.get("words", "")) for each in told) < 400


def test_after_the_verdict_nothing_counts() -> None:
    """That the subject is killed then is no part of what it did."""
    moments = Moments()
    tell = moments.client("c:1")
    moments.end("FAIL", "bad")
    tell("close")
    tell("receive", 3)
    moments.processes(7, tree(process(7)))
    moments.sockets([row("ESTABLISHED", "c:1")])
    assert moments.told()[-1]["kind"] == "verdict"
