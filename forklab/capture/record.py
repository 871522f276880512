"""A live capture in the server's network namespace: tcpdump in the probe's container, pcapng here."""

import contextlib
import json
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from docker.models.containers import Container

from forklab.capture import pcapng
from forklab.capture.frames import NANO, Records
from forklab.capture.newfile import NewFile
from forklab.errors import LabError, UsageError
from forklab.stream import STDERR, STDOUT, Stream
from protocol import exits

MOST_SECONDS = 3600.0
"""Then a capture ends by itself."""

_TICK = 0.2
_GO, _STOP = b"g", b"s"
_PROGRAM = "forklab, tcpdump"

BY_TIME, BY_INTERRUPT, BY_READER = "time", "interrupt", "reader"


@dataclass(frozen=True)
class Captured:
    """What was captured; ``received`` and ``dropped`` are packets as the kernel counted them, None if it cannot tell.

    ``ended`` is what ended it: "time", "interrupt" (Ctrl-C), or "reader" (Wireshark was closed).
    """

    file: str | None
    packets: int
    bytes: int
    received: int | None
    dropped: int | None
    start: float
    seconds: float
    interface: str
    link: int
    kernel: str
    filter: str
    ended: str


class Sink(Protocol):
    """Takes a capture: whole pcapng blocks."""

    name: str

    def write(self, blocks: bytes) -> None:
        """Take these; OSError if it cannot."""

    def close(self) -> None:
        """Nothing more comes."""


def record(
    probe: Container,
    open_sink: Callable[[], Sink],
    *,
    expression: str,
    seconds: float,
    begun: Callable[[str], None],
    progress: Callable[[int], None],
) -> Captured:
    """Capture until ``seconds`` have passed, Ctrl-C, or the reader goes. ``begun`` is called when the kernel captures.

    ``open_sink`` is called just before that, so that what never begins leaves nothing. ``progress`` gets the number of
    packets so far, at least a few times a second.

    Raises:
        UsageError: tcpdump refuses ``expression``.
        LabError: the probe does not run, or went away in between; the sink cannot be written to.
    """
    words = ["python3", "-m", "probe", "capture", f"--filter={expression}", f"--seconds={seconds}"]
    stream = Stream(probe, words)
    taking = _Taking(open_sink, expression, begun)
    try:
        stream.write(_GO)
        with _interrupts() as interrupts:
            stopped = False
            for kind, piece in stream.pieces(_TICK):
                if interrupts and not stopped:
                    stopped = True
                    stream.write(_STOP)
                if not taking.take(kind, piece):
                    break
                if taking.begun:
                    progress(taking.packets)
        return taking.finish(stream, by=BY_INTERRUPT if stopped else BY_TIME)
    finally:
        stream.close()
        taking.close()


class _Taking:
    """What comes from the probe, on its way into a sink."""

    def __init__(self, open_sink: Callable[[], Sink], expression: str, begun: Callable[[str], None]) -> None:
        self._open, self._expression, self._begun = open_sink, expression, begun
        self._records = Records()
        self._waiting = b""
        self._text = ""
        self._events: dict[str, dict[str, Any]] = {}
        self._words = "it said nothing"
        self._sink: Sink | None = None
        self._gone = False
        self.packets = 0
        self.bytes = 0
        self._latest = 0

    def take(self, kind: int, piece: bytes) -> bool:
        """Go on with a piece; False when the reader has gone."""
        if kind == STDERR:
            *lines, self._text = (self._text + piece.decode(errors="replace")).split("\n")
            for line in filter(None, lines):
                self._hear(line)
        elif kind == STDOUT:
            found = self._records.feed(piece)
            self.packets += len(found)
            self.bytes += sum(len(frame.data) for frame in found)
            self._latest = found[-1].time if found else self._latest
            self._waiting += b"".join(map(pcapng.packet, found))
        if self._sink is None and "capturing" in self._events and self._records.link is not None:
            self._begin()
        if self._sink and self._waiting:
            self._write(self._waiting)
            self._waiting = b""
        return not self._gone

    def finish(self, stream: Stream, by: str) -> Captured:
        """Write the end of the file, and tell what is in it."""
        if self._sink is None:
            self._refuse(stream.exit_code())
        begin, end = self._events["capturing"], self._events.get("ended", {})
        start = round(begin["time"] * NANO)
        until = round(end["time"] * NANO) if end else max(start, self._latest)
        if not self._gone:
            self._write(pcapng.statistics(start, until, end.get("received"), end.get("dropped")))
        if not end and not self._gone:
            raise LabError(f"the lab went away; {self._name} has the packets until then: {self.packets:,}")
        return Captured(
            file=self._name if isinstance(self._sink, NewFile) else None,
            packets=self.packets,
            bytes=self.bytes,
            received=end.get("received"),
            dropped=end.get("dropped"),
            start=start / NANO,
            seconds=(until - start) / NANO,
            interface=begin["interface"],
            link=self._records.link or 0,
            kernel=begin["kernel"],
            filter=self._expression,
            ended=BY_READER if self._gone else by,
        )

    @property
    def begun(self) -> bool:
        """Whether the kernel captures, and there is where to."""
        return self._sink is not None

    def close(self) -> None:
        """Nothing more is written."""
        if self._sink:
            self._sink.close()

    @property
    def _name(self) -> str:
        return self._sink.name if self._sink else ""

    def _hear(self, line: str) -> None:
        try:
            event = json.loads(line)
            self._events[event["event"]] = event
        except (ValueError, KeyError, TypeError):  # not the probe's: Python's own last words, or argparse's
            self._words = line

    def _begin(self) -> None:
        begin = self._events["capturing"]
        self._sink = self._open()
        self._write(
            pcapng.section(begin["kernel"], _PROGRAM, "captured in the server's network namespace")
            + pcapng.interface(
                self._records.link or 0, self._records.snap, begin["interface"], begin["kernel"], self._expression
            )
        )
        self._begun(begin["interface"])

    def _write(self, blocks: bytes) -> None:
        assert self._sink
        try:
            self._sink.write(blocks)
        except BrokenPipeError:
            self._gone = True
        except OSError as error:
            raise LabError(
                f"{self._name} cannot be written any more: {error.strerror}; it has the packets until then"
            ) from None

    def _refuse(self, code: int | None) -> None:
        """Say why it never began."""
        refused = self._events.get("refused")
        if refused and code == exits.USAGE:
            raise UsageError(f'the filter "{self._expression}" is refused: {refused["words"]}')
        raise LabError(f"the probe cannot capture: {refused['words'] if refused else self._words}; ./lab build")


@contextlib.contextmanager
def _interrupts() -> Iterator[list[int]]:
    """Collects the first Ctrl-C instead of raising KeyboardInterrupt in the middle of a block; a second one raises."""
    seen: list[int] = []

    def first(number: int, _: Any) -> None:
        seen.append(number)
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, first)
    try:
        yield seen
    finally:
        signal.signal(signal.SIGINT, before)
