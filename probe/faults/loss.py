"""Lose some of the packets that arrive at the target.

Which ones is drawn anew for each packet. They are dropped where they arrive, before anything of the target sees them:
what is dropped on its way out would be reported to the sending TCP, and would be no loss (ip_local_out()). To lose what
the server sends, hold the fault at the client.

Sources: nft(8), numgen; RFC 7680.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from probe.faults._effect import Effect
from probe.faults._shape import share
from probe.faults._system import counted, table

PARAMETERS = {
    "percent": {
        "unit": "percent",
        "default": "10",
        "least": "0.1",
        "most": "100",
        "help": "how many of the packets get lost",
    }
}
PARTS = 1_000_000


@contextmanager
def hold(percent: float) -> Iterator[Effect]:
    """Drop a fraction ``percent`` of what arrives."""
    # A number below the modulus: nft refuses a comparison that is always true.
    drawn = f"numgen random mod {PARTS} < {round(percent * PARTS)}" if percent < 1 else ""
    chain = f"""chain arriving {{
        type filter hook prerouting priority raw;
        iifname "lo" accept
        {drawn} counter drop
    }}"""
    with table("loss", chain) as name:
        did = f"{share(percent)} of the packets that arrive are dropped"
        yield Effect("nftables", did, lambda: {"dropped": counted(name)})
