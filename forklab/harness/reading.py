"""What scenarios read: rows of /proc once something has come about; who is who in a recording, and its calls."""

import re
from collections.abc import Callable

from forklab.harness.scenario import Inconclusive
from forklab.harness.stage import Pod, Stage
from forklab.observe import Process, Snapshot
from forklab.timeline.model import PROCESS, Event, Lane, Timeline


def seen(
    stage: Stage, pod: Pod, true: Callable[[Snapshot], bool], details: tuple[str, ...] = (), seconds: float = 20
) -> Snapshot:
    """Look until ``true`` of a look, at most for ``seconds``; the last look, of which it may still not be true."""
    last: list[Snapshot] = []

    def look() -> bool:
        last[:] = [pod.snapshot(details)]
        return true(last[0])

    stage.until(look, seconds)
    return last[0]


def gone(stage: Stage, pod: Pod, *pids: int) -> Snapshot:
    """Look until none of these processes is there; the last look.

    Twice, for a process that is just ending has left its control group and is not a zombie yet: one look may miss it.
    """
    seen(stage, pod, lambda look: not any(map(look.process, pids)))
    return seen(stage, pod, lambda look: not any(map(look.process, pids)))


def row(process: Process) -> str:
    """A process as ps shows it: the fields of /proc/PID/stat."""
    return f"Pid: {process.pid}  PPid: {process.ppid}  State: {process.state}  Name: {process.name}"


def family(timeline: Timeline) -> tuple[Lane, list[Lane]]:
    """The process that is the demo, and its children in the order of their forks.

    A demo runs in a child of the process that supervises it (demos/_run.py).

    Raises:
        Inconclusive: there is none: the recording shows no fork.
    """
    forked = sorted((lane for lane in timeline.lanes if lane.kind == PROCESS and lane.parent is not None), key=_birth)
    if not forked:
        raise Inconclusive("the recording shows no fork")
    demo = forked[0]
    return demo, children(timeline, demo)


def children(timeline: Timeline, parent: Lane) -> list[Lane]:
    """The processes that ``parent`` has forked, in that order."""
    return sorted((lane for lane in timeline.lanes if lane.kind == PROCESS and lane.parent == parent.id), key=_birth)


def calls(timeline: Timeline, lane: Lane, name: str) -> list[Event]:
    """The calls of a process whose names begin with ``name``, in their order."""
    return [event for event in timeline.events if event.lane == lane.id and event.call.startswith(name)]


def value(event: Event) -> int | None:
    """What a call returned; None if it never did."""
    found = re.search(r" = (-?\d+)[^=]*$", event.call)
    return int(found[1]) if found else None


def line(timeline: Timeline, event: Event) -> str:
    """A call or a signal as strace shows it: when it began, whose it is, and how long it took."""
    begin = event.time if event.begin is None else event.begin
    took = f" <{took_ms(event):.3f} ms>" if event.end is not None else ""
    who = timeline.lanes[event.lane].pid if event.lane is not None else "?"
    call = re.sub(r", sa_restorer=0x[0-9a-f]+|, child_tidptr=0x[0-9a-f]+|child_stack=NULL, ", "", event.call)
    call = re.sub(r",(?=\S)", ", ", call)  # where strace had to write a call in two halves
    call = re.sub(r"^(rt_sigaction\(.*?\}), .* = ", r"\1, ...) = ", call)  # what the handler was before
    return f"{begin / 1e6:9.3f} ms  PID {who}  {call}{took}"


def spans(event: Event | None, lane: Lane) -> bool:
    """Whether a call began before the process ended, and returned after that."""
    if event is None or event.begin is None or event.end is None or lane.ended is None:
        return False
    return event.begin < lane.ended <= event.end


def took_ms(event: Event) -> float:
    """How many milliseconds a call lasted; 0 for one that never returned."""
    return 0.0 if event.begin is None or event.end is None else (event.end - event.begin) / 1e6


def zombie_ms(lane: Lane) -> float:
    """How many milliseconds a process was a zombie; 0 for one that never was."""
    return 0.0 if lane.ended is None or lane.reaped is None else (lane.reaped - lane.ended) / 1e6


def ends(lanes: list[Lane]) -> list[Lane]:
    """Those that have ended, in the order of their ends."""
    return sorted((lane for lane in lanes if lane.ended is not None), key=lambda lane: lane.ended or 0)


def end(lane: Lane) -> str:
    """How a process ended, and how long it was a zombie; no such time where its parent ended first."""
    if lane.ended is None:
        return f"PID {lane.pid} (PPid {lane.ppid}) was still there at the end of the recording"
    left = "was never waited for"
    if lane.reaped is not None:
        by = "by its parent" if lane.reaped_by is not None else "by nobody: its parent ended"
        left = f"was a zombie for {zombie_ms(lane):.3f} ms, waited for {by}"
    return f"{lane.ended / 1e6:9.3f} ms  PID {lane.pid} ended: {lane.how}; it {left}"


def _birth(lane: Lane) -> tuple[int, int]:
    return lane.born, lane.id
