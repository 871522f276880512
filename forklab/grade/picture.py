"""The time-line of a check as SVG: a lane for each process and client, numbered marks, an axis without idle time."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forklab.grade.moments import ALIVE, ENDED, HALF, OPEN, STOPPED, UNSEEN, ZOMBIE, Lane, Span, Step, Timeline
from forklab.harness.page import render
from forklab.timeline.picture import COLOURS, LIFE
from forklab.timeline.picture import ZOMBIE as ZOMBIE_COLOUR

FILLS = {
    ALIVE: LIFE,
    STOPPED: "#ffffff",
    ZOMBIE: ZOMBIE_COLOUR,
    OPEN: "#7fc4ea",
    HALF: "#b9dff4",
    ENDED: "#e3eef4",
    "open": "#f4f4f4",
}
"""By the look of a span; a socket's are those of its TCP state. A pattern or a word says the same as each colour."""
HATCHED = (STOPPED, ZOMBIE, HALF)
_NAMES = {
    ALIVE: "runs or sleeps",
    HALF: "it sent FIN",
    ENDED: "the other side has ended",
    UNSEEN: "not looked at",
    "open": "open, its state was not read",
}
_DARK = ("ESTABLISHED", "FIN_WAIT1")
"""Words on these are white."""

WIDTH = 1000
_GUTTER, _RIGHT = 132, 22
_TOP, _BAR, _NUMBERS, _GAP = 16, 13, 13, 5
_LETTER = 6.1
"""Width of a letter of 11 units."""
_BOLD = 1.15
_MOST_LETTERS = 20
"""Of a lane's title."""
_TICK_ROOM = 62
_FOLDED, _FOLDED_WIDE, _FOLDED_ALL = 52, 120, 320
"""Width of idle time that is folded: at least, at most, and of all together."""
_MOST_FOLDS = 6
_IDLE_SECONDS, _IDLE_TIMES, _IDLE_SHARE = 0.1, 6, 0.1
"""Time is folded when it is so long, so many times as long as usual, and such a share of what is shown."""

_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Piece:
    """A stretch of the axis, seconds to places; ``folded`` where nothing happens and time is not to scale."""

    begin: float
    end: float
    left: float
    right: float
    folded: bool = False


@dataclass(frozen=True)
class Box:
    """A bar."""

    x: float
    y: float
    width: float
    height: float
    look: str
    fill: str
    words: str


@dataclass(frozen=True)
class Text:
    """Words at a place; ``kind`` is the class."""

    x: float
    y: float
    words: str
    kind: str = ""


