"""Makes packets and capture files by hand, from the layouts of the RFCs, to read them back."""

import socket
import struct
from collections.abc import Iterable

CLIENT, SERVER = ("10.0.0.3", 40000), ("10.0.0.2", 9190)
FLAGS = {"S": 2, "F": 1, "R": 4, "P": 8, "A": 16}
ETHERNET, RAW, COOKED, COOKED2, NULL, LOOP = 1, 101, 113, 276, 0, 108
Packet = tuple[int, bytes]
"""Nanoseconds since 1970, and what is on the wire."""


def tcp(
    source: tuple[str, int],
    target: tuple[str, int],
    flags: str,
    *,
    seq: int = 0,
    ack: int = 0,
    data: bytes = b"",
    window: int = 65535,
    ip_id: int = 0,
) -> bytes:
    """An IP packet, of version 6 where the address says so."""
    bits = sum(FLAGS[letter] for letter in flags)
    numbers = source[1], target[1], seq % 2**32, ack % 2**32
    segment = struct.pack("!HHIIBBHHH", *numbers, 5 << 4, bits, window, 0, 0) + data
    if ":" in source[0]:
        ends = (socket.inet_pton(socket.AF_INET6, address) for address in (source[0], target[0]))
        return struct.pack("!IHBB", 6 << 28, len(segment), 6, 64) + b"".join(ends) + segment
    ends = (socket.inet_aton(address) for address in (source[0], target[0]))
    return struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(segment), ip_id, 0, 64, 6, 0) + b"".join(ends) + segment


class Talk:
    """A conversation: each call is a packet, a millisecond after the one before."""

    def __init__(self, start: int = 1_700_000_000_000_000_000, client: int = 1000, server: int = 5000) -> None:
        self.time = start
        self.base = {CLIENT: client, SERVER: server}
        self.packets: list[Packet] = []

    def _say(self, me: tuple[str, int], peer: tuple[str, int], flags: str, seq: int, ack: int, **rest: object) -> None:
        after = int(str(rest.pop("after", 1_000_000)))
        self.time += after
        ids = {"ip_id": len(self.packets) + 1} | rest
        made = tcp(me, peer, flags, seq=self.base[me] + seq, ack=self.base[peer] + ack, **ids)  # type: ignore[arg-type]
        self.packets.append((self.time, made))

    def client(self, flags: str, seq: int, ack: int = 0, **rest: object) -> None:
        """The client sends; numbers count from its SYN."""
        self._say(CLIENT, SERVER, flags, seq, ack, **rest)

    def server(self, flags: str, seq: int, ack: int = 0, **rest: object) -> None:
        """The server sends."""
        self._say(SERVER, CLIENT, flags, seq, ack, **rest)

    def shake(self) -> "Talk":
        """The handshake."""
        self.client("S", 0)
        self.server("SA", 0, 1)
        self.client("A", 1, 1)
        return self


def framed(link: int, packet: bytes) -> bytes:
    """A packet below the header of a link layer."""
    six = packet[0] >> 4 == 6
    kind = 0x86DD if six else 0x0800
    family = 10 if six else 2
    return {
        ETHERNET: b"\2" * 12 + struct.pack("!H", kind),
        RAW: b"",
        COOKED: b"\0" * 14 + struct.pack("!H", kind),
        COOKED2: struct.pack("!H", kind) + b"\0" * 18,
        NULL: struct.pack("<I", family),
        LOOP: struct.pack(">I", family),
    }[link] + packet


def pcap(packets: Iterable[Packet], *, order: str = "<", nano: bool = False, link: int = RAW) -> bytes:
    """A classic capture file."""
    made = struct.pack(f"{order}IHHiIII", 0xA1B23C4D if nano else 0xA1B2C3D4, 2, 4, 0, 0, 65535, link)
    for time, packet in packets:
        data = framed(link, packet)
        fraction = time % 10**9 // (1 if nano else 1000)
        made += struct.pack(f"{order}IIII", time // 10**9, fraction, len(data), len(data)) + data
    return made


def block(order: str, kind: int, body: bytes) -> bytes:
    """A block of a pcapng file."""
    body += b"\0" * (-len(body) % 4)
    total = len(body) + 12
    return struct.pack(f"{order}II", kind, total) + body + struct.pack(f"{order}I", total)


def section(order: str, *, link: int = RAW, options: bytes = b"") -> bytes:
    """The beginning of a pcapng file or section, with one interface."""
    head = block(order, 0x0A0D0D0A, struct.pack(f"{order}IHHq", 0x1A2B3C4D, 1, 0, -1))
    return head + block(order, 1, struct.pack(f"{order}HHI", link, 0, 65535) + options)


def enhanced(order: str, stamp: int, data: bytes) -> bytes:
    """A packet of the first interface, at a time in the interface's own unit."""
    head = struct.pack(f"{order}IIIII", 0, stamp >> 32, stamp & 0xFFFFFFFF, len(data), len(data))
    return block(order, 6, head + data)
