"""The time-line as one HTML file that needs no network: the template beside this file, with the data in it."""

import html
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from forklab.timeline.model import PEER, Connection, Event, Timeline

_MOST = 50_000
"""Events in a page; a browser gets slow beyond. events.jsonl has all."""
_TEMPLATE = Path(__file__).with_name("page.html")


def page(timeline: Timeline, title: str) -> str:
    """The whole file. ``title`` is text, not HTML."""
    findings = [f'<p class="finding">{html.escape(text)}</p>' for text in timeline.findings]
    notes = [f'<p class="note">{html.escape(text)}</p>' for text in timeline.notes]
    # "<" cannot end the script element that holds the data, nor begin a comment in it (HTML, 4.12.1.3).
    content = json.dumps(data(timeline), separators=(",", ":")).replace("<", "\\u003c")
    parts = {
        "@TITLE@": html.escape(title),
        "@FINDINGS@": "".join(findings),
        "@NOTES@": "".join(notes),
        "@DATA@": content,
    }
    made = _TEMPLATE.read_text(encoding="utf-8")
    for name, part in parts.items():  # the data last: it may hold any of these words
        made = made.replace(name, part)
    return made


def data(timeline: Timeline) -> dict[str, Any]:
    """What the page's script reads; times in ns since the start."""
    peers = {lane.name: lane.id for lane in timeline.lanes if lane.kind == PEER}
    return {
        "length": timeline.length,
        "places": timeline.places,
        "lanes": [vars(lane) for lane in timeline.lanes],
        "things": [
            {"kind": thing.kind, "label": thing.label, "connection": thing.connection, "place": thing.place}
            for thing in timeline.things
        ],
        "connections": [_connection(timeline, connection, peers) for connection in timeline.connections],
        "events": [_event(event) for event in _shown(timeline.events)],
        "faults": [vars(fault) for fault in timeline.faults],
    }


def _shown(events: list[Event]) -> list[Event]:
    """All of them, or of very many only those that matter; what the others changed happens with the next one."""
    if len(events) <= _MOST:
        return events
    kept: list[Event] = []
    waiting: list[list[Any]] = []
    for event in events:
        waiting += event.deltas
        if not event.minor:
            kept.append(replace(event, deltas=waiting))
            waiting = []
    return kept


def _connection(timeline: Timeline, connection: Connection, peers: dict[str, int]) -> dict[str, Any]:
    things = connection.things
    return {
        "client": connection.client,
        "server": connection.server,
        "opened": connection.opened,
        "accepted_by": connection.accepted_by,
        "states": connection.states,
        "server_thing": things.get("server"),
        "peer": None if "client" in things else peers.get(connection.client.rpartition(":")[0]),
        "holds": {end: timeline.things[things[end]].holds if end in things else [] for end in ("server", "client")},
    }


def _event(event: Event) -> list[Any]:
    """In the order of the constants at the head of the page's script."""
    return [
        event.time,
        event.kind,
        event.text,
        event.place,
        event.lane,
        event.begin,
        event.end,
        event.call,
        int(event.minor),
        event.fields.get("connection"),
        event.deltas,
    ]
