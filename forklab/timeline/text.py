"""The time-line as text: one line an event, then what was found."""

from collections.abc import Iterator

from forklab.timeline.model import Event, Timeline

_NS = 1e9


def lines(timeline: Timeline, *, everything: bool = False) -> Iterator[str]:
    """Seconds since the start, who, what. Without ``everything`` the minor events are left out."""
    width = max((len(who(timeline, event)) for event in timeline.events), default=0)
    left_out = 0
    for event in timeline.events:
        if event.minor and not everything:
            left_out += 1
        else:
            yield f"{event.time / _NS:12.6f}  {who(timeline, event):{width}}  {event.text}"
    if left_out:
        yield f"({left_out} minor events left out: files, polls, calls that would have blocked)"
    yield ""
    yield from summary(timeline)


def who(timeline: Timeline, event: Event) -> str:
    """Whose deed an event is."""
    if event.kind == "fault":
        return "the lab"
    return "the network" if event.lane is None else timeline.lane_name(event.lane)


def summary(timeline: Timeline) -> Iterator[str]:
    """What was recorded, in a few lines, and what was found."""
    kinds = [event.kind for event in timeline.events if event.place == 0 and not event.minor]
    processes = sum(lane.kind == "process" and lane.place == 0 for lane in timeline.lanes)
    counts = ", ".join(f"{name} {kinds.count(kind)}" for name, kind in _COUNTED.items())
    yield f"{timeline.length / _NS:.3f} s recorded; times are good to {max(timeline.precision, 1000) / 1000:.0f} us"
    yield f"the server's processes {processes}; {counts}; connections {len(timeline.connections)}"
    yield from (f"note: {note}" for note in timeline.notes)
    yield from timeline.findings


_COUNTED = {"forks": "fork", "threads": "thread", "accepts": "accept", "exits": "exit", "reaps": "reap"}
