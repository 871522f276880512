"""What went through the pipes of a program, in its recording; a process's standard streams are left out."""

import re

from forklab.timeline.model import Event, Lane, Timeline


def through(timeline: Timeline, kind: str, lane: Lane) -> list[Event]:
    """The calls of one kind, ``read`` or ``write``, of a process on pipes."""
    mine = (event for event in timeline.events if event.kind == kind and event.lane == lane.id)
    return [event for event in mine if re.match(rf"{kind}\((?![012]<)\d+<pipe:", event.call)]


def name(event: Event) -> str:
    """Which pipe, by its inode: ``pipe:[4711]``."""
    found = re.search(r"<(pipe:\[\d+\])>", event.call)
    return found[1] if found else "no pipe"


def text(events: list[Event]) -> str:
    """The bytes of these calls one after the other, as strace shows them."""
    return "".join("".join(re.findall(r'"((?:[^"\\]|\\.)*)"', event.call)) for event in events)
