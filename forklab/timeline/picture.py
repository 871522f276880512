"""The time-line as a picture for a slide: SVG drawn here, PNG made of it."""

import html
from collections.abc import Iterator
from dataclasses import dataclass

from forklab.timeline.model import PEER, PROCESS, Connection, Lane, Timeline

COLOURS = {
    "SYN_SENT": "#56b4e9",
    "SYN_RECV": "#56b4e9",
    "ESTABLISHED": "#0072b2",
    "CLOSE_WAIT": "#e69f00",
    "LAST_ACK": "#cc79a7",
    "FIN_WAIT1": "#009e73",
    "FIN_WAIT2": "#7fcfb8",
    "CLOSING": "#b7950b",
    "TIME_WAIT": "#9a9a9a",
    "CLOSED": "#dddddd",
}
"""By TCP state; the colours of Okabe and Ito, which colour-blind readers tell apart. The page uses the same."""
LIFE, ZOMBIE, FAULT = "#bcc6cf", "#d55e00", "#f0e442"

_WIDTH, _GUTTER, _HEAD, _BAR, _TITLE = 1200, 190, 14, 10, 30
_NAME = 25
"""Letters of a name that fit into the gutter."""
_MOST = 60
"""Lanes in a picture; a slide with more cannot be read, the page can."""


@dataclass
class _Axis:
    begin: int
    end: int

    def x(self, time: int) -> float:
        share = (time - self.begin) / max(1, self.end - self.begin)
        return _GUTTER + min(1.0, max(0.0, share)) * (_WIDTH - _GUTTER - 20)


def svg(timeline: Timeline, title: str) -> str:
    """The server's processes, or the first of them, with what each holds; no head for an empty ``title``."""
    lanes = [lane for lane in timeline.lanes if lane.kind != PEER and lane.place == 0][:_MOST]
    axis = _axis(timeline)
    body: list[str] = []
    y = 64
    for lane in lanes:
        drawn, height = _lane(timeline, lane, axis, y)
        body += drawn
        y += height
    left_out = sum(lane.place == 0 and lane.kind != PEER for lane in timeline.lanes) - len(lanes)
    if left_out:
        body.append(_text(8, y + 12, f"and {left_out} more processes"))
        y += 18
    faults = [_box(axis, f.begin, f.end or timeline.length, 56, y - 56, FAULT, f.name, 0.35) for f in timeline.faults]
    shapes = "\n".join([*faults, *body, *_ticks(axis, y), *_legend(timeline, y + 34)])
    top = 0 if title else _TITLE
    size = f'viewBox="0 {top} {_WIDTH} {y + 64 - top}" width="{_WIDTH}" height="{y + 64 - top}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} '
        f'font-family="sans-serif" font-size="11">\n<rect width="100%" height="100%" fill="#fff"/>\n'
        f'<text x="8" y="24" font-size="16" font-weight="bold">{html.escape(title)}</text>\n'
        f'<text x="8" y="44">{html.escape(_subtitle(timeline))}</text>\n{shapes}\n</svg>\n'
    )


def png(drawn: str) -> bytes:
    """The picture of ``svg`` in pixels.

    Raises:
        ImportError: vl-convert-python is not installed.
    """
    import vl_convert

    return bytes(vl_convert.svg_to_png(drawn, scale=1.5))


