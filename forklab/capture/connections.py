"""TCP segments as connections: bytes each way, what was sent again, who closed, who reset, and how it ended.

Told from the packets alone, as an observer beside the wire can (RFC 9293): bytes that the server's kernel received are
not yet bytes that the server has read.
"""

import itertools
from bisect import bisect_right
from collections import Counter, OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from forklab.capture.frames import CaptureError, File, Frame, frames
from forklab.capture.segments import ACK, FIN, RST, SYN, Segment, knows, segment
from forklab.errors import UsageError
from protocol.ports import SERVER_PORT

CLIENT, SERVER = "client", "server"
_OTHER = {CLIENT: SERVER, SERVER: CLIENT}

MOST_SEGMENTS = 500_000
"""More of a file are not read: they would take gigabytes, and nobody reads such a ladder."""

CLOSED, RESET, REFUSED, UNANSWERED = "closed", "reset", "refused", "unanswered"
HALF_CLOSED, HALF_OPEN, OPEN = "half-closed", "half-open", "open"
ENDS = {
    CLOSED: "both sides sent FIN",
    RESET: "a side sent RST before both had closed",
    REFUSED: "the answer to SYN was RST",
    UNANSWERED: "no answer to SYN",
    HALF_CLOSED: "one side sent FIN, the other has not when the capture ends",
    HALF_OPEN: "one side sends again and again, the other is silent when the capture ends",
    OPEN: "neither FIN nor RST when the capture ends",
}

RETRANSMISSION, DUPLICATE, OUT_OF_ORDER, GAP = "retransmission", "duplicate", "out of order", "gap before"
KEEP_ALIVE, ZERO_WINDOW, PROBE, REOPENED = "keep-alive", "zero window", "window probe", "window opens"
FIRST_CLOSE, SECOND_CLOSE, HALF_CLOSE, RESETS, REFUSES = "closes first", "closes", "half-close", "resets", "refuses"

_WRAP = 1 << 32
_EVERYTHING = 1 << 62
_SAME_ID_NS = 1_000_000_000
_NO_ID_NS = 1_000_000
"""Two packets that are the same in all bits are one that was captured twice if they come this close together."""
_MARKS = 256
_HOLES = 1_000
_TRIES = 2
"""Attempts without an answer at the end of the capture; after one, the answer may just not be in it."""
_REORDERED_NS = 3_000_000
"""What fills a hole later than this, or than the round trip of the handshake, was sent again rather than overtaken."""


@dataclass(slots=True)
class Step:
    """One segment as the ladder shows it; ``seq`` and ``ack`` count from 0, the SYN, and go on after 2^32."""

    time: int
    by: str
    flags: str
    seq: int
    ack: int | None
    length: int
    window: int
    notes: tuple[str, ...] = ()

    @property
    def plain(self) -> bool:
        """Data or an acknowledgment, with nothing to say about it."""
        return not self.notes and not set(self.flags.split(",")) & {"SYN", "FIN", "RST"}


@dataclass(frozen=True)
class Closing:
    """``by`` sent its first ``how``, FIN or RST, ``time`` nanoseconds since 1970."""

    by: str
    how: str
    time: int


@dataclass
class Sending:
    """What one side sent; ``bytes`` of payload, each counted once, ``missing`` those that are not in the capture."""

    bytes: int = 0
    missing: int = 0
    segments: int = 0
    notes: Counter[str] = field(default_factory=Counter)


