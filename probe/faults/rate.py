"""Limit how many bits a second leave the target.

A token bucket: what is more waits up to 200 ms, and what would have to wait longer is dropped, as at a slow uplink. The
rate counts whole frames, so a program gets some 4 % less.

Source: tc-tbf(8).
"""

from collections.abc import Iterator
from contextlib import contextmanager

from probe.faults._effect import Effect, Refused
from probe.faults._qdisc import discipline
from probe.faults._system import can

PARAMETERS = {
    "to": {
        "unit": "rate",
        "default": "1mbit",
        "least": "8kbit",
        "most": "10gbit",
        "help": "how many bits a second may leave",
    }
}
FRAME = 1514
"""Bytes of a full Ethernet frame: the bucket must hold one at least."""

REFILL = 0.01
"""Seconds: the bucket holds what the rate gives in one tick of the slowest clock (HZ=100)."""


@contextmanager
def hold(to: float) -> Iterator[Effect]:
    """Let ``to`` bits a second leave."""
    if not can("tbf"):
        raise Refused("this kernel has no sch_tbf, and the fault needs it")
    burst = max(2 * FRAME, round(to / 8 * REFILL))
    with discipline("rate", "tbf", "rate", f"{to:.0f}bit", "burst", f"{burst}b", "latency", "200ms"):
        yield Effect("tbf", f"at most {to / 1e6:g} Mbit/s leave")
