"""What was recorded of a check (``examiner/_moments.py``), as a time-line: lanes with spans, and numbered steps.

Times are seconds since the subject was ready: it listened and had served a first client. What was before is cut off.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Record = Mapping[str, Any]

ALIVE, STOPPED, ZOMBIE = "alive", "stopped", "zombie"
OPEN, HALF, ENDED = "connected", "FIN sent", "ended"
"""How a span looks: of a process, and of a client's end. Those of a socket are the states of tcp(7)."""
UNSEEN = "unseen"
"""Of a socket that nobody looked at for a while."""

MOST_PROCESSES, MOST_CLIENTS = 40, 12
"""Lanes."""
MOST_STEPS = 60
_LAST_STEPS = 45
_MOST_NAMED = 8
_AGAIN = 0.05
"""Seconds: clients that do the same one after the other, as fast as that, are one step."""

_TRAFFIC = ("send", "receive")
_DEEDS = {"fin": "gets FIN", "rst": "gets RST", "reset": "resets the connection", "close": "closes"}
_DEEDS_OF_MANY = {"fin": "get FIN", "rst": "get RST", "reset": "reset their connections", "close": "close"}
_CLIENTS = ("connect", "accept", "half-close", *_DEEDS)


@dataclass(frozen=True)
class Span:
    """A stretch of a lane: how it looks, and what it says."""

    begin: float
    end: float
    look: str
    words: str


@dataclass(frozen=True)
class Lane:
    """A row of the picture; ``counts`` instead of spans where it is a number over time."""

    key: str
    title: str
    spans: list[Span] = field(default_factory=list)
    counts: list[tuple[float, int]] = field(default_factory=list)


@dataclass
class Step:
    """Something that happened, at once or several times in a row.

    Attributes:
        kind: of its records; what may be joined has the same.
        begin, end: seconds.
        marks: when it first touched each lane, by key.
        records: what it was made of.
        words: what happened.
        number: in the picture and in the list below it.
    """

    kind: str
    begin: float
    end: float
    marks: dict[str, float]
    records: list[Record]
    words: str = ""
    number: int = 0


@dataclass(frozen=True)
class Timeline:
    """All of one check.

    Attributes:
        end: seconds; there is the verdict.
        verdict: the word.
        since: what was at the time 0, in words.
        lanes: from top to bottom.
        steps: in order.
        notes: what the picture does not show, in words.
    """

    end: float
    verdict: str
    since: str
    lanes: list[Lane]
    steps: list[Step]
    notes: list[str]


def timeline(records: Sequence[Record]) -> Timeline | None:
    """The time-line of a check, or None where nothing happened: it was only looked at."""
    if not records or records[-1]["kind"] != "verdict":
        return None
    ready = next((each["at"] for each in records if each["kind"] == "ready"), None)
    zero = records[0]["at"] if ready is None else ready
    moved = [
        {**each, "at": each["at"] - zero, **({"until": each["until"] - zero} if "until" in each else {})}
        for each in records
    ]
    line = _Reading(moved).timeline(cut=ready or 0.0)
    return line if any(step.kind not in ("note", "verdict") for step in line.steps) else None


