"""Delay each packet that leaves the target by a time of its own, as a busy network does.

The time is drawn evenly from ``by`` - ``spread`` to ``by`` + ``spread``. A packet never overtakes the one before it: a
queue in a network does not reorder, and the fault reorder is there for that. So where packets come faster than the
times differ, a packet waits for its predecessor, and the mean is above ``by``.

By netem where the kernel has it (with a rate, which makes it keep the order), else by NFQUEUE.

Sources: tc-netem(8); netem_enqueue() in net/sched/sch_netem.c.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager

from probe.faults._effect import Effect, Refused
from probe.faults._nfqueue import line
from probe.faults._shape import milliseconds, shaped
from protocol import exits

PARAMETERS = {
    "by": {
        "unit": "time",
        "default": "50ms",
        "least": "1ms",
        "most": "10s",
        "help": "how much longer a round trip takes in the middle",
    },
    "spread": {
        "unit": "time",
        "default": "20ms",
        "least": "1ms",
        "most": "10s",
        "help": "how much more or less it is at most",
    },
}


@contextmanager
def hold(by: float, spread: float) -> Iterator[Effect]:
    """Delay each packet by ``by`` ± ``spread`` seconds."""
    if spread > by:
        raise Refused(
            f"spread {milliseconds(spread)} is more than by {milliseconds(by)}: no packet leaves before it has come",
            exits.USAGE,
        )
    span = f"{milliseconds(by - spread)} to {milliseconds(by + spread)}"
    did = f"each packet that leaves is delayed by {span}, evenly spread"
    last = 0.0

    def when(now: float) -> float:
        nonlocal last
        last = max(last, now + random.uniform(by - spread, by + spread))
        return last

    @contextmanager
    def nfqueue() -> Iterator[Effect]:
        with line("jitter", when) as made:
            yield Effect("nfqueue", did, made.evidence, {made.queue.fd: made.queue.read}, made.work)

    netem = ["delay", milliseconds(by), milliseconds(spread), "rate", "10gbit"]
    with shaped("jitter", did, netem, nfqueue) as effect:
        yield effect
