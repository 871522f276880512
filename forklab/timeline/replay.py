"""Replays a recording on one clock and keeps what the kernel keeps: processes, descriptor tables, connections."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from forklab.timeline import calls, strace
from forklab.timeline.findings import findings
from forklab.timeline.model import PEER, PROCESS, THREAD, Event, Fault, Lane, Timeline
from forklab.timeline.strace import Call, Ended, Record, Signal, Stopped
from forklab.timeline.tables import Tables

_EFFECT_AT_BEGIN = {"close", "close_range", "shutdown", "exit_group", "exit", "kill", "tkill", "tgkill", "connect"} | {
    "write",
    "writev",
    "sendto",
    "sendmsg",
}
"""These have done their work when other tasks go on; all others when they return."""
INLINE = "python3 -c"
"""The name of a program that is no file."""
_FORKS = {"fork", "vfork", "clone", "clone3"}
_SEGMENT_WORDS = {"S": "SYN", "F": "FIN", "R": "RST", "A": "ACK"}


@dataclass
class _Item:
    """Something recorded, with the instant it took effect in CLOCK_REALTIME."""

    time: int
    order: int
    place: int
    what: Any


def replay(files: Mapping[str, bytes]) -> Timeline:
    """A recording's files by name, as probe/trace.py describes them; whatever they hold, there is an answer."""
    meta = _document(files.get("meta", b""))
    clock = _numbers(meta.get("clock"))
    offset = clock.get("offset", 0)
    texts = {name: content.decode(errors="replace") for name, content in files.items()}
    places = ["server", *sorted(name for name in texts if name.startswith("client-"))]
    timeline = Timeline(start=0, places=places, segments="segments" in files)
    items: list[_Item] = []
    for name, text in sorted(texts.items()):
        if name.startswith("server-") or name in places:
            reading = strace.read(text)
            timeline.lines += reading.lines
            timeline.unread += reading.unread
            place = places.index(name) if name in places else 0
            items += _timed(reading.records, place)
    for row in _rows(texts.get("segments", ""), timeline):
        if isinstance(row.get("real"), int):
            items.append(_Item(row["real"], len(items), 0, row))
    first, last = (_document(files.get(name, b"")) for name in ("first", "last"))
    known = [clock["monotonic"] + offset] if "monotonic" in clock else []
    begin = min([*known, *(item.time for item in items)], default=0)
    timeline.start = begin - offset
    replayer = _Replayer(timeline, begin)
    replayer.look(first)
    for item in sorted(items, key=lambda item: (item.time, item.order)):
        replayer.take(item)
    ending = _numbers(meta.get("clock_end"))
    if "monotonic" in ending:
        timeline.length = max(timeline.length, int(ending["monotonic"]) - timeline.start)
    replayer.close()
    timeline.faults = list(_faults(_rows(texts.get("faults", ""), timeline), timeline))
    timeline.precision = int(clock.get("error", 0)) + abs(int(ending.get("offset", offset)) - offset)
    timeline.notes = list(_notes(meta, timeline, texts))
    timeline.findings = findings(timeline, last)
    return timeline


def _title(command: Sequence[str]) -> str:
    """What a person calls a process: without the interpreter, its flags, the folders, and the text of a program."""
    words = list(command)
    if words and PurePosixPath(words[0]).name.startswith("python"):
        while len(words) > 2 and words[1].startswith("-"):
            if words[1] == "-c":
                return INLINE
            del words[1]
        words = words[1:]
    return " ".join([PurePosixPath(words[0]).name, *words[1:]]) if words else ""