class _Reading:
    """The records of one check, with what is known of each process and client."""

    def __init__(self, records: Sequence[Record]) -> None:
        self._records = records
        self._end = float(records[-1]["at"])
        self._of: dict[str, dict[int, list[Record]]] = {"process": {}, "client": {}, "socket": {}}
        for each in records:
            if each["kind"] == "process":
                self._of["process"].setdefault(each["pid"], []).append(each)
            elif each["kind"] == "socket":
                self._of["socket"].setdefault(each["client"], []).append(each)
            elif "client" in each:
                self._of["client"].setdefault(each["client"], []).append(each)
        self._first = [each["pid"] for each in records if each["kind"] == "start"]
        self._parents = {pid: next((e["ppid"] for e in seen if e.get("ppid")), 0) for pid, seen in self._processes()}

    def _processes(self) -> Iterable[tuple[int, list[Record]]]:
        return self._of["process"].items()

    def timeline(self, cut: float) -> Timeline:
        """All of it; ``cut`` are the seconds before."""
        notes = [f"The first {cut:.2f} s, until it was ready, are cut off"] if cut else []
        processes = [lane for pid, _ in self._processes() if (lane := self._process(pid)).spans]
        if len(processes) > MOST_PROCESSES:
            notes.append(f"{len(processes) - MOST_PROCESSES} more processes are not drawn")
            processes = _most_telling(processes)
        lanes = [*self._listener(), *processes, *self._clients()]
        steps = self._steps()
        if len(steps) > MOST_STEPS:
            notes.append(f"{len(steps) - MOST_STEPS} steps in the middle are not listed")
            steps = [*steps[: MOST_STEPS - _LAST_STEPS], *steps[-_LAST_STEPS:]]
        for number, step in enumerate(steps, 1):
            step.number = number
        since = "it was ready" if cut else "it was started"
        return Timeline(self._end, self._records[-1]["verdict"], since, lanes, steps, notes)

    # Lanes.

    def _process(self, pid: int) -> Lane:
        seen = self._of["process"][pid]
        spans = []
        for each, until in _with_ends(seen, self._end):
            if each["state"] in (ALIVE, STOPPED, ZOMBIE) and until > 0:
                threads = each.get("threads", 1)
                words = f"{threads} threads" if threads > 1 and each["state"] == ALIVE else each["state"]
                spans.append(Span(max(0.0, each["at"]), until, each["state"], words))
        return Lane(f"p{pid}", self._title(pid), _joined(spans))

    def _title(self, pid: int) -> str:
        parent = self._parents[pid]
        if pid in self._first:
            return f"{pid} {self._of['process'][pid][0].get('name', '')}"
        return f"{pid} {self._role(pid)}" + (f" of {parent}" if parent and parent not in self._first else "")

    def _listener(self) -> list[Lane]:
        """The one listener, where who holds it changes: that is what a check of it is about."""
        seen = self._of["socket"].get(0, [])
        spans = self._held(seen)
        known = {span.words for span in spans if span.look != UNSEEN}
        return [Lane("s0", "listener", spans)] if len(known) > 1 else []

    def _held(self, seen: Sequence[Record]) -> list[Span]:
        """A socket's states, and who holds it, as far as somebody looked."""
        spans = []
        for each, until in _with_ends(seen, self._end):
            if each["state"] and until > 0:
                looked = max(0.0, min(each["until"], until))
                spans.append(Span(max(0.0, each["at"]), looked, each["state"], _held_by(each)))
                spans.append(Span(looked, until, UNSEEN, f"{_held_by(each)}, when it was last looked at"))
        return [span for span in spans if span.end >= span.begin]

    def _clients(self) -> list[Lane]:
        """One for each, with the subject's end of its connection below; one for all where they are many."""
        clients = {number: seen for number, seen in self._of["client"].items() if number}
        if len(clients) > MOST_CLIENTS:
            # There may be none: of many records only the first and the last are kept.
            counts = [(max(0.0, each["at"]), each["open"]) for each in self._records if "open" in each]
            counts += [(self._end, count) for _, count in counts[-1:]]
            return [Lane("clients", f"{max(clients)} clients", counts=counts)]
        lanes = []
        for number, seen in clients.items():
            lanes.append(Lane(f"c{number}", self._client(number), self._connection(seen)))
            if spans := self._held(self._of["socket"].get(number, [])):
                ours = seen[0]["kind"] == "connect"
                lanes.append(Lane(f"s{number}", "  server's end" if ours else "  client's end", spans))
        return lanes

    def _client(self, number: int) -> str:
        return "our end" if self._of["client"][number][0]["kind"] == "accept" else f"client {number}"

    def _connection(self, seen: Sequence[Record]) -> list[Span]:
        """How our end of a connection is: until we close it."""
        spans, look = [], OPEN
        begin, ends = max(0.0, seen[0]["at"]), list[str]()
        for each in (each for each in seen if each["kind"] in ("half-close", *_DEEDS)):
            spans.append(Span(begin, each["at"], look, ", ".join(ends) or OPEN))
            if each["kind"] in ("close", "reset"):
                return spans
            ends.append(HALF if each["kind"] == "half-close" else f"{each['kind'].upper()} came")
            begin, look = each["at"], HALF if ends == [HALF] else ENDED
        return [*spans, Span(begin, self._end, look, ", ".join(ends) or OPEN)]

    # Steps.

    def _steps(self) -> list[Step]:
        steps: list[Step] = []
        states: dict[int, Record] = {}
        for each in self._records:
            kind = each["kind"]
            if kind == "process":
                kind = _change(states.get(each["pid"]), each)
                states[each["pid"]] = each
            of_start = kind == "appears" and each["pid"] in self._first
            if not kind or of_start or kind in ("ready", "socket") or each["at"] < 0:
                continue
            kind = "traffic" if kind in _TRAFFIC else f"signal {each['name']}" if kind == "signal" else kind
            self._join(steps, kind, each)
        for step in steps:
            step.words = self._words(step)
        return steps

    def _join(self, steps: list[Step], kind: str, record: Record) -> None:
        """Into a step of the same kind that was just before, with nothing else but others' deeds between; or anew."""
        at, key, who = record["at"], self._key(record), _actor(record)
        until = record.get("until", at)
        for step in reversed(steps):
            if step.kind == kind and at - step.end < _AGAIN and kind not in _SAID:
                step.end = max(step.end, until)
                step.records.append(record)
                step.marks.setdefault(key, at)
                return
            if step.kind not in _SOFT or kind not in _SOFT or who in map(_actor, step.records):
                break
        steps.append(Step(kind, at, until, {key: at}, [record]))

    def _key(self, record: Record) -> str:
        """The lane that it belongs to; empty: to none."""
        if "pid" in record:
            return f"p{record['pid']}"
        if record.get("client"):
            many = len(self._of["client"]) > MOST_CLIENTS
            return "clients" if many else f"c{record['client']}"
        return ""

    def _words(self, step: Step) -> str:
        one = step.records[0]
        if step.kind in _SAID:
            return _SAID[step.kind](one)
        if "pid" in one:
            pids = list(dict.fromkeys(each["pid"] for each in step.records))
            return self._words_of_processes(step.kind, pids, one)
        return self._words_of_clients(step)

    def _words_of_processes(self, kind: str, pids: list[int], one: Record) -> str:
        many = len(pids) > 1
        who = self._named(pids)
        if kind.startswith("signal "):
            return f"{one['name']} to {who}"
        return {
            "start": f"it is started: {who}",
            "end": "the examiner ends it, with all its processes",
            "limit": f"{one.get('name')} of {who} is now {one.get('soft')}",
            "appears": f"{who} {'are' if many else 'is'} there",
            "orphan": f"{who} {'have' if many else 'has'} lost the parent: {'orphans' if many else 'an orphan'}",
            "threads": f"{who} has {one.get('threads')} thread{'s' if one.get('threads') != 1 else ''}",
            "stopped": f"{who} {'stand' if many else 'stands'} still",
            "continued": f"{who} {'go' if many else 'goes'} on",
            "zombie": f"{who} {'have' if many else 'has'} ended, and nobody has waited: "
            f"{'zombies' if many else 'a zombie'}",
            "reaped": f"{who} {'were' if many else 'was'} waited for",
            "gone": f"{who} {'have' if many else 'has'} ended",
        }[kind]

    def _named(self, pids: list[int]) -> str:
        """As "17 (parent)", or "18, 19 and 20"."""
        if len(pids) == 1:
            return f"{pids[0]} ({self._role(pids[0])})"
        if len(pids) > _MOST_NAMED:
            return f"{len(pids)} processes, {pids[0]} to {pids[-1]},"
        return f"{', '.join(map(str, pids[:-1]))} and {pids[-1]}"

    def _role(self, pid: int) -> str:
        if pid in self._first:
            if any(self._parents.values()):
                return "parent"
            return "client" if any(each["kind"] == "accept" for each in self._records) else "server"
        return "child" if self._parents.get(pid) else "orphan"

    def _words_of_clients(self, step: Step) -> str:
        numbers = list(dict.fromkeys(each["client"] for each in step.records))
        many = len(numbers) > 1
        who = f"clients {_ranges(numbers)}" if many else self._client(numbers[0])
        if step.kind == "traffic":
            sent, came = (sum(e["bytes"] for e in step.records if e["kind"] == kind) for kind in _TRAFFIC)
            parts = [*([f"{sent:,} bytes sent"] if sent else []), *([f"{came:,} came"] if came else [])]
            return f"{who}: {', '.join(parts)}"
        if step.kind == "connect":
            return f"{who} connect{'' if many else 's'}"
        if step.kind == "accept":
            return "the client connects"
        if step.kind == "half-close":
            return f"{who} send{'' if many else 's'} FIN and go{'' if many else 'es'} on reading"
        return f"{who} {(_DEEDS_OF_MANY if many else _DEEDS)[step.kind]}"


