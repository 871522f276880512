"""Send some of the packets that leave the target twice.

By netem where the kernel has it. Else by NFQUEUE: the copy leaves by a raw socket just before the packet itself, with a
mark by which our own rule knows it. That way is for IPv4 only, which is what the lab's network speaks.

Sources: tc-netem(8), duplicate; raw(7).
"""

import random
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from probe.faults._effect import Effect
from probe.faults._nfqueue import Copies, handled, is_ipv4
from probe.faults._shape import shaped, share

if TYPE_CHECKING:
    from probe.faults._nfqueue import Packet

PARAMETERS = {
    "percent": {
        "unit": "percent",
        "default": "10",
        "least": "0.1",
        "most": "100",
        "help": "how many of the packets come twice",
    }
}


@contextmanager
def hold(percent: float) -> Iterator[Effect]:
    """Send a fraction ``percent`` of the packets twice."""
    did = f"{share(percent)} of the packets that leave are sent twice"
    counts = {"packets": 0, "sent_twice": 0}

    @contextmanager
    def nfqueue() -> Iterator[Effect]:
        with closing(Copies("duplicate")) as copies:

            def take(packet: "Packet") -> None:
                counts["packets"] += 1
                content = packet.get_payload()
                if random.random() < percent and is_ipv4(content):
                    counts["sent_twice"] += copies.send(content)
                packet.accept()

            with handled("duplicate", take) as queue:
                yield Effect("nfqueue", did, counts.copy, {queue.fd: queue.read})

    with shaped("duplicate", did, ["duplicate", share(percent)], nfqueue) as effect:
        yield effect