def _document(content: bytes) -> dict[str, Any]:
    try:
        found = json.loads(content or b"{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _numbers(found: Any) -> dict[str, int]:
    return {key: n for key, n in found.items() if isinstance(n, int)} if isinstance(found, dict) else {}


def _rows(text: str, timeline: Timeline) -> Iterator[dict[str, Any]]:
    for line in text.splitlines():
        timeline.lines += 1
        row = _document(line.encode())
        if row:
            yield row
        else:
            timeline.unread += 1


def _notes(meta: Mapping[str, Any], timeline: Timeline, texts: Mapping[str, str]) -> Iterator[str]:
    if meta.get("truncated"):
        yield "the memory for recordings was full before the end: later calls are missing"
    if timeline.unread:
        yield f"{timeline.unread} of {timeline.lines} recorded lines could not be read"
    if "no_segments" in meta:
        yield f"no segments were heard ({meta['no_segments']}): the TCP states follow from system calls alone"
    if meta.get("gate") is False:
        yield "the recording began while the server ran: what was before is known from one look at the kernel"
    yield "strace slows down what it watches: compare times within a recording only"


def _faults(rows: Iterator[dict[str, Any]], timeline: Timeline) -> Iterator[Fault]:
    """From the journal of the faults, with times of CLOCK_MONOTONIC in seconds; one that never ended is open.

    What was over before the recording began is left out.
    """
    open_: dict[str, Fault] = {}
    found: list[Fault] = []
    for row in rows:
        if not isinstance(row.get("time"), (int, float)):
            continue
        at = round(row["time"] * strace.NANO) - timeline.start
        key = f"{row.get('fault')}@{row.get('target')}"
        if row.get("event") == "fault-begin":
            open_[key] = Fault(str(row.get("fault")), f"at the {row.get('target')}: {row.get('did')}", max(0, at))
            found.append(open_[key])
        elif row.get("event") == "fault-end" and key in open_:
            open_.pop(key).end = at
    for fault in found:
        if fault.end is None or fault.end > 0:
            yield fault
            words = " ".join(filter(None, ("fault", fault.name, fault.detail)))
            timeline.events.append(Event(fault.begin, "fault", f"{words} begins"))
            if fault.end is not None:
                timeline.events.append(Event(fault.end, "fault", f"{words} ends"))
    timeline.events.sort(key=lambda event: event.time)


def _timed(records: list[Record], place: int) -> Iterator[_Item]:
    """Each record with the time it took effect; a fork at the child's first sign of life, if it returns later."""
    signs: dict[int, list[Record]] = {}
    for record in records:
        signs.setdefault(record.pid, []).append(record)
    position = dict.fromkeys(signs, 0)
    for record in records:
        position[record.pid] += 1
        if isinstance(record, Call):
            time = record.begin if record.end is None or record.name in _EFFECT_AT_BEGIN else record.end
            if record.name in _FORKS and record.value in signs:
                child = signs[record.value]
                at = position[record.value]
                if at < len(child):
                    time = max(record.begin, min(time, _begin(child[at]) - 1))
        else:
            time = record.time
        yield _Item(time, record.first, place, record)


def _unescaped(word: str) -> str:
    """An argument as it was, on one line; strace writes a backslash before quotes and names line ends."""
    return re.sub(r"\\(.)", lambda found: " " if found[1] in "nt" else found[1], word)


def _begin(record: Record) -> int:
    return record.begin if isinstance(record, Call) else record.time


class _Replayer:
    """Takes one item after the other."""

    def __init__(self, timeline: Timeline, begin: int) -> None:
        self.timeline = timeline
        self.begin = begin
        self.alive: dict[tuple[int, int], Lane] = {}
        self.children: dict[int, list[Lane]] = {}
        self.exits: dict[int, int] = {}
        self.forking: list[Lane] = []
        self.ignores: set[int] = set()
        self.tables = Tables(timeline)

    def look(self, seen: Mapping[str, Any]) -> None:
        """What was there at the beginning, as the probe's snapshot tells it."""
        try:
            rows = sorted(seen.get("processes", []), key=lambda row: (row["start"], row["pid"]))
            for row in rows:
                known = {lane.pid: lane.id for lane in self.alive.values()}
                name = _title(str(row["command"] or row["name"]).split())
                lane = self._born(0, int(row["pid"]), 0, known.get(row["ppid"]), name=name, before=True)
                lane.ppid = int(row["ppid"])
                if row["state"] == "Z":
                    lane.ended, lane.how = 0, "before the recording"
            self.tables.look(seen, {lane.pid: lane.id for lane in self.alive.values()})
        except (KeyError, TypeError, ValueError, AttributeError):
            self.timeline.unread += 1
        deltas = self.tables.take_deltas()
        self._event(Event(0, "start", "the recording begins", minor=True, deltas=deltas))

    def take(self, item: _Item) -> None:
        """One record; what it changes."""
        at = max(0, item.time - self.begin)
        self.timeline.length = max(self.timeline.length, at)
        what = item.what
        if isinstance(what, dict):
            self._segment(at, what)
            return
        lane = self._lane(item.place, what.pid, at)
        if isinstance(what, Call):
            self._call(at, lane, what)
        elif isinstance(what, Ended):
            self._ended(at, lane, what)
        elif isinstance(what, Signal):
            self._signal(at, lane, what)
        elif isinstance(what, Stopped):
            lane.stops.append([at, None])
            self._event(Event(at, "stop", f"stopped by {what.name}", item.place, lane.id, fields={"signal": what.name}))

    def close(self) -> None:
        """Nothing more comes: whoever has called exit without being seen to end has ended."""
        for lane in list(self.alive.values()):
            if lane.how and lane.ended is None:
                lane.ended = lane.reaped = self.exits[lane.id]
        self.tables.expire()
        self._peers()

    def _peers(self) -> None:
        """Clients that nobody traces get a lane for each address: their side is known from their segments."""
        lanes: dict[str, Lane] = {}
        peers: dict[int, int] = {}
        for connection in self.timeline.connections:
            if "client" in connection.things:
                continue
            address = connection.client.rpartition(":")[0]
            if address not in lanes:
                lane = Lane(len(self.timeline.lanes), 0, 0, PEER, connection.opened, name=address)
                lane.owner = lane.id
                self.timeline.lanes.append(lane)
                lanes[address] = lane
            peers[connection.id] = lanes[address].id
        for event in self.timeline.events:
            if event.kind == "segment":
                event.lane = peers.get(event.fields["connection"]) if event.fields["from"] == "client" else None

    def _event(self, event: Event) -> None:
        event.deltas += self.tables.take_deltas()
        self.timeline.events.append(event)

    # Processes

    def _lane(self, place: int, pid: int, at: int) -> Lane:
        """Whose line it is. One that nobody has forked before our eyes is of a fork that never returned, or older."""
        lane = self.alive.get((place, pid))
        if lane is not None:
            return lane
        parent = next((each for each in self.forking if each.place == place and each.pid != pid), None)
        if parent is None:
            return self._born(place, pid, at, None, before=place == 0)
        self.forking.remove(parent)
        lane = self._born(place, pid, at, parent.owner)
        fields = {"child": lane.id, "child_pid": pid}
        self._event(
            Event(at, "fork", f"forks process {pid} and is not seen to return", place, parent.id, fields=fields)
        )
        return lane

    def _born(
        self,
        place: int,
        pid: int,
        at: int,
        parent: int | None,
        *,
        name: str = "",
        before: bool = False,
        kind: str = PROCESS,
    ) -> Lane:
        lane = Lane(len(self.timeline.lanes), place, pid, kind, at, parent=parent, name=name, before=before)
        lane.owner = lane.id
        if parent is not None:
            over = self.timeline.lanes[parent]
            lane.ppid, lane.name = over.pid, name or over.name
            if kind == PROCESS:
                self.children.setdefault(parent, []).append(lane)
        self.timeline.lanes.append(lane)
        self.alive[place, pid] = lane
        self.tables.change(["+p", lane.id, lane.name])
        if kind == PROCESS:
            self.tables.born(lane.id, parent if not before else None)
        return lane

    def _fork(self, at: int, lane: Lane, call: Call) -> None:
        assert call.value
        flags = set(re.findall(r"CLONE_\w+", call.text))
        thread = "CLONE_THREAD" in flags
        parent = self.timeline.lanes[lane.owner]
        if "CLONE_PARENT" in flags and parent.parent is not None:
            parent = self.timeline.lanes[parent.parent]
        child = self._born(lane.place, call.value, at, parent.id, kind=THREAD if thread else PROCESS)
        if thread or "CLONE_FILES" in flags:
            self.tables.share(child.id, lane.owner)
            child.owner = lane.owner
        if not thread and lane.owner in self.ignores:
            self.ignores.add(child.id)
        word = "starts thread" if thread else "forks process"
        kind = "thread" if thread else "fork"
        self._add(at, lane, call, kind, f"{word} {call.value}", child=child.id, child_pid=call.value)

    def _exec(self, at: int, lane: Lane, call: Call) -> None:
        words = re.findall(r'"((?:[^"\\]|\\.)*)"', call.args[1]) if len(call.args) > 1 else []
        command = list(map(_unescaped, words))
        lane.name = _title(command) or lane.name
        self.tables.execute(lane.id)
        self.tables.change(["cmd", lane.id, lane.name])
        self._add(at, lane, call, "exec", f"becomes {' '.join(command) or lane.name}", command=" ".join(command))

    def _exit(self, at: int, lane: Lane, call: Call) -> None:
        status = call.args[0] if call.args else "?"
        if lane.kind == THREAD and call.name == "exit":
            lane.how = "ended"
            self.exits[lane.id] = at
            self._add(at, lane, call, "thread-exit", "ends")
            return
        if lane.how:  # another thread was first
            return
        lane.how = f"exit status {status}"
        self.exits[lane.id] = at
        self.tables.drop(lane.owner, at)
        self._add(at, lane, call, "exit", f"exits with status {status}", status=status)

    def _ended(self, at: int, lane: Lane, what: Ended) -> None:
        self.alive.pop((lane.place, lane.pid), None)
        self._continue(lane, at)
        if lane.kind == THREAD or what.superseded:
            lane.ended = lane.reaped = at
            lane.how = lane.how or "ended"
            self.tables.change(["r", lane.id])
            self._event(Event(at, "thread-end", "has ended", lane.place, lane.id, minor=True))
            return
        if what.killed or not lane.how:
            lane.how = f"killed by {what.killed}" if what.killed else f"exit status {what.status}"
            self.tables.drop(lane.owner, at)
            fields = {"signal": what.killed} if what.killed else {"status": str(what.status)}
            self._event(
                Event(at, "exit", f"is {lane.how}" if what.killed else lane.how, lane.place, lane.id, fields=fields)
            )
        lane.ended = at
        for child in self.children.pop(lane.id, ()):
            child.ppid = 1
            if child.reaped is None:
                self.tables.change(["pp", child.id, 1])
                self._reaped(child, at, None)
        parent = self.timeline.lanes[lane.parent] if lane.parent is not None else None
        if parent is None or parent.ended is not None or parent.id in self.ignores:
            lane.reaped = at
            self.tables.change(["r", lane.id])
            why = "its parent ignores SIGCHLD" if parent is not None and parent.ended is None else "init has its status"
            self._event(Event(at, "gone", f"is gone: {why}", lane.place, lane.id, minor=True))
            return
        self.tables.change(["z", lane.id])
        self.alive[lane.place, lane.pid] = lane  # the number is taken until somebody waits
        words = f"is a zombie until process {parent.pid} waits for it"
        self._event(Event(at, "zombie", words, lane.place, lane.id))

    def _reaped(self, child: Lane, at: int, by: int | None) -> None:
        if child.ended is None:
            return
        child.reaped, child.reaped_by = max(at, child.ended), by
        if self.alive.get((child.place, child.pid)) is child:
            del self.alive[child.place, child.pid]
        self.tables.change(["r", child.id])

    def _wait(self, at: int, lane: Lane, call: Call) -> None:
        pid = call.value
        if call.name == "waitid":
            told = re.search(r"si_pid=(\d+)", call.text)
            pid = int(told[1]) if told and call.value == 0 and "WNOWAIT" not in call.text else None
        child = self.alive.get((lane.place, pid)) if pid else None
        if not pid or pid < 0:
            words = f"waits: {call.error}" if call.error else "waits: nobody has ended"
            self._add(at, lane, call, "wait", words, minor=True)
            return
        lives = child is not None and child.ended is None
        if lives and re.search(r"WSTOPPED|WUNTRACED|WCONTINUED|WIFSTOPPED|WIFCONTINUED|CLD_STOPPED", call.text):
            self._add(at, lane, call, "wait", f"sees that process {pid} was stopped or continued", child_pid=pid)
            return
        if child is not None and child.ended is None:  # its last line is missing
            child.ended, child.how = at, child.how or "ended"
        if child is not None:
            self._reaped(child, at, lane.id)
        of = child.id if child else None
        self._add(at, lane, call, "reap", f"reaps process {pid}", child_pid=pid, child=of)

    # Signals

    def _signal(self, at: int, lane: Lane, what: Signal) -> None:
        if what.name == "SIGCONT":
            self._continue(lane, at)
        sender = f" from process {what.sender}" if what.sender else ""
        fields = {"signal": what.name, "sender": what.sender}
        self._event(
            Event(at, "signal", f"gets {what.name}{sender}", lane.place, lane.id, call=what.text, fields=fields),
        )

    def _continue(self, lane: Lane, at: int) -> None:
        if lane.stops and lane.stops[-1][1] is None:
            lane.stops[-1][1] = at

    # Calls

    def _call(self, at: int, lane: Lane, call: Call) -> None:
        if call.name in _FORKS:
            if call.value is not None and call.value > 0:
                self._fork(at, lane, call)
            elif call.error:
                self._add(at, lane, call, "fork", f"cannot fork: {call.error}")
            elif call.end is None:
                self.forking.append(lane)
        elif call.name in ("execve", "execveat"):
            if call.value == 0:
                self._exec(at, lane, call)
            else:
                self._add(at, lane, call, "exec", f"cannot execute: {call.error}", minor=True)
        elif call.name in ("exit", "exit_group"):
            self._exit(at, lane, call)
        elif call.name in ("wait4", "waitid", "waitpid"):
            self._wait(at, lane, call)
        elif call.name == "rt_sigaction":
            self._sigaction(at, lane, call)
        else:
            found = calls.describe(self.tables, lane, call, at)
            if found:
                self._add(at, lane, call, found.kind, found.text, minor=found.minor, **found.fields)

    def _sigaction(self, at: int, lane: Lane, call: Call) -> None:
        if len(call.args) < 2 or call.args[1] == "NULL":
            return
        handler = re.search(r"sa_handler=(\w+)", call.args[1])
        if call.args[0] == "SIGCHLD":
            self.ignores.discard(lane.owner)
            if (handler and handler[1] == "SIG_IGN") or "SA_NOCLDWAIT" in call.args[1]:
                self.ignores.add(lane.owner)
        what = {"SIG_IGN": "ignores", "SIG_DFL": "takes the default for"}.get(handler[1] if handler else "", "handles")
        self._add(at, lane, call, "sigaction", f"{what} {call.args[0]}", minor=True, signal=call.args[0])

    def _add(
        self, at: int, lane: Lane, call: Call, kind: str, text: str, *, minor: bool = False, **fields: Any
    ) -> None:
        begin = max(0, call.begin - self.begin)
        end = None if call.end is None else max(0, call.end - self.begin)
        event = Event(at, kind, text, lane.place, lane.id, begin, end, call.text, minor, fields)
        if call.error:
            event.fields.setdefault("error", call.error)
        self._event(event)

    # Segments

    def _segment(self, at: int, row: dict[str, Any]) -> None:
        try:
            source, target, flags = str(row["source"]), str(row["target"]), str(row["flags"])
            numbers = (int(row["seq"]), int(row["ack"]), int(row["length"]))
        except (KeyError, TypeError, ValueError):
            self.timeline.unread += 1
            return
        connection, sender, changed = self.tables.segment(at, source, target, flags, *numbers)
        words = " ".join(word for letter, word in _SEGMENT_WORDS.items() if letter in flags)
        states = ", ".join(f"{end} {state}" for end, state, _ in changed)
        fields = {"connection": connection.id, "from": sender, "flags": flags}
        text = f"{words} of the {sender} {connection.client}" + (f": {states}" if states else "")
        minor = not set(flags) & set("SFR")
        self._event(Event(at, "segment", text, minor=minor, fields=fields))