_SOFT = {"traffic", *_CLIENTS, "appears", "zombie", "reaped", "gone", "orphan"}
"""What several may do at once, so that its order among others says little."""

_SAID: dict[str, Callable[[Record], str]] = {
    "note": lambda one: str(one["words"]),
    "verdict": lambda one: f"{one['verdict']}: {one['words']}",
    "refused": lambda one: f"a client cannot connect: {one['words']}",
    "type": lambda one: f"{one['bytes']:,} bytes are typed",
    "end-of-input": lambda one: "end of input, as Ctrl-D makes it",
    "trace": lambda one: f"strace is attached{', to ' + one['words'] if one['words'] else ''}",
    "left-out": lambda one: f"{one['count']} records from here to {one['until']:.2f} s were too many to keep",
}


def _change(before: Record | None, now: Record) -> str:
    """What became of a process, as the kind of a step; empty: nothing that is worth one."""
    was, state = before["state"] if before else "gone", now["state"]
    if state != was:
        if state == ALIVE:
            return "continued" if was == STOPPED else "appears"
        return "reaped" if was == ZOMBIE else str(state)
    if before and before.get("ppid") and not now.get("ppid"):
        return "orphan"
    return "threads" if before and before.get("threads") != now.get("threads") else ""


def _actor(record: Record) -> tuple[int, int]:
    """Who did it, or whom it befell: a process or a client."""
    return record.get("pid", 0), record.get("client", 0)