@dataclass
class Connection:
    """One connection, from its SYN, or from where the capture begins, to the next SYN of the same addresses."""

    number: int
    client: str
    server: str
    complete: bool
    """Whether its SYN was captured; if not, who is the client is concluded from the ports."""
    reused: bool
    """Whether the capture has an earlier connection between the same addresses and ports."""
    steps: list[Step]
    sent: dict[str, Sending]
    closing: tuple[Closing, ...]
    """In order; each side's first FIN and first RST."""
    end: str
    silent: str | None
    """Of a half-open one: the side that no longer answers."""

    @property
    def start(self) -> int:
        """Nanoseconds since 1970."""
        return self.steps[0].time

    @property
    def seconds(self) -> float:
        """From the first to the last segment."""
        return max(0, self.steps[-1].time - self.start) / 1e9

    @property
    def bytes(self) -> dict[str, int]:
        """Payload sent by each side, without what was sent again."""
        return {side: sending.bytes for side, sending in self.sent.items()}

    @property
    def closed_first(self) -> str | None:
        """The side that sent the first FIN, or RST."""
        return self.closing[0].by if self.closing else None

    @property
    def reset_by(self) -> str | None:
        """The side that sent the RST which ended it; a forged one names the side it pretends to be."""
        first = next((each.by for each in self.closing if each.how == "RST"), None)
        return first if self.end in (RESET, REFUSED) else None

    def after_fin(self, side: str) -> int:
        """How many bytes the other side sent for the first time after this one's FIN: more than 0 is a half-close."""
        steps = iter(self.steps)
        fin = any(step.by == side and "FIN" in step.flags and DUPLICATE not in step.notes for step in steps)
        fresh = (s.length for s in steps if s.by != side and not {DUPLICATE, RETRANSMISSION} & set(s.notes))
        return sum(fresh) if fin else 0

    def document(self, *, steps: bool) -> dict[str, Any]:
        """As one JSON object; times in seconds since the connection's first segment."""
        about: dict[str, Any] = {
            "number": self.number,
            "client": self.client,
            "server": self.server,
            "start": self.start / 1e9,
            "seconds": self.seconds,
            "complete": self.complete,
            "reused": self.reused,
            "bytes": self.bytes,
            "missing": {side: sending.missing for side, sending in self.sent.items()},
            "segments": {side: sending.segments for side, sending in self.sent.items()},
            "notes": {side: dict(sending.notes) for side, sending in self.sent.items()},
            "closing": [{"by": c.by, "how": c.how, "time": self.relative(c.time)} for c in self.closing],
            "closed_first": self.closed_first,
            "after_fin": {side: self.after_fin(side) for side in (CLIENT, SERVER)},
            "reset_by": self.reset_by,
            "end": self.end,
            "silent": self.silent,
        }
        if steps:
            about["steps"] = [
                {
                    "time": self.relative(step.time),
                    "by": step.by,
                    "flags": step.flags.split(","),
                    "seq": step.seq,
                    "ack": step.ack,
                    "length": step.length,
                    "window": step.window,
                    "notes": list(step.notes),
                }
                for step in self.steps
            ]
        return about

    def relative(self, time: int) -> float:
        """Seconds since the first segment."""
        return (time - self.start) / 1e9


@dataclass
class Reading:
    """A capture file, read: its connections in order of their first segment, and what there was besides."""

    file: File
    connections: list[Connection]
    frames: int
    segments: int
    unread: Counter[int]
    """Frames whose link type is not read, by its number."""

    def document(self, chosen: Connection | None) -> dict[str, Any]:
        """As one JSON object: of the chosen connection with its segments, or of all without."""
        return {
            "kind": self.file.kind,
            "cut": self.file.cut,
            "dropped": self.file.dropped,
            "packets": self.frames,
            "segments": self.segments,
            "unread": {str(link): count for link, count in self.unread.items()},
            "count": len(self.connections),
            "connections": [each.document(steps=bool(chosen)) for each in ([chosen] if chosen else self.connections)],
        }


def read(path: Path) -> Reading:
    """All TCP connections of a capture file.

    Raises:
        CaptureError: it cannot be opened, or is no capture.
    """
    about = File()
    try:
        with path.open("rb") as stream:
            return collect(frames(stream, about), about)
    except CaptureError as error:
        raise CaptureError(f'"{path}" {error}') from None
    except OSError as error:
        raise CaptureError(f'"{path}" cannot be read: {error.strerror}') from None


