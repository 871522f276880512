"""Cut the target off: no packet arrives, none leaves, and nobody is told.

One way only with ``direction``: ``in`` lets the target speak but not hear, ``out`` the other way round. Connections
stay on both ends and TCP goes on trying, in ever longer pauses; when the fault ends within its patience they go on as
if nothing had been. That may take until the next retry, which comes after twice the last pause.

What arrives is dropped by nftables before anything sees it. What leaves vanishes without a word by NFQUEUE; where the
kernel has none it is dropped, which the sender's TCP is told (it counts no retransmission then), and the answer says
so.

Sources: nft(8); tcp(7), tcp_retries2; RFC 6298, 5.5.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from probe.faults._cut import cut
from probe.faults._effect import Effect

PARAMETERS = {
    "direction": {
        "unit": "choice",
        "default": "both",
        "choices": ["both", "in", "out"],
        "help": "what is dropped, as the target sees it",
    }
}

DID = {"both": "no packet arrives and none leaves", "in": "no packet arrives", "out": "no packet leaves"}


@contextmanager
def hold(direction: str) -> Iterator[Effect]:
    """Drop all packets of one direction or of both."""
    with cut("partition", direction) as (way, dropped):
        yield Effect(way, DID[direction], lambda: {"dropped": dropped()})
