"""A connection as a ladder diagram: time goes down, the client stands left, the server right, a segment is an arrow."""

import datetime
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from forklab.capture import connections as tcp
from forklab.capture.connections import CLIENT, SERVER, Connection, Reading, Step

WIDTH = 80
_NARROWEST = 60
_NOTES = 15
"""Columns at the right, as many as the longest note and a blank need."""

_RUN, _KEPT = 12, 4
"""A longer run of segments with nothing to say about is folded, but for so many at each end."""

KIND_RESET, KIND_END, KIND_BEGIN, KIND_TROUBLE, KIND_PLAIN = "reset", "end", "begin", "trouble", "plain"
_STYLES = {KIND_RESET: "bold red", KIND_END: "bold blue", KIND_BEGIN: "bold green", KIND_TROUBLE: "yellow"}
_TROUBLES = {tcp.RETRANSMISSION, tcp.DUPLICATE, tcp.OUT_OF_ORDER, tcp.GAP, tcp.ZERO_WINDOW, tcp.PROBE}


@dataclass(frozen=True)
class Fold:
    """Segments that are not drawn, because there is nothing to say about them."""

    count: int
    client: int
    server: int
    seconds: float

    @property
    def words(self) -> str:
        """What they carried."""
        sent = [f"{side} {count:,} bytes" for side, count in ((CLIENT, self.client), (SERVER, self.server)) if count]
        return f"{self.count:,} segments, {', '.join(sent) or 'no bytes'}, {self.seconds:.6f} s"


def rows(connection: Connection) -> Iterator[Step | Fold]:
    """What is drawn, from top to bottom."""
    run: list[Step] = []
    for step in connection.steps:
        if step.plain:
            run.append(step)
            continue
        yield from _folded(run)
        run = []
        yield step
    yield from _folded(run)


def _folded(run: Sequence[Step]) -> Iterator[Step | Fold]:
    if len(run) <= _RUN:
        yield from run
        return
    hidden = run[_KEPT:-_KEPT]
    sent = {side: sum(step.length for step in hidden if step.by == side) for side in (CLIENT, SERVER)}
    yield from run[:_KEPT]
    yield Fold(len(hidden), sent[CLIENT], sent[SERVER], max(0, hidden[-1].time - hidden[0].time) / 1e9)
    yield from run[-_KEPT:]


def label(step: Step) -> str:
    """What stands on an arrow."""
    words = [step.flags, f"seq={step.seq}"]
    if step.ack is not None:
        words.append(f"ack={step.ack}")
    if step.length:
        words.append(f"len={step.length}")
    return " ".join(words)


def kind(step: Step) -> str:
    """What it is above all, for its colour."""
    flags = step.flags.split(",")
    if "RST" in flags:
        return KIND_RESET
    if _TROUBLES & set(step.notes):
        return KIND_TROUBLE
    return KIND_END if "FIN" in flags else KIND_BEGIN if "SYN" in flags else KIND_PLAIN