@dataclass
class Axis:
    """Where each moment is."""

    pieces: list[Piece]

    def x(self, at: float) -> float:
        """The place of a time."""
        for piece in self.pieces:
            if at <= piece.end:
                share = (at - piece.begin) / ((piece.end - piece.begin) or 1.0)
                return round(piece.left + min(1.0, max(0.0, share)) * (piece.right - piece.left), 1)
        return round(self.pieces[-1].right, 1)

    def ticks(self) -> list[Text]:
        """Round times, where there is room for them; the begin of each piece after a fold is one, too."""
        shown = [piece for piece in self.pieces if not piece.folded]
        scale = sum(piece.end - piece.begin for piece in shown) / sum(piece.right - piece.left for piece in shown)
        step = _round_up(scale * 90)
        millis = self.pieces[-1].end < 1
        ticks: list[Text] = []
        for piece in shown:
            first = -(-piece.begin // step)
            times = [piece.begin] if piece.begin > 0 else []
            times += [number * step for number in range(int(first), int(piece.end // step) + 1)]
            for time in sorted(times):
                words = _said(time, step, millis=millis)
                if not ticks or (self.x(time) - ticks[-1].x >= _TICK_ROOM and words != ticks[-1].words):
                    ticks.append(Text(self.x(time), 0, words))
        return ticks


def axis(times: Sequence[float], end: float) -> Axis:
    """One from 0 to ``end`` on which long times between ``times``, in which nothing happens, are folded."""
    points = sorted({0.0, *(time for time in times if 0 <= time <= end), end})
    gaps = [(later - earlier, earlier, later) for earlier, later in itertools.pairwise(points)]
    folded: set[float] = set()
    shown = sum(gap for gap, _, _ in gaps)
    usual = sorted(gap for gap, _, _ in gaps)[len(gaps) // 2] if gaps else 0.0
    for gap, earlier, _ in sorted(gaps, reverse=True)[:_MOST_FOLDS]:
        if gap < max(_IDLE_SECONDS, _IDLE_TIMES * usual, _IDLE_SHARE * shown):
            break
        folded.add(earlier)
        shown -= gap
    fold = max(_FOLDED, min(_FOLDED_WIDE, _FOLDED_ALL // max(1, len(folded))))
    room = WIDTH - _GUTTER - _RIGHT - len(folded) * fold
    pieces, left = [], float(_GUTTER)
    for is_fold, group in itertools.groupby(gaps, lambda gap: gap[1] in folded):
        members = list(group)
        for begin, until in [(b, e) for _, b, e in members] if is_fold else [(members[0][1], members[-1][2])]:
            width = fold if is_fold else room * (until - begin) / (shown or 1.0)
            pieces.append(Piece(begin, until, left, left + width, is_fold))
            left += width
    return Axis(pieces or [Piece(0.0, max(end, 1e-3), _GUTTER, WIDTH - _RIGHT)])


def svg(line: Timeline, prefix: str, clean: Callable[[object], object]) -> str:
    """The picture.

    Args:
        line: what is drawn.
        prefix: the begin of each name in it, for several share one page.
        clean: what each word goes through before it is escaped.
    """
    times = [time for step in line.steps for time in (step.begin, step.end)]
    times += [time for lane in line.lanes for span in lane.spans for time in (span.begin, span.end)]
    scene = _Scene(line, axis(times, line.end))
    values = {
        "scene": scene,
        "prefix": prefix,
        "width": WIDTH,
        "gutter": _GUTTER,
        "hatched": HATCHED,
        "verdict": line.verdict,
    }
    return render(_TEMPLATES, "moment.svg", values, {}, clean)


class _Scene:
    """All that is drawn, at its place."""

    def __init__(self, line: Timeline, axis: Axis) -> None:
        self._line, self._axis = line, axis
        self.boxes: list[Box] = []
        self.texts: list[Text] = []
        self.marks: list[tuple[float, float, float]] = []
        self.areas: list[str] = []
        y = float(_TOP)
        for lane in [Lane("", "examiner"), *line.lanes]:
            y = self._lane(lane, y)
        self.bottom = y + 2
        self.verdict_at = axis.x(line.end)
        self.folds = [
            (piece.left, piece.right, f"{piece.end - piece.begin:.2f} s") for piece in axis.pieces if piece.folded
        ]
        self.ticks = axis.ticks()
        self.legend = list(self._legend())
        self.height = self.bottom + 34 + 18 * max((row for _, row, _, _ in self.legend), default=0) + 22

    def _lane(self, lane: Lane, y: float) -> float:
        """Draw one; where the next one begins."""
        marks = [(at, step) for step in self._line.steps for key, at in step.marks.items() if key == lane.key]
        if not lane.key and not marks:
            return y
        numbers = list(self._numbers(marks, y))
        top = y + (_NUMBERS if numbers else 0)
        self.texts += numbers
        self.texts.append(Text(4, top + _BAR - 2.5, _cut(lane.title), "lane"))
        marked = [self._axis.x(at) for at, _ in marks]
        self._spans(lane, top, marked)
        if lane.counts:
            self._area(lane, top)
        self.marks += [(x, top - 1.5, top + _BAR + 1.5) for x in marked]
        return top + _BAR + _GAP

    def _spans(self, lane: Lane, top: float, marks: Sequence[float]) -> None:
        """The bars of a lane, each with its words where they are not in the way of a mark."""
        free = float(_GUTTER)
        for span in lane.spans:
            left, right = self._axis.x(span.begin), self._axis.x(span.end)
            if span.look == UNSEEN and right - left < 1:
                continue
            fill = FILLS.get(span.look) or COLOURS.get(span.look, "#e8e8e8")
            words = f"{lane.title}: {span.words}"
            self.boxes.append(Box(left, top, max(1.0, round(right - left, 1)), _BAR, span.look, fill, words))
            if span.words != ALIVE and span.look != UNSEEN:
                self.texts += self._label(span, _room(left, right, marks), left - free, top + _BAR - 3)
            free = right if span.look != UNSEEN else free

    def _label(self, span: Span, inside: tuple[float, float], before: float, y: float) -> list[Text]:
        """The words of a bar: in it, before it, or none where there is no room."""
        for words in (span.words, span.words.replace(", held by ", ": ")):
            need = len(words) * _LETTER + 8
            if inside[1] - inside[0] > need:
                kind = "on" if span.look in HATCHED else "light" if span.look in _DARK else ""
                return [Text(inside[0] + 5, y, words, kind)]
            if before > need * _BOLD:
                return [Text(inside[0] - 4, y, words, "before")]
        return []

    def _numbers(self, marks: Sequence[tuple[float, Step]], y: float) -> Iterator[Text]:
        """The numbers above a lane; those that would stand in each other's way are one text."""
        groups: list[tuple[float, list[int]]] = []
        for at, step in marks:
            x = self._axis.x(at)
            if groups and x - groups[-1][0] < len(_run(groups[-1][1])) * _LETTER + 9:
                groups[-1][1].append(step.number)
            else:
                groups.append((x, [step.number]))
        for x, numbers in groups:
            words = _run(numbers)
            beside = x + 4 if x > WIDTH - _RIGHT - 4 else x - 2  # not across the line of the verdict
            yield Text(min(beside, WIDTH - len(words) * _LETTER), y + _NUMBERS - 3, words, "number")

    def _area(self, lane: Lane, top: float) -> None:
        """How many there are, as a flight of stairs with its highest number."""
        peak, most = max(lane.counts, key=lambda each: each[1])
        path, height = [f"M{self._axis.x(lane.counts[0][0])} {top + _BAR}"], 0.0
        for at, count in lane.counts:
            x, height = self._axis.x(at), round(top + _BAR * (1 - count / (most or 1)), 1)
            path.append(f"H{x}V{height}")
        self.areas.append("".join([*path, f"V{top + _BAR}Z"]))
        self.texts.append(Text(self._axis.x(peak) + 3, top + _BAR - 3, f"{most} at once"))

    def _legend(self) -> Iterator[tuple[float, int, Box, str]]:
        """What the looks mean: place, row, sample, words."""
        x, row = 4.0, 0
        for look in dict.fromkeys(box.look for box in self.boxes):
            words = _NAMES.get(look, look)
            width = 24 + len(words) * _LETTER + 14
            if x + width > WIDTH:
                x, row = 4.0, row + 1
            fill = next(box.fill for box in self.boxes if box.look == look)
            yield x, row, Box(x, 0, 18, 10, look, fill, words), words
            x += width


def _room(left: float, right: float, marks: Sequence[float]) -> tuple[float, float]:
    """The first of the widest stretches between two places that no mark cuts."""
    cuts = [left, *(x for x in marks if left < x < right), right]
    return max(itertools.pairwise(cuts), key=lambda pair: pair[1] - pair[0])


def _cut(title: str) -> str:
    return title if len(title) <= _MOST_LETTERS else f"{title[: _MOST_LETTERS - 1]}…"


def _run(numbers: Sequence[int]) -> str:
    """As 1-3; or 1,4 where others are between."""
    if len(numbers) > 2 and numbers[-1] - numbers[0] == len(numbers) - 1:
        return f"{numbers[0]}-{numbers[-1]}"
    return ",".join(map(str, numbers)) if len(numbers) < 4 else f"{numbers[0]}...{numbers[-1]}"


def _round_up(value: float) -> float:
    """To 1, 2 or 5 times a power of ten."""
    power = 10.0 ** _exponent(value)
    return next(times * power for times in (1, 2, 5, 10) if times * power >= value * 0.999)


def _exponent(value: float) -> int:
    return int(f"{value:e}".partition("e")[2])


def _said(time: float, step: float, *, millis: bool) -> str:
    """A time with as many digits as steps of this size need."""
    digits = max(0, -_exponent(step))
    return f"{time * 1000:.{max(0, digits - 3)}f} ms" if millis else f"{time:.{digits}f} s"


def said(time: float) -> str:
    """A time in the list of steps."""
    return f"{time * 1000:.1f} ms" if time < 1 else f"{time:.3f} s"


def rows(line: Timeline) -> list[dict[str, Any]]:
    """The steps for the list below the picture."""
    return [
        {"number": step.number, "at": said(step.begin), "words": step.words, "kind": step.kind} for step in line.steps
    ]