def choose(reading: Reading, number: str) -> Connection | None:
    """The connection of that number; without one the only one there is, else None.

    Raises:
        UsageError: there is none of that number.
    """
    count = len(reading.connections)
    if not number:
        return reading.connections[0] if count == 1 else None
    if not (number.isascii() and number.isdigit() and 1 <= int(number[:9]) <= count):
        there = f"there are {count}, numbered from 1" if count else "there is no connection in this file"
        raise UsageError(f'connection "{number}" is not in this file: {there}')
    return reading.connections[int(number[:9]) - 1]


def collect(packets: Iterable[Frame], about: File) -> Reading:
    """The connections of these packets."""
    table = _Table()
    reading = Reading(about, [], 0, 0, Counter())
    for frame in packets:
        if reading.segments == MOST_SEGMENTS:
            about.cut = f"only the first {MOST_SEGMENTS:,} TCP segments are read; keep fewer with capture --filter"
            break
        reading.frames += 1
        if not knows(frame.link):
            reading.unread[frame.link] += 1
        elif found := segment(frame):
            reading.segments += 1
            table.add(found)
    reading.connections = [each.finish(number) for number, each in enumerate(table.all, 1)]
    return reading


class _Table:
    """Which connection a segment belongs to."""

    def __init__(self) -> None:
        self.all: list[_Growing] = []
        self._latest: dict[frozenset[tuple[str, int]], _Growing] = {}

    def add(self, s: Segment) -> None:
        key = frozenset((s.source, s.target))
        growing = self._latest.get(key)
        if growing is None or growing.is_over(s):
            growing = self._latest[key] = _Growing(s, reused=growing is not None)
            self.all.append(growing)
        growing.add(s)


