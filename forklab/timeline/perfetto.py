"""The time-line in the Trace Event Format of Chrome, which Perfetto reads (ui.perfetto.dev, chrome://tracing)."""

from collections.abc import Iterator
from typing import Any

from forklab.timeline.model import PEER, Event, Lane, Timeline

_US = 1000
_NETWORK = 1_000_000
"""The number under which connections stand; no place has so many processes."""


def trace(timeline: Timeline) -> dict[str, Any]:
    """One document; times in microseconds since the start."""
    return {"displayTimeUnit": "ms", "traceEvents": [*_lanes(timeline), *_events(timeline), *_connections(timeline)]}


def _ids(timeline: Timeline, lane: Lane) -> dict[str, int]:
    """Places do not share PIDs, so each has a range of its own."""
    owner = timeline.lanes[lane.owner]
    return {"pid": owner.place * _NETWORK + owner.id + 1, "tid": lane.place * _NETWORK + lane.id + 1}


def _span(name: str, begin: int, end: int, ids: dict[str, int], **args: Any) -> dict[str, Any]:
    return {"ph": "X", "name": name, "ts": begin / _US, "dur": max(0, end - begin) / _US, **ids, "args": args}


def _lanes(timeline: Timeline) -> Iterator[dict[str, Any]]:
    for lane in timeline.lanes:
        if lane.kind == PEER:
            continue
        ids = _ids(timeline, lane)
        name = f"{timeline.lane_name(lane.id)} {lane.name}"
        if lane.owner == lane.id:
            yield {"ph": "M", "name": "process_name", **ids, "args": {"name": name}}
        yield {"ph": "M", "name": "thread_name", **ids, "args": {"name": f"{lane.kind} {lane.pid}"}}
        end = timeline.length if lane.ended is None else lane.ended
        yield _span("runs", lane.born, end, ids, how=lane.how)
        if lane.ended is not None and lane.reaped != lane.ended:
            yield _span("zombie", lane.ended, timeline.length if lane.reaped is None else lane.reaped, ids)


def _events(timeline: Timeline) -> Iterator[dict[str, Any]]:
    for event in timeline.events:
        lane = None if event.lane is None else timeline.lanes[event.lane]
        if lane is None or lane.kind == PEER:
            continue
        ids = _ids(timeline, lane)
        args = {"call": event.call, **event.fields}
        if event.begin is not None and event.end is not None:
            yield _span(event.text, event.begin, event.end, ids, **args)
        else:
            yield {"ph": "i", "s": "t", "name": event.text, "ts": event.time / _US, **ids, "args": args}
        yield from _arrow(timeline, event, ids)


def _arrow(timeline: Timeline, event: Event, ids: dict[str, int]) -> Iterator[dict[str, Any]]:
    """From a fork to the child."""
    child = event.fields.get("child") if event.kind in ("fork", "thread") else None
    if child is None:
        return
    arrow = {"name": "fork", "cat": "fork", "id": child, "ts": event.time / _US}
    yield {"ph": "s", **arrow, **ids}
    yield {"ph": "f", "bp": "e", **arrow, **_ids(timeline, timeline.lanes[child])}


def _connections(timeline: Timeline) -> Iterator[dict[str, Any]]:
    """A track for each connection, a span for each state of the server's end."""
    for connection in timeline.connections:
        ids = {"pid": _NETWORK * 1000, "tid": connection.id + 1}
        yield {"ph": "M", "name": "process_name", **ids, "args": {"name": "connections, the server's end"}}
        yield {"ph": "M", "name": "thread_name", **ids, "args": {"name": connection.client}}
        states = connection.states["server"]
        ends = [time for time, _ in states[1:]] + [timeline.length]
        for (begin, state), end in zip(states, ends, strict=False):
            if state != "CLOSED":
                yield _span(state, begin, end, ids)