def title(connection: Connection, reading: Reading) -> str:
    """Which connection, and when it was."""
    try:
        when = datetime.datetime.fromtimestamp(connection.start // 10**9, datetime.timezone.utc)
        date = f", {when:%Y-%m-%d %H:%M:%S} UTC"
    except (ValueError, OverflowError, OSError):  # no year that this computer knows
        date = ""
    return f"connection {connection.number} of {len(reading.connections)}{date}"


def story(connection: Connection) -> list[str]:
    """How it went, in sentences."""
    told = [
        f"The client sent {_bytes(connection.bytes[CLIENT])}, the server {_bytes(connection.bytes[SERVER])}, "
        f"in {len(connection.steps):,} segments and {connection.seconds:.6f} s."
    ]
    told += _closing(connection)
    counts = connection.sent[CLIENT].notes + connection.sent[SERVER].notes
    troubles = [f"{name} {counts[name]}" for name in sorted(_TROUBLES) if counts[name]]
    if troubles:
        told.append(f"Of note: {', '.join(troubles)}.")
    if not connection.complete:
        told.append("The capture begins in the middle of it; which side is the client is concluded from the ports.")
    if connection.reused:
        told.append("An earlier connection in this capture had the same addresses and ports.")
    for side in (CLIENT, SERVER):
        if missing := connection.sent[side].missing:
            told.append(f"Of what the {side} sent, {_bytes(missing)} are not in the capture.")
    return told


def _closing(connection: Connection) -> Iterator[str]:
    for at, closing in enumerate(connection.closing):
        when = f"at {connection.relative(closing.time):.6f} s"
        if closing.how == "RST":
            yield f"The {closing.by} {'refused' if connection.end == tcp.REFUSED else 'reset'} it, by RST {when}."
            continue
        more = connection.after_fin(closing.by)
        yield f"The {closing.by} closed {'first' if at == 0 else 'too'}, by FIN {when}."
        if _is_half(connection, closing.by):
            yield f"That was a half-close: the other side sent {_bytes(more)} after it."
    if connection.end == tcp.HALF_OPEN:
        yield f"The {connection.silent} no longer answers: the connection is half-open."
    elif connection.end in (tcp.OPEN, tcp.HALF_CLOSED):
        yield f"When the capture ends it is {connection.end}."
    elif connection.end == tcp.UNANSWERED:
        yield "Nobody answered the SYN."


def _is_half(connection: Connection, side: str) -> bool:
    return any(step.by == side and tcp.HALF_CLOSE in step.notes for step in connection.steps)


def remarks(reading: Reading) -> list[str]:
    """What is to be known of the file."""
    told = []
    if reading.file.cut:
        told.append(f"The rest is cut: {reading.file.cut}.")
    if reading.file.dropped:
        told.append(f"The kernel dropped {reading.file.dropped:,} packets, which are not in the file.")
    for link, count in sorted(reading.unread.items()):
        told.append(f"{count:,} packets of link type {link} are not read.")
    return told


class Ladder:
    """A connection for the terminal: at most 80 columns wide, in colours where there are some."""

    def __init__(self, connection: Connection, reading: Reading) -> None:
        self._connection = connection
        self._reading = reading

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Print line by line, never wrapped."""
        width = max(_NARROWEST, min(WIDTH, options.max_width))
        connection = self._connection
        yield Text(title(connection, self._reading), style="bold")
        yield Text()
        longest = len(f"{connection.seconds:.6f}")
        before = max(len("seconds"), longest)
        lane = width - before - 3 - _NOTES
        yield from _ends(connection, before, lane)
        for row in rows(connection):
            yield from _drawn(row, connection, before, lane)
        yield Text()
        for sentence in [*story(connection), *remarks(self._reading)]:
            yield from map(Text, textwrap.wrap(sentence, width))


def _ends(connection: Connection, before: int, lane: int) -> Iterator[Text]:
    client, server = f"client {connection.client}", f"server {connection.server}"
    room = lane + 2 + _NOTES
    indent = " " * (before + 1)
    if len(client) + len(server) + 2 <= lane + 2:
        yield _line(f"{'seconds':>{before}} ", client, " " * (lane + 2 - len(client) - len(server)), server)
    else:  # IPv6
        yield _line(f"{'seconds':>{before}} ", client)
        yield _line(indent, server.rjust(min(room, max(lane + 2, len(server)))))


def _drawn(row: Step | Fold, connection: Connection, before: int, lane: int) -> Iterator[Text]:
    if isinstance(row, Fold):
        yield _line(" " * before, " :", f"... {row.words} ..."[:lane].center(lane), ":", style="dim")
        return
    style = _STYLES.get(kind(row), "")
    first, *others = row.notes or ("",)
    time = f"{connection.relative(row.time):>{before}.6f}"
    yield _line(time, " |", (_arrow(row, lane), style), "|", (f" {first}" if first else "", style))
    for note in others:
        yield _line(" " * before, " |", " " * lane, "|", (f" {note}", style))


def _arrow(step: Step, lane: int) -> str:
    words = label(step)[: lane - 6]
    shaft = "-" * (lane - len(words) - 5)
    return f"-- {words} {shaft}>" if step.by == CLIENT else f"<{shaft} {words} --"


def _line(*parts: str | tuple[str, str], style: str = "") -> Text:
    made = Text.assemble(*parts, style=style, no_wrap=True, overflow="ignore")
    made.rstrip()
    return made


def _bytes(count: int) -> str:
    return f"{count:,} byte{'' if count == 1 else 's'}"