def _with_ends(seen: Sequence[Record], end: float) -> Iterable[tuple[Record, float]]:
    """Each record with the time of the next one."""
    return zip(seen, [*(each["at"] for each in seen[1:]), end], strict=False)


def _joined(spans: Sequence[Span]) -> list[Span]:
    """Neighbours that look and say the same are one."""
    found: list[Span] = []
    for span in spans:
        if found and (found[-1].look, found[-1].words, found[-1].end) == (span.look, span.words, span.begin):
            found[-1] = Span(found[-1].begin, span.end, span.look, span.words)
        else:
            found.append(span)
    return found


def _held_by(record: Record) -> str:
    state = [record["state"]] if record["state"] != "open" else []
    pids = record["pids"]
    held = [] if pids is None else [f"held by {', '.join(map(str, pids[:_MOST_NAMED])) or 'nobody'}"]
    return ", ".join([*state, *held])


def _most_telling(lanes: list[Lane]) -> list[Lane]:
    """The first process, then those that end badly, then those that last longest; in the order in which they stood."""

    def weight(lane: Lane) -> tuple[bool, bool, float]:
        return lane is lanes[0], any(span.look != ALIVE for span in lane.spans), lane.spans[-1].end

    kept = sorted(lanes, key=weight, reverse=True)[:MOST_PROCESSES]
    return [lane for lane in lanes if any(lane is each for each in kept)]


def _ranges(numbers: Sequence[int]) -> str:
    """As 1-3, 5."""
    found: list[list[int]] = []
    for number in sorted(numbers):
        if found and number == found[-1][-1] + 1:
            found[-1].append(number)
        else:
            found.append([number])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in found)
