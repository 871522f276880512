"""A frame as a TCP segment: link layer, IP, TCP. Bytes that are none give None, and nothing raises."""

import socket
import struct
from dataclasses import dataclass

from forklab.capture.frames import Frame

FIN, SYN, RST, PSH, ACK, URG, ECE, CWR = (1 << bit for bit in range(8))
_NAMES = {SYN: "SYN", FIN: "FIN", RST: "RST", PSH: "PSH", ACK: "ACK", URG: "URG", ECE: "ECE", CWR: "CWR"}

_TCP = 6
_IPV4, _IPV6 = 0x0800, 0x86DD
_VLAN = {0x8100, 0x88A8, 0x9100}
_HOP_BY_HOP, _ROUTING, _FRAGMENT, _AUTHENTICATION, _DESTINATION = 0, 43, 44, 51, 60
_MOST_HEADERS = 8
"""How many VLAN tags or IPv6 extension headers are followed."""

_AF_INET6 = {10, 24, 28, 30}
"""Linux, and the BSDs, FreeBSD and macOS."""


@dataclass(frozen=True, slots=True)
class Segment:
    """One TCP segment (RFC 9293, 3.1).

    ``time`` in nanoseconds since 1970; ``seq`` and ``ack`` as on the wire; ``length`` of the payload in bytes;
    ``mark`` is the same only where the very same packet was captured twice.
    """

    time: int
    source: tuple[str, int]
    target: tuple[str, int]
    seq: int
    ack: int
    flags: int
    window: int
    length: int
    mark: int
    known: bool
    """Whether ``mark`` holds an IP identification, so that a retransmission has another one (RFC 6864)."""

    def has(self, flag: int) -> bool:
        """Whether this flag is set."""
        return bool(self.flags & flag)

    @property
    def span(self) -> int:
        """Sequence numbers it takes up: SYN and FIN count as one byte each."""
        return self.length + self.has(SYN) + self.has(FIN)

    @property
    def names(self) -> str:
        """Its flags, such as ``SYN,ACK``."""
        return ",".join(name for bit, name in _NAMES.items() if self.has(bit)) or "none"


def segment(frame: Frame) -> Segment | None:
    """The TCP segment in a frame; None if there is none, or too little of it was captured."""
    try:
        network = _network(frame)
        if network is None:
            return None
        packet, beyond = network
        version = packet[0] >> 4
        found = _ipv4(packet, beyond) if version == 4 else _ipv6(packet, beyond) if version == 6 else None
        return found and _tcp(frame.time, *found)
    except (struct.error, IndexError):  # what was captured ends in the middle of a header
        return None


def knows(link: int) -> bool:
    """Whether frames of this link type (LINKTYPE_ numbers of tcpdump.org) are read."""
    return link in _LINKS


def _network(frame: Frame) -> tuple[bytes, int] | None:
    """What is below the link layer, and how many bytes of that were not captured."""
    read = _LINKS.get(frame.link)
    start = read(frame.data) if read else None
    return None if start is None else (frame.data[start:], max(0, frame.length - len(frame.data)))


def _ethernet(data: bytes) -> int | None:
    at = 12
    for _ in range(_MOST_HEADERS):
        (kind,) = struct.unpack_from("!H", data, at)
        if kind not in _VLAN:
            return at + 2 if kind in (_IPV4, _IPV6) else None
        at += 4
    return None


def _cooked(data: bytes) -> int | None:
    (kind,) = struct.unpack_from("!H", data, 14)
    return 16 if kind in (_IPV4, _IPV6) else None


def _cooked2(data: bytes) -> int | None:
    (kind,) = struct.unpack_from("!H", data)
    return 20 if kind in (_IPV4, _IPV6) else None


def _loopback(data: bytes) -> int | None:
    """The family is a number of the host that captured, in its byte order; in a loop device's in network order."""
    families = {struct.unpack_from(f"{order}I", data)[0] for order in "<>"}
    return 4 if families & ({socket.AF_INET} | _AF_INET6) else None


def _raw(data: bytes) -> int | None:
    return 0


_LINKS = {
    0: _loopback,
    1: _ethernet,
    12: _raw,
    14: _raw,
    101: _raw,
    108: _loopback,
    113: _cooked,
    228: _raw,
    229: _raw,
    276: _cooked2,
}

_Inside = tuple[str, str, int, bytes, int]
"""Source, target, IP identification, the TCP header and what follows, and the whole length of that."""


def _ipv4(packet: bytes, beyond: int) -> _Inside | None:
    """RFC 791. The length is the packet's own word: Ethernet pads short frames."""
    header = (packet[0] & 15) * 4
    total, ip_id, fragment, protocol = struct.unpack_from("!HHHxB", packet, 2)
    if protocol != _TCP or not 20 <= header <= len(packet) or fragment & 0x1FFF:  # only the first has a TCP header
        return None
    total = total or len(packet) + beyond  # 0: more than 65,535, put together by the network card's offload
    source, target = (socket.inet_ntop(socket.AF_INET, packet[at : at + 4]) for at in (12, 16))
    return source, target, ip_id, packet[header:total], total - header


def _ipv6(packet: bytes, beyond: int) -> _Inside | None:
    """RFC 8200, with its extension headers."""
    length, kind = struct.unpack_from("!HB", packet, 4)
    total = 40 + length if length else len(packet) + beyond  # 0: a jumbo packet
    if len(packet) < 40:
        return None
    source, target = (socket.inet_ntop(socket.AF_INET6, packet[at : at + 16]) for at in (8, 24))
    at = 40
    for _ in range(_MOST_HEADERS):
        if kind == _TCP:
            return source, target, 0, packet[at:total], total - at
        if kind == _FRAGMENT:
            if struct.unpack_from("!H", packet, at + 2)[0] & 0xFFF8:
                return None
            kind, at = packet[at], at + 8
        elif kind == _AUTHENTICATION:
            kind, at = packet[at], at + (packet[at + 1] + 2) * 4
        elif kind in (_HOP_BY_HOP, _ROUTING, _DESTINATION):
            kind, at = packet[at], at + (packet[at + 1] + 1) * 8
        else:
            return None
    return None


def _tcp(time: int, source: str, target: str, ip_id: int, data: bytes, length: int) -> Segment | None:
    """RFC 9293, 3.1."""
    from_port, to_port, seq, ack, offset, flags, window = struct.unpack_from("!HHIIBBH", data)
    header = (offset >> 4) * 4
    if header < 20 or length < header:
        return None
    # The checksum is left out: it may not have been filled in yet where the packet was seen first.
    mark = hash((ip_id, data[:16], data[18:header]))
    ends = (source, from_port), (target, to_port)
    return Segment(time, *ends, seq, ack, flags, window, length - header, mark, ip_id != 0)
