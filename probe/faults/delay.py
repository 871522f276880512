"""Delay each packet that leaves the target, so that a round trip takes that much longer.

By netem where the kernel has it, else by NFQUEUE: each packet waits in a process of ours and goes on in the order it
came. Only what leaves is delayed, whole, in both ways; what arrives is not. So a round trip takes ``by`` longer.

NFQUEUE takes some thousand packets a second; at most 10,000 are under way, and what comes then is dropped, as by a full
router.

Sources: tc-netem(8); nft(8), queue statement; net/netfilter/nfnetlink_queue.c.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from probe.faults._effect import Effect
from probe.faults._nfqueue import line
from probe.faults._shape import milliseconds, shaped

PARAMETERS = {
    "by": {
        "unit": "time",
        "default": "50ms",
        "least": "1ms",
        "most": "10s",
        "help": "how much longer a round trip takes",
    }
}


@contextmanager
def hold(by: float) -> Iterator[Effect]:
    """Delay each packet by ``by`` seconds."""
    did = f"each packet that leaves is delayed by {milliseconds(by)}"

    @contextmanager
    def nfqueue() -> Iterator[Effect]:
        with line("delay", lambda now: now + by) as made:
            yield Effect("nfqueue", did, made.evidence, {made.queue.fd: made.queue.read}, made.work)

    with shaped("delay", did, ["delay", milliseconds(by)], nfqueue) as effect:
        yield effect
