"""What a time-line is made of. Times are nanoseconds since its start; the start is an instant of CLOCK_MONOTONIC."""

from dataclasses import dataclass, field
from typing import Any

PROCESS, THREAD, PEER = "process", "thread", "peer"
"""Kinds of lane: a process, a thread, and a client that runs outside our sight and is known by its segments."""


@dataclass
class Lane:
    """One life of a process or thread from fork to exit; a PID that is given away again is another life.

    ``place`` is 0 for the server, else the number of a client's container. ``owner`` is the lane whose table of
    descriptors this one uses: its own but for threads. ``reaped`` is when its parent had its status; a zombie between.
    ``before`` says that it was there when the recording began.
    """

    id: int
    place: int
    pid: int
    kind: str
    born: int
    parent: int | None = None
    ppid: int | None = None
    owner: int = -1
    name: str = ""
    before: bool = False
    ended: int | None = None
    how: str = ""
    reaped: int | None = None
    reaped_by: int | None = None
    stops: list[list[int | None]] = field(default_factory=list)


@dataclass
class Thing:
    """An open file description (open(2)): what descriptors lead to, and what fork and dup share.

    ``holds`` are the spans in which a table had a descriptor for it: lane, number, from, to (None: still there).
    """

    id: int
    place: int
    kind: str
    label: str
    connection: int | None = None
    holds: list[list[int | None]] = field(default_factory=list)
    used_by: set[int] = field(default_factory=set)


@dataclass
class Connection:
    """One TCP connection. ``states`` are (time, state) of each end; ``fin`` and ``reset`` when an end sent one."""

    id: int
    client: str
    server: str
    opened: int
    before: bool = False
    accepted: int | None = None
    accepted_by: int | None = None
    things: dict[str, int] = field(default_factory=dict)
    states: dict[str, list[tuple[int, str]]] = field(default_factory=lambda: {"client": [], "server": []})
    fin: dict[str, int] = field(default_factory=dict)
    reset: dict[str, int] = field(default_factory=dict)

    def state(self, end: str) -> str | None:
        """The last known state of ``client`` or ``server``."""
        return self.states[end][-1][1] if self.states[end] else None


@dataclass
class Event:
    """Something that happened: ``time`` is when it took effect, within the call from ``begin`` to ``end``.

    ``minor`` are those that one steps over at first: files, polls, calls that would have blocked. ``deltas`` is what
    changes in the tables, in the words of docs/trace.md.
    """

    time: int
    kind: str
    text: str
    place: int = 0
    lane: int | None = None
    begin: int | None = None
    end: int | None = None
    call: str = ""
    minor: bool = False
    fields: dict[str, Any] = field(default_factory=dict)
    deltas: list[list[Any]] = field(default_factory=list)


@dataclass
class Fault:
    """A span in which the lab broke something on purpose; ``end`` None: it was still in force."""

    name: str
    detail: str
    begin: int
    end: int | None = None


@dataclass
class Timeline:
    """All of it. ``start`` is CLOCK_MONOTONIC in ns, ``length`` the time to the last thing known."""

    start: int
    length: int = 0
    precision: int = 0
    places: list[str] = field(default_factory=list)
    lanes: list[Lane] = field(default_factory=list)
    things: list[Thing] = field(default_factory=list)
    connections: list[Connection] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    lines: int = 0
    unread: int = 0
    segments: bool = True

    def lane_name(self, lane: int | None) -> str:
        """A process as a reader knows it."""
        if lane is None:
            return "?"
        found = self.lanes[lane]
        if found.kind == PEER:
            return f"client {found.name}"
        who = "" if found.place == 0 else f" of {self.places[found.place]}"
        return f"{found.kind} {found.pid}{who}"
