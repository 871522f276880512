"""The time-line as JSON lines, for scripts; docs/trace.md is their schema."""

import json
from collections.abc import Iterator
from typing import Any

from forklab.timeline.model import Event, Timeline

VERSION = 1


def rows(timeline: Timeline) -> Iterator[dict[str, Any]]:
    """A head, then one object for each event, process, connection and finding."""
    yield {
        "type": "head",
        "version": VERSION,
        "start_monotonic_ns": timeline.start,
        "length_ns": timeline.length,
        "precision_ns": timeline.precision,
        "places": timeline.places,
        "lines": timeline.lines,
        "unread": timeline.unread,
        "notes": timeline.notes,
    }
    for lane in timeline.lanes:
        yield {"type": "lane", **vars(lane)}
    for thing in timeline.things:
        holds = [dict(zip(("lane", "fd", "from", "to"), hold, strict=True)) for hold in thing.holds]
        shown = {"id": thing.id, "place": thing.place, "kind": thing.kind, "label": thing.label}
        yield {"type": "thing", **shown, "connection": thing.connection, "holds": holds}
    for connection in timeline.connections:
        yield {"type": "connection", **vars(connection)}
    for fault in timeline.faults:
        yield {"type": "fault", **vars(fault)}
    for event in timeline.events:
        yield event_row(timeline, event)
    for finding in timeline.findings:
        yield {"type": "finding", "text": finding}


def event_row(timeline: Timeline, event: Event) -> dict[str, Any]:
    """One event; what is of its kind only stands beside what all have."""
    lane = None if event.lane is None else timeline.lanes[event.lane]
    row = {
        "type": "event",
        "time": event.time,
        "kind": event.kind,
        "place": timeline.places[event.place] if lane is not None else None,
        "pid": lane.pid if lane is not None else None,
        "lane": event.lane,
        "text": event.text,
        "minor": event.minor,
    }
    if event.call:
        row |= {"begin": event.begin, "end": event.end, "call": event.call}
    return row | event.fields | {"deltas": event.deltas}


def text(timeline: Timeline) -> str:
    """The whole file."""
    return "".join(json.dumps(row) + "\n" for row in rows(timeline))


def document(timeline: Timeline, written: list[str]) -> dict[str, Any]:
    """The same as one object: a list for each type of row, and which files were written."""
    grouped: dict[str, Any] = {"head": {}, "files": written}
    for kind in ("lane", "thing", "connection", "fault", "event", "finding"):
        grouped[f"{kind}s"] = []
    for row in rows(timeline):
        kind = row.pop("type")
        if kind == "head":
            grouped["head"] = row
        else:
            grouped[f"{kind}s"].append(row)
    return grouped