class _Side:
    """One side of a connection as it sends."""

    def __init__(self) -> None:
        self.base: int | None = None
        """The sequence number of its SYN."""
        self.next = 0
        """Where its stream has come to, counted from the SYN."""
        self.acked = 0
        """Up to where the other side has acknowledged it."""
        self.syn = False
        self.fin: int | None = None
        """Where its FIN stands in its stream."""
        self.spans: list[tuple[int, int]] = []
        """Which bytes were captured: in order, none touching the next."""
        self.closed = False
        """Whether its window is 0."""
        self.gap_at = 0
        """When the latest hole was seen first."""
        self.marks: OrderedDict[int, int] = OrderedDict()
        self.sending = Sending()

    def place(self, number: int) -> int:
        """Where in its stream a sequence number stands: near to where the stream has come, whatever wraps."""
        if self.base is None:
            return 0
        away = (number - self.base - self.next) % _WRAP
        return self.next + (away - _WRAP if away >= _WRAP // 2 else away)

    def has(self, start: int, end: int) -> bool:
        """Whether all of these bytes were captured before."""
        at = bisect_right(self.spans, (start, _EVERYTHING))
        return at > 0 and end <= self.spans[at - 1][1]

    def cover(self, start: int, end: int) -> None:
        """Add bytes. Where a file has more holes than any network makes, the oldest are closed."""
        at = upto = bisect_right(self.spans, (end, _EVERYTHING))
        while at and self.spans[at - 1][1] >= start:
            at -= 1
            start, end = min(start, self.spans[at][0]), max(end, self.spans[at][1])
        self.sending.bytes += (end - start) - sum(last - first for first, last in self.spans[at:upto])
        self.spans[at:upto] = [(start, end)]
        if len(self.spans) > _HOLES:
            self.spans[:2] = [(self.spans[0][0], self.spans[1][1])]

    def same_packet(self, s: Segment) -> bool:
        """Whether this very packet was captured a moment ago."""
        seen = self.marks.pop(s.mark, None)
        self.marks[s.mark] = s.time
        if len(self.marks) > _MARKS:
            self.marks.popitem(last=False)
        return seen is not None and abs(s.time - seen) <= (_SAME_ID_NS if s.known else _NO_ID_NS)


class _Growing:
    """A connection while its segments come in."""

    def __init__(self, first: Segment, *, reused: bool) -> None:
        self.complete = first.has(SYN)
        self.reused = reused
        by_client = not first.has(ACK) if first.has(SYN) else _to_server(first)
        self.ends = {CLIENT: first.source, SERVER: first.target}
        if not by_client:
            self.ends = {CLIENT: first.target, SERVER: first.source}
        self.sides = {CLIENT: _Side(), SERVER: _Side()}
        self.steps: list[Step] = []
        self.closing: list[Closing] = []
        self.round_trip: int | None = None
        self.established = not self.complete or first.has(ACK)

    def is_over(self, s: Segment) -> bool:
        """Whether this segment opens another connection: a SYN that is not the one this began with."""
        if not s.has(SYN) or s.has(ACK) or s.has(RST):
            return False
        side = self.sides[self.side_of(s)]
        if side.base is not None:
            return side.base != s.seq or self.is_done()
        return self.established or self.is_done()

    def is_done(self) -> bool:
        """Whether it was reset, or both sides have closed."""
        return any(c.how == "RST" for c in self.closing) or len(self.closing) == 2

    def side_of(self, s: Segment) -> str:
        return CLIENT if s.source == self.ends[CLIENT] else SERVER

    def add(self, s: Segment) -> None:
        by = self.side_of(s)
        me, peer = self.sides[by], self.sides[_OTHER[by]]
        if me.base is None and not s.has(RST):
            me.base = s.seq if s.has(SYN) else (s.seq - 1) % _WRAP
            me.next = 0 if s.has(SYN) else 1
        if peer.base is None and s.has(ACK) and s.ack:  # seen from the other side only
            peer.base, peer.next = (s.ack - 1) % _WRAP, 1
        seq = me.place(s.seq)
        ack = peer.place(s.ack) if s.has(ACK) else None
        notes = self._notes(s, me, peer, by, seq)
        self.steps.append(Step(s.time, by, s.names, seq, ack, s.length, s.window, tuple(notes)))
        me.sending.segments += 1
        me.sending.notes.update(notes)
        if DUPLICATE not in notes:
            self._move(s, me, peer, by, seq, ack)

    def _notes(self, s: Segment, me: _Side, peer: _Side, by: str, seq: int) -> list[str]:
        """What is to be said of this segment, before it has any effect."""
        if me.same_packet(s):
            return [DUPLICATE]
        if s.has(RST):
            return [REFUSES if by == SERVER and self.complete and not me.sending.segments else RESETS]
        notes = []
        again = _is_again(s, me, seq)
        # Linux probes with no byte, others with one that was acknowledged before (RFC 9293, 3.8.4 and 3.8.6.1).
        old = not s.length or (s.length == 1 and again and seq < me.acked)
        if old and 1 <= seq == me.next - 1 and me.fin is None and not s.has(FIN):
            notes.append(PROBE if peer.closed else KEEP_ALIVE)
        elif s.span and again:
            notes.append(RETRANSMISSION)
        elif s.length and seq < me.next:
            limit = self.round_trip if self.round_trip and self.round_trip > _REORDERED_NS else _REORDERED_NS
            notes.append(OUT_OF_ORDER if s.time - me.gap_at <= limit else RETRANSMISSION)
        elif s.span and seq > me.next:
            notes.append(GAP)
        if s.has(FIN) and not any(c.by == by and c.how == "FIN" for c in self.closing):
            notes.append(SECOND_CLOSE if self.closing else FIRST_CLOSE)
        if s.window == 0 and not s.has(SYN):
            notes.append(ZERO_WINDOW)
        elif s.window and me.closed:
            notes.append(REOPENED)
        return notes

    def _move(self, s: Segment, me: _Side, peer: _Side, by: str, seq: int, ack: int | None) -> None:
        """What this segment changes."""
        how = "RST" if s.has(RST) else "FIN" if s.has(FIN) else ""
        if how and not any(c.by == by and c.how == how for c in self.closing):
            self.closing.append(Closing(by, how, s.time))
        if ack is not None and not s.has(RST):
            peer.acked = max(peer.acked, ack)
        if s.has(RST):
            return
        me.syn = me.syn or s.has(SYN)
        if s.has(ACK):  # the second of the handshake; or the third, where only one direction was captured
            self.established = True
        if self.round_trip is None and self.complete and by == CLIENT and not s.has(SYN) and s.has(ACK):
            self.round_trip = max(0, s.time - self.steps[0].time)
        if s.span and seq > me.next:
            me.gap_at = s.time
        start = seq + s.has(SYN)
        if s.length:
            me.cover(start, start + s.length)
        if s.has(FIN) and me.fin is None:
            me.fin = start + s.length
        me.next = max(me.next, seq + s.span)
        me.closed = s.window == 0 and not s.has(SYN)

    def finish(self, number: int) -> Connection:
        """All of it, when there are no more segments."""
        for side in self.sides.values():
            reached = side.next - (side.fin is not None and side.next > side.fin)
            side.sending.missing = max(0, reached - 1 - side.sending.bytes)
        silent = self._silent()
        made = Connection(
            number,
            client=_address(*self.ends[CLIENT]),
            server=_address(*self.ends[SERVER]),
            complete=self.complete,
            reused=self.reused,
            steps=self.steps,
            sent={name: side.sending for name, side in self.sides.items()},
            closing=tuple(self.closing),
            end=self._end(silent),
            silent=silent,
        )
        _name_half_close(made)
        return made

    def _end(self, silent: str | None) -> str:
        fins, resets = ({c.by: c for c in self.closing if c.how == how} for how in ("FIN", "RST"))
        heard = any(step.by == SERVER for step in self.steps)
        if self.complete and not self.established:
            return REFUSED if SERVER in resets else RESET if resets else OPEN if heard else UNANSWERED
        both = len(fins) == 2
        if resets and not (both and self._acknowledged_before(min(c.time for c in resets.values()))):
            return RESET
        if silent and not resets:
            return HALF_OPEN
        return CLOSED if both else HALF_CLOSED if fins else OPEN

    def _acknowledged_before(self, time: int) -> bool:
        """Whether both FINs had been acknowledged by then."""
        done = set()
        for step in self.steps:
            if step.time > time or "RST" in step.flags:
                break
            other = self.sides[_OTHER[step.by]]
            if step.ack is not None and other.fin is not None and step.ack > other.fin:
                done.add(step.by)
        return len(done) == 2

    def _silent(self) -> str | None:
        """The side that says nothing more while the other one sends the same again."""
        last = self.steps[-1].by
        alone = itertools.takewhile(lambda step: step.by == last, reversed(self.steps))
        tries = sum(1 for step in alone if {RETRANSMISSION, KEEP_ALIVE, PROBE} & set(step.notes))
        return _OTHER[last] if self.established and tries >= _TRIES else None


def _is_again(s: Segment, me: _Side, seq: int) -> bool:
    """Whether all that this segment carries was captured before."""
    if (s.has(SYN) and not me.syn) or (s.has(FIN) and me.fin is None):
        return False
    start = seq + s.has(SYN)
    return seq + s.span <= me.next and (not s.length or me.has(start, start + s.length))


def _name_half_close(made: Connection) -> None:
    """A FIN after which the other side went on, and was heard, was a half-close: that is known only afterwards."""
    for step in made.steps:
        if FIRST_CLOSE in step.notes and made.reset_by != step.by and made.after_fin(step.by):
            step.notes += (HALF_CLOSE,)
            return


def _to_server(s: Segment) -> bool:
    """Whether a segment from the middle goes to the server: to the lab's port, else to the lower one."""
    ports = s.source[1], s.target[1]
    if SERVER_PORT in ports and ports[0] != ports[1]:
        return ports[1] == SERVER_PORT
    return ports[1] <= ports[0]


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