def _axis(timeline: Timeline) -> _Axis:
    """From the first connection, else the first fork: what a program does before that, it does to start."""
    times = [event.time for event in timeline.events if not event.minor]
    forks = [event.time for event in timeline.events if event.kind in ("fork", "thread")]
    begins = [connection.opened for connection in timeline.connections] or forks or times
    first = min(begins, default=0)
    last = max(times, default=timeline.length)
    spare = max((last - first) // 40, 1000)
    return _Axis(first - spare, last + spare)


def _subtitle(timeline: Timeline) -> str:
    held = "; beneath each process the connections it holds" if timeline.connections else ""
    found = timeline.findings[:1] or [f"time runs to the right{held}"]
    return found[0] if len(found[0]) < 190 else found[0][:186] + " ..."


def _lane(timeline: Timeline, lane: Lane, axis: _Axis, y: int) -> tuple[list[str], int]:
    ended = timeline.length if lane.ended is None else lane.ended
    name = f"{lane.pid}{'' if lane.kind == PROCESS else ' thread'} {lane.name.rpartition('/')[2]}"
    drawn = [
        _text(8, y + 10, name[:_NAME]),
        _box(axis, lane.born, ended, y, _HEAD - 3, LIFE, timeline.lane_name(lane.id)),
    ]
    if lane.ended is not None and lane.reaped != lane.ended:
        until = timeline.length if lane.reaped is None else lane.reaped
        drawn.append(_box(axis, lane.ended, until, y, _HEAD - 3, ZOMBIE, "zombie"))
    drawn += [
        f'<path d="M{axis.x(event.time):.1f} {y - 1}v{_HEAD}" stroke="#1a1a1a">'
        f"<title>{html.escape(event.text)}</title></path>"
        for event in timeline.events
        if event.lane == lane.id and event.kind in ("fork", "accept", "reap", "exit", "signal")
    ]
    y += _HEAD
    held = [
        (connection, hold)
        for connection in timeline.connections
        for hold in (timeline.things[connection.things["server"]].holds if "server" in connection.things else [])
        if hold[0] == lane.id
    ]
    free: list[int] = []
    for connection, (_, _, begin, end) in sorted(held, key=lambda pair: pair[1][2] or 0):
        until = timeline.length if end is None else end
        line = next((i for i, busy in enumerate(free) if busy <= (begin or 0)), len(free))
        free[line : line + 1] = [until]
        drawn += _bar(connection, begin or 0, until, axis, y + line * _BAR)
    return drawn, _HEAD + len(free) * _BAR + 4


def _bar(connection: Connection, begin: int, end: int, axis: _Axis, y: int) -> Iterator[str]:
    states = connection.states["server"] or [(begin, "ESTABLISHED")]
    ends = [time for time, _ in states[1:]] + [end]
    for (since, state), until in zip(states, ends, strict=True):
        if min(until, end) > max(since, begin):
            words = f"{connection.client} {state}"
            yield _box(axis, max(since, begin), min(until, end), y, _BAR - 2, COLOURS.get(state, "#777"), words)


def _ticks(axis: _Axis, y: int) -> Iterator[str]:
    for part in range(7):
        time = axis.begin + (axis.end - axis.begin) * part // 6
        x = axis.x(time)
        yield f'<path d="M{x:.1f} {y}v6" stroke="#666"/>'
        yield _text(min(x - 20, _WIDTH - 64), y + 18, f"{max(0, time) / 1e9:.4f} s")


def _legend(timeline: Timeline, y: int) -> Iterator[str]:
    used = {state for connection in timeline.connections for _, state in connection.states["server"]}
    shown = {"process": LIFE, "zombie": ZOMBIE, **{state: colour for state, colour in COLOURS.items() if state in used}}
    for number, (name, colour) in enumerate(shown.items()):
        x = 8 + number * 125
        yield f'<rect x="{x}" y="{y - 9}" width="14" height="10" fill="{colour}"/>'
        yield _text(x + 18, y, name)


def _box(axis: _Axis, begin: int, end: int, y: int, height: int, colour: str, words: str, opacity: float = 1) -> str:
    left, right = axis.x(begin), axis.x(end)
    return (
        f'<rect x="{left:.1f}" y="{y}" width="{max(0.8, right - left):.1f}" height="{height}" fill="{colour}" '
        f'fill-opacity="{opacity}"><title>{html.escape(words)}</title></rect>'
    )


def _text(x: float, y: float, words: str) -> str:
    return f'<text x="{x:.1f}" y="{y}">{html.escape(words)}</text>'
