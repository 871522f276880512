"""Flip a bit in some of the packets that leave the target, as a bad wire does.

The bit is behind the IP header. The receiver's kernel finds that the checksum is wrong and drops the packet, so TCP
sends it again and no program ever sees wrong bytes; /proc/net/snmp counts it (InCsumErrors).

By netem where the kernel has it (which may flip a bit of the IP header too), else by NFQUEUE.

Sources: tc-netem(8), corrupt; RFC 9293, 3.1 (the checksum).
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from probe.faults._effect import Effect
from probe.faults._nfqueue import handled
from probe.faults._shape import shaped, share

if TYPE_CHECKING:
    from probe.faults._nfqueue import Packet

PARAMETERS = {
    "percent": {
        "unit": "percent",
        "default": "5",
        "least": "0.1",
        "most": "100",
        "help": "how many of the packets get a wrong bit",
    }
}
IPV6_HEADER = 40


@contextmanager
def hold(percent: float) -> Iterator[Effect]:
    """Flip a bit in a fraction ``percent`` of the packets."""
    did = f"{share(percent)} of the packets that leave get a wrong bit"
    counts = {"packets": 0, "corrupted": 0}

    def take(packet: "Packet") -> None:
        counts["packets"] += 1
        if random.random() < percent:
            counts["corrupted"] += 1
            packet.set_payload(flipped(packet.get_payload()))
        packet.accept()

    @contextmanager
    def nfqueue() -> Iterator[Effect]:
        with handled("corrupt", take) as queue:
            yield Effect("nfqueue", did, counts.copy, {queue.fd: queue.read})

    with shaped("corrupt", did, ["corrupt", share(percent)], nfqueue) as effect:
        yield effect


def flipped(packet: bytes) -> bytes:
    """A packet with one bit behind its IP header turned round; one without anything there as it is."""
    header = (packet[0] & 0x0F) * 4 if packet[0] >> 4 == 4 else IPV6_HEADER
    if len(packet) <= header:
        return packet
    place = random.randrange(header, len(packet))
    return packet[:place] + bytes([packet[place] ^ 1 << random.randrange(8)]) + packet[place + 1 :]
