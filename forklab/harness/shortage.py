"""A server runs short of something while clients go on coming: what ``fork-fails`` and ``fd-exhaustion`` share."""

import re
import time
from dataclasses import dataclass

from forklab.harness.reading import line
from forklab.harness.scenario import NotSo, Parameter
from forklab.harness.stage import Hand, Pod, Stage
from forklab.observe import Snapshot
from forklab.timeline.model import Event, Timeline

MOST_A_SECOND = 50.0
"""Attempts. A server that pauses makes ten a second, one that spins makes thousands."""
MOST_OF_A_PROCESSOR = 0.25
"""A server that pauses uses a hundredth of one; one that spins uses most of it, and strace the rest."""
PATIENCE = 15.0
"""Seconds after which a client that ought to be answered gives up."""
PARAMETERS = {
    "clients": Parameter(6, 3, 100, "", "how many clients come during the shortage"),
    "room": Parameter(2, 0, 50, "", "for how many of them there is room"),
    "seconds": Parameter(1.0, 0.5, 30.0, "s", "how long it lasts once all wait"),
}


@dataclass(frozen=True)
class Shortage:
    """What runs short.

    Args:
        fault: the id of the fault that brings it about.
        call: how the call begins that the kernel refuses, as a regular expression: ``clone3?``.
        error: what it answers: ``EAGAIN``.
        wanted: what the server does not get, in words: ``a process``.
        parked: how many clients the server has accepted and cannot serve; the rest are in the accept queue.
    """

    fault: str
    call: str
    error: str
    wanted: str
    parked: int


def endure(stage: Stage, model: str, short: Shortage) -> str:
    """Let clients come to a server of ``model`` during the shortage: does it die, does it spin, is anybody lost?

    The stage has ``PARAMETERS``.

    Returns:
        The words of PASS.

    Raises:
        NotSo: the server did one of that.
    """
    if stage["clients"] <= stage["room"] + short.parked:
        stage.inconclusive(f"nobody waits with --clients {stage['clients']} --room {stage['room']}; let more come")
    with stage.client_alone() as hand, stage.server(hand, model, pids=64 + stage["room"]) as server:
        hand.give_up_after(PATIENCE)
        return _endure(stage, hand, server, short)


def _endure(stage: Stage, hand: Hand, server: Pod, short: Shortage) -> str:
    (old,) = hand.open(1, "x\n")
    with stage.traced(server) as timeline:
        with server.faults.held(short.fault, room=str(stage["room"]), seconds="120s"):
            names = hand.open(stage["clients"])
            for name in names:
                hand.send(name, "x\n")
            seen = stage.until(lambda: _queue(stage, server, short))
            if seen is None:
                raise NotSo(f"clients without {short.wanted} wait in the accept queue; {_states(server.snapshot(()))}")
            stage.evidence(f"during the shortage: {_states(seen)}")
            share = _share(server, stage["seconds"])
            served = _answered(hand, old, send=True)
        healed = time.monotonic()
        answered = [_answered(hand, name) for name in names]
        after = time.monotonic() - healed
    refused = _refused(timeline, short)
    _report(stage, timeline, refused)
    stage.measure(noticed_after_ms=_noticed_ms(stage, timeline, refused))
    rate = _rate(refused)
    reset = sum(bool(each.fin.get("server") or each.reset.get("server")) for each in timeline.connections)
    stage.measure(
        refused=len(refused),
        attempts_per_second=round(rate, 1),
        processor_share=round(share, 3),
        answered=answered.count(True),
        lost=answered.count(False),
        answered_after_s=round(after, 2),
    )
    stage.expect(bool(refused), f"the kernel refuses {short.wanted} with {short.error}; it never did")
    stage.expect(rate <= MOST_A_SECOND, f"the server pauses before it asks again; it asked {rate:.0f} times a second")
    stage.expect(share <= MOST_OF_A_PROCESSOR, f"it sleeps meanwhile; it used {share:.0%} of a processor")
    stage.expect(served, "the client that was there before is served on")
    stage.expect(not reset, f"no client is told anything: it only waits; {reset} got a FIN or RST")
    stage.expect(all(answered), f"every client is answered in the end; {answered.count(False)} were not")
    waited = stage["clients"] - stage["room"]
    return (
        f"{short.error} {len(refused)} times, {rate:.0f} a second; {waited} clients waited for {short.wanted}, nobody "
        f"was lost, all were answered {after:.1f} s after the shortage"
    )


def _queue(stage: Stage, server: Pod, short: Shortage) -> Snapshot | None:
    """A look at the server once all for whom there is no room are in the accept queue."""
    seen = server.snapshot(())
    queued = sum(not each.inode for each in seen.established())
    return seen if queued == stage["clients"] - stage["room"] - short.parked else None


def _states(seen: Snapshot) -> str:
    """Who is held by whom."""
    connections = seen.established()
    queued = sum(not each.inode for each in connections)
    main = sum(seen.server in each.holders for each in connections)
    return (
        f"{len(seen.processes)} process(es); of {len(connections)} connections PID {seen.server} holds {main}, its "
        f"children {len(connections) - queued - main}, and {queued} have inode 0: in the accept queue"
    )


def _share(server: Pod, seconds: float) -> float:
    """How much of one processor the server's processes use for so long."""
    first = server.snapshot(())
    time.sleep(seconds)
    last = server.snapshot(())
    used = sum(process.cpu for process in last.processes) - sum(process.cpu for process in first.processes)
    return used / (last.time - first.time)


def _answered(hand: Hand, name: str, *, send: bool = False) -> bool:
    """Whether a client gets its line back."""
    try:
        return bool((hand.say(name, "x\n") if send else hand.back(name, 2)) == "x\n")
    except OSError:
        return False


def _refused(timeline: Timeline, short: Shortage) -> list[Event]:
    """The calls that the kernel refused."""
    pattern = re.compile(rf"(?:{short.call})\(.*= -1 {short.error}\b")
    return [event for event in timeline.events if pattern.match(event.call)]


def _noticed_ms(stage: Stage, timeline: Timeline, refused: list[Event]) -> float | None:
    """How long after the handshake of the first client without a place the server learned of the shortage."""
    came = sorted(each.opened for each in timeline.connections if not each.before)
    if not refused or len(came) <= stage["room"]:
        return None
    noticed: float = (refused[0].time - came[stage["room"]]) / 1e6
    stage.evidence(f"the server noticed {noticed:.1f} ms after that client's handshake; clients noticed nothing")
    return round(noticed, 1)


def _rate(events: list[Event]) -> float:
    """How many a second from the first to the last."""
    return (len(events) - 1) / max((events[-1].time - events[0].time) / 1e9, 0.001) if len(events) > 1 else 0.0


def _report(stage: Stage, timeline: Timeline, refused: list[Event]) -> None:
    """Quote the first refusals, and draw what happened."""
    for event in refused[:3]:
        stage.evidence(line(timeline, event))
    if len(refused) > 3:
        stage.evidence(f"and {len(refused) - 3} more, the last one: {line(timeline, refused[-1])}")
    stage.timeline("The server during the shortage (shaded) and after it", timeline)
