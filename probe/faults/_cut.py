"""Drops all packets of this network namespace, one way or both, so that nobody is told."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from probe.faults._nfqueue import swallowing
from probe.faults._system import can, counted, table

ARRIVING = """chain arriving {
    type filter hook prerouting priority raw;
    iifname "lo" accept
    counter drop
}
"""
LEAVING = """chain leaving {
    type filter hook output priority filter;
    oifname "lo" accept
    counter drop
}
"""


@contextmanager
def cut(fault: str, direction: str) -> Iterator[tuple[str, Callable[[], int]]]:
    """Drop what comes ``in``, what goes ``out``, or ``both``; the way used, and how many packets it were so far.

    Raises:
        Refused: this kernel has no nftables.
    """
    arriving = "" if direction == "out" else ARRIVING
    with ExitStack() as stack:
        if direction == "in":
            name, way = stack.enter_context(table(fault, arriving)), "nftables"
        elif can("nfqueue"):
            name, way = stack.enter_context(swallowing(fault, arriving)), "nftables and nfqueue"
        else:
            name, way = stack.enter_context(table(fault, arriving + LEAVING)), "nftables, the sender is told"
        yield way, lambda: counted(name)
