"""Hold some of the packets that leave the target back, so that later ones overtake them.

Of all packets ``percent`` are delayed by ``by``; the others go at once. A packet is overtaken when another one leaves
within that time. By netem where the kernel has it, else by NFQUEUE, which does the same.

Sources: tc-netem(8), reorder; RFC 4737.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from probe.faults._effect import Effect
from probe.faults._nfqueue import line
from probe.faults._shape import milliseconds, shaped, share

PARAMETERS = {
    "percent": {
        "unit": "percent",
        "default": "10",
        "least": "0.1",
        "most": "99",
        "help": "how many of the packets are held back",
    },
    "by": {
        "unit": "time",
        "default": "20ms",
        "least": "1ms",
        "most": "1s",
        "help": "for how long",
    },
}


@contextmanager
def hold(percent: float, by: float) -> Iterator[Effect]:
    """Hold a fraction ``percent`` of the packets back by ``by`` seconds."""
    did = f"{share(percent)} of the packets that leave are held back for {milliseconds(by)}"
    back = 0

    def when(now: float) -> float:
        nonlocal back
        if random.random() >= percent:
            return now
        back += 1
        return now + by

    @contextmanager
    def nfqueue() -> Iterator[Effect]:
        with line("reorder", when) as made:

            def evidence() -> dict[str, Any]:
                return {**made.evidence(), "held_back": back}

            yield Effect("nfqueue", did, evidence, {made.queue.fd: made.queue.read}, made.work)

    # netem's word is how many go at once.
    with shaped("reorder", did, ["delay", milliseconds(by), "reorder", share(1 - percent)], nfqueue) as effect:
        yield effect
