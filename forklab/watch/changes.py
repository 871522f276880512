"""What happened between two snapshots, one line each: forked, ended, reaped, connected, closed and their kind."""

from collections.abc import Iterator
from dataclasses import dataclass

from forklab.observe import ESTABLISHED, ZOMBIE, Process, Snapshot, Socket

STOPPED = "T"
ENDS = {
    "CLOSE_WAIT": "the client has closed",
    "FIN_WAIT1": "this side has closed",
    "FIN_WAIT2": "this side has closed",
    "LAST_ACK": "both sides have closed",
    "TIME_WAIT": "both sides have closed",
    "CLOSING": "both sides have closed",
}


@dataclass(frozen=True)
class Change:
    """One thing that happened; ``kind`` is a word to sort by, ``words`` tell it."""

    kind: str
    words: str


def changes(before: Snapshot, after: Snapshot) -> list[Change]:
    """All that a look sees to have happened since the one before it.

    What began and ended between two looks is not seen: ``./lab trace`` misses nothing.
    """
    return [*_processes(before, after), *_connections(before, after)]


def _processes(before: Snapshot, after: Snapshot) -> Iterator[Change]:
    # A PID may be used again; with its start it names one process for ever (proc_pid_stat(5)).
    old = {(process.pid, process.start): process for process in before.processes}
    new = {(process.pid, process.start): process for process in after.processes}
    for key in sorted(new.keys() - old.keys()):
        yield Change("forked", f"{new[key].pid} forked, child of {new[key].ppid}")
        if new[key].state == ZOMBIE:
            yield _ended(new[key])
    for key in sorted(old.keys() & new.keys()):
        yield from _process(old[key], new[key])
    for key in sorted(old.keys() - new.keys()):
        ended = "was reaped" if old[key].state == ZOMBIE else "ended and was reaped"
        yield Change("reaped", f"{old[key].pid} {ended}")


def _process(old: Process, new: Process) -> Iterator[Change]:
    if new.state == ZOMBIE != old.state:
        yield _ended(new)
    elif new.state == STOPPED != old.state:
        yield Change("stopped", f"{new.pid} stopped")
    elif old.state == STOPPED != new.state:
        yield Change("continued", f"{new.pid} goes on")
    if new.ppid != old.ppid:
        yield Change("orphan", f"{new.pid} has lost its parent {old.ppid}; now {new.ppid} is")


def _ended(process: Process) -> Change:
    return Change("ended", f"{process.pid} ended: a ZOMBIE until {process.ppid} waits for it")


def _connections(before: Snapshot, after: Snapshot) -> Iterator[Change]:
    old, new = _by_peer(before), _by_peer(after)
    for peer in sorted(new.keys() - old.keys()):
        yield from _came(new[peer], after)
    for peer in sorted(old.keys() & new.keys()):
        yield from _went_on(old[peer], new[peer], after)
    for peer in sorted(old.keys() - new.keys()):
        yield Change("closed", f"{peer} is gone")


def _by_peer(seen: Snapshot) -> dict[str, Socket]:
    return {row.remote: row for row in seen.connections()}


def _came(row: Socket, seen: Snapshot) -> Iterator[Change]:
    where = f", accepted: {_holders(row, seen)}" if row.inode else ", waits to be accepted"
    yield Change("connected", f"{row.remote} connected{where if row.state == ESTABLISHED else ''}")
    if row.state in ENDS:
        yield _ends(row)


def _went_on(old: Socket, new: Socket, seen: Snapshot) -> Iterator[Change]:
    if new.inode and not old.inode:
        yield Change("accepted", f"{new.remote} accepted: {_holders(new, seen)}")
    elif new.inode == old.inode:
        for pid in sorted(set(old.holders) - set(new.holders)):
            if seen.process(pid):  # otherwise its end says it
                yield Change("copy closed", f"{pid} closed its copy of {new.remote}")
        for pid in sorted(set(new.holders) - set(old.holders)):
            yield Change("copy", f"{pid} holds {new.remote} too" if old.holders else f"{pid} holds {new.remote}")
    if new.state != old.state and new.state in ENDS:
        yield _ends(new)


def _ends(row: Socket) -> Change:
    return Change("closing", f"{row.remote} {ENDS[row.state]} ({row.state})")


def _holders(row: Socket, seen: Snapshot) -> str:
    return f"in {', '.join(map(str, row.holders))}" if row.holders else "by a process not seen yet"
