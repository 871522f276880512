"""Says in words what is wrong at the end of a recording: a FIN that never left, a zombie, a client nobody accepted."""

from collections.abc import Iterator, Mapping
from typing import Any

from forklab.timeline.model import Connection, Lane, Thing, Timeline

_NS = 1e9


def findings(timeline: Timeline, last: Mapping[str, Any]) -> list[str]:
    """One sentence each; ``last`` is the probe's look at the end, which confirms what is still held."""
    return [*_leaks(timeline), *_zombies(timeline), *_waiting(timeline)]


def _leaks(timeline: Timeline) -> Iterator[str]:
    """A server's end that whoever served it has let go, while another process still has a descriptor for it.

    TCP sends FIN when the last descriptor of a socket is closed, or at shutdown(2) (UNP 4.8).
    """
    for connection in timeline.connections:
        thing = timeline.things[connection.things["server"]] if "server" in connection.things else None
        if thing is None or "server" in connection.fin or connection.reset:
            continue
        holders = [hold for hold in thing.holds if hold[3] is None]
        held = {hold[0] for hold in holders}
        gone = sorted(thing.used_by - held)
        if holders and gone and not held & thing.used_by:
            yield _leak(timeline, connection, thing, holders, gone)


def _leak(
    timeline: Timeline, connection: Connection, thing: Thing, holders: list[list[int | None]], gone: list[int]
) -> str:
    who = " and ".join(
        f"{timeline.lane_name(lane)} ({timeline.lanes[lane or 0].name or '?'}) still holds the socket as fd {number}"
        for lane, number, *_ in holders
    )
    served = " and ".join(_served(timeline, thing, timeline.lanes[lane]) for lane in gone)
    client = "The client has sent its FIN and waits" if "client" in connection.fin else "The client waits"
    state = connection.state("server") or "unknown"
    return (
        f"The server's FIN to {connection.client} never left: {who}, although {served}. {client}; "
        f"the server's end is in {state}. Mend: close the connection in the process that does not serve it."
    )


def _served(timeline: Timeline, thing: Thing, lane: Lane) -> str:
    ends = [int(hold[3]) for hold in thing.holds if hold[0] == lane.id and hold[3] is not None]
    when = f" at {max(ends) / _NS:.6f} s" if ends else ""
    did = "ended" if lane.ended is not None and ends and lane.ended - max(ends) < 5_000_000 else "closed its copy"
    return f"{timeline.lane_name(lane.id)}, which served it, {did}{when}"


def _zombies(timeline: Timeline) -> Iterator[str]:
    for lane in timeline.lanes:
        if lane.ended is not None and lane.reaped is None:
            parent = timeline.lane_name(lane.parent) if lane.parent is not None else f"process {lane.ppid}"
            yield (
                f"{timeline.lane_name(lane.id).capitalize()} is a zombie since {lane.ended / _NS:.6f} s ({lane.how}): "
                f"its parent, {parent}, has not waited for it."
            )


def _waiting(timeline: Timeline) -> Iterator[str]:
    for connection in timeline.connections:
        open_ = connection.state("server") in ("ESTABLISHED", "CLOSE_WAIT")
        if connection.accepted is None and not connection.before and open_ and "server" not in connection.things:
            yield f"{connection.client} is connected, but nobody has accepted it: it waits in the listener's backlog."
