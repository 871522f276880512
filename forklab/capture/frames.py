"""A capture file as its frames: classic pcap (draft-ietf-opsawg-pcap) and pcapng (draft-ietf-opsawg-pcapng).

Both byte orders, microseconds and nanoseconds. A file that ends in the middle, or is damaged, gives the frames up to
there and then says so.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from forklab.errors import UsageError

NANO = 1_000_000_000
MOST_FRAME = 262_144
"""Bytes: no tool captures more of one packet (MAXIMUM_SNAPLEN of libpcap)."""
MOST_BLOCK = 16 << 20
"""Bytes: a longer block is taken for damage."""

_CLASSIC = {0xA1B2C3D4: 1_000, 0xA1B23C4D: 1}
"""Magic number and how many nanoseconds its unit has."""

_PIECE = 1 << 16

SECTION, INTERFACE, OLD_PACKET, SIMPLE_PACKET, STATISTICS, PACKET = 0x0A0D0D0A, 1, 2, 3, 5, 6
BYTE_ORDER = 0x1A2B3C4D
END_OF_OPTIONS, COMMENT = 0, 1
SECTION_SYSTEM, SECTION_PROGRAM = 3, 4
IF_NAME, IF_RESOLUTION, IF_FILTER, IF_SYSTEM, IF_OFFSET = 2, 9, 11, 12, 14
ST_START, ST_END, ST_RECEIVED, ST_DROPPED = 2, 3, 4, 7
_MICROSECONDS = 10**6


class CaptureError(UsageError):
    """This file is no capture, or one that cannot be read."""


class Damage(Exception):
    """From here on the file makes no sense; the message says what was found."""


@dataclass(frozen=True)
class Frame:
    """One captured packet: nanoseconds since 1970, its link type, the bytes captured, and how many it had."""

    time: int
    link: int
    data: bytes
    length: int


@dataclass
class File:
    """What is known of a file beside its frames; ``cut`` says why there are no more, None if the file ends well."""

    kind: str = ""
    cut: str | None = None
    dropped: int | None = None
    """Packets that the kernel could not keep for the program that captured; None if the file does not tell."""


def frames(stream: BinaryIO, about: File) -> Iterator[Frame]:
    """Each frame of a capture, in the order of the file; ``about`` is filled in on the way.

    Raises:
        CaptureError: the file does not begin as a capture does.
    """
    magic = stream.read(4)
    if magic == struct.pack("<I", SECTION):
        about.kind, reader = "pcapng", _blocks(stream, about)
    elif _order(magic):
        about.kind, reader = "pcap", _records(stream, magic)
    else:
        raise CaptureError(_foreign(magic))
    try:
        yield from reader
    except Damage as damage:
        about.cut = str(damage)


def _foreign(magic: bytes) -> str:
    if not magic:
        return "is empty"
    if magic[:2] == b"\x1f\x8b":
        return "is compressed; gunzip it first"
    return f"is no capture: it begins with {magic.hex(' ')}, neither pcap nor pcapng"


def _take(stream: BinaryIO, count: int, what: str) -> bytes:
    data = stream.read(count)
    if len(data) < count:
        raise Damage(f"the file ends in the middle of {what}")
    return data


class Records:
    """The records of a classic pcap stream, which may come in pieces of any size."""

    def __init__(self) -> None:
        self.link: int | None = None
        """The link type of all packets; None until the header is there."""
        self.snap = 0
        """How many bytes of a packet are captured at most."""
        self.damage: str | None = None
        """Why nothing more can be read."""
        self._order, self._unit = "<", 1
        self._rest = b""
        self._number = 0

    def feed(self, piece: bytes) -> list[Frame]:
        """The packets that are whole now."""
        self._rest += piece
        found: list[Frame] = []
        at = 0
        if self.link is None:
            if len(self._rest) < 24:
                return found
            at = self._header(self._rest)
        while not self.damage and len(self._rest) >= at + 16:
            seconds, fraction, captured, length = struct.unpack_from(f"{self._order}IIII", self._rest, at)
            if captured > MOST_FRAME:
                self.damage = f"packet {self._number + 1} says that it has {captured} bytes"
                break
            if len(self._rest) < at + 16 + captured:
                break
            data = self._rest[at + 16 : at + 16 + captured]
            found.append(Frame(seconds * NANO + fraction * self._unit, self.link or 0, data, length))
            self._number += 1
            at += 16 + captured
        self._rest = self._rest[at:]
        return found

    def end(self) -> str | None:
        """What is wrong when nothing more comes; None if the last packet is whole."""
        what = "its header" if self.link is None else f"packet {self._number + 1}"
        return self.damage or (f"the file ends in the middle of {what}" if self._rest or self.link is None else None)

    def _header(self, data: bytes) -> int:
        self._order = _order(data[:4])
        magic, _, _, _, _, self.snap, network = struct.unpack_from(f"{self._order}IHHiIII", data)
        self._unit = _CLASSIC[magic]
        self.link = network & 0x0FFFFFFF  # above it: the length of a frame check sequence
        return 24


def _order(magic: bytes) -> str:
    """The byte order of a classic pcap file; empty if it is none."""
    return next((o for o in "<>" if len(magic) == 4 and struct.unpack(f"{o}I", magic)[0] in _CLASSIC), "")


def _records(stream: BinaryIO, magic: bytes) -> Iterator[Frame]:
    records, piece = Records(), magic
    while piece and not records.damage:
        yield from records.feed(piece)
        piece = stream.read(_PIECE)
    if damage := records.end():
        raise Damage(damage)


@dataclass(frozen=True)
class _Interface:
    """One interface of a pcapng section: how to read the packets it gave; ``ticks`` in a second."""

    link: int
    snap: int
    ticks: int
    offset: int

    def time(self, stamp: int) -> int:
        return stamp * NANO // self.ticks + self.offset * NANO


def _blocks(stream: BinaryIO, about: File) -> Iterator[Frame]:
    """The packets of a pcapng file, whose sections may differ in byte order."""
    order, kind, number, latest = "<", SECTION, 1, 0
    interfaces: list[_Interface] = []
    while True:
        what = f"block {number}"
        if kind == SECTION:
            length, mark = _take(stream, 4, what), _take(stream, 4, what)
            order = next((o for o in "<>" if struct.unpack(f"{o}I", mark)[0] == BYTE_ORDER), "")
            if not order:
                raise Damage(f"{what} has no byte order")
            interfaces, rest = [], _rest(stream, order, length, what, taken=12)
        else:
            rest = _rest(stream, order, _take(stream, 4, what), what, taken=8)
        if kind == INTERFACE:
            interfaces.append(_interface(order, rest, what))
        elif kind in (PACKET, OLD_PACKET, SIMPLE_PACKET):
            frame = _packet(kind, order, rest, interfaces, what, latest)
            latest = frame.time
            yield frame
        elif kind == STATISTICS:
            dropped = _options(order, rest[12:]).get(ST_DROPPED, b"")
            if len(dropped) == 8:
                about.dropped = (about.dropped or 0) + int(struct.unpack(f"{order}Q", dropped)[0])
        head = stream.read(4)
        if not head:
            return
        number += 1
        if len(head) < 4:
            raise Damage(f"the file ends in the middle of block {number}")
        (kind,) = struct.unpack(f"{order}I", head)


def _rest(stream: BinaryIO, order: str, length: bytes, what: str, *, taken: int) -> bytes:
    """The body of a block of which ``taken`` bytes were read, without the second length at its end."""
    (total,) = struct.unpack(f"{order}I", length)
    if total % 4 or not taken + 4 <= total <= MOST_BLOCK:
        raise Damage(f"{what} says that it has {total} bytes")
    body = _take(stream, total - taken, what)
    if body[-4:] != length:
        raise Damage(f"{what} has two lengths, {total} and {struct.unpack(f'{order}I', body[-4:])[0]}")
    return body[:-4]


def _interface(order: str, body: bytes, what: str) -> _Interface:
    if len(body) < 8:
        raise Damage(f"{what} is too short for an interface")
    link, _, snap = struct.unpack_from(f"{order}HHI", body)
    options = _options(order, body[8:])
    resolution, offset = options.get(IF_RESOLUTION, b""), options.get(IF_OFFSET, b"")
    ticks = _MICROSECONDS
    if len(resolution) == 1:
        ticks = 2 ** (resolution[0] & 0x7F) if resolution[0] & 0x80 else 10 ** resolution[0]
    return _Interface(link, snap, ticks, struct.unpack(f"{order}q", offset)[0] if len(offset) == 8 else 0)


def _options(order: str, data: bytes) -> dict[int, bytes]:
    """The options at the end of a block, by code; what cannot be read is left out."""
    found: dict[int, bytes] = {}
    at = 0
    while at + 4 <= len(data):
        code, length = struct.unpack_from(f"{order}HH", data, at)
        if code == END_OF_OPTIONS:
            break
        found.setdefault(code, data[at + 4 : at + 4 + length])
        at += 4 + length + -length % 4
    return found


def _packet(kind: int, order: str, body: bytes, interfaces: list[_Interface], what: str, latest: int) -> Frame:
    """A packet of one of three kinds of blocks; a simple one has no time, so it gets the latest."""
    try:
        if kind == SIMPLE_PACKET:
            number, head = 0, 4
            (length,) = struct.unpack_from(f"{order}I", body)
            snap = interfaces[0].snap if interfaces else 0
            captured, stamp = min(length, snap or length), None
        else:
            form = f"{order}IIIII" if kind == PACKET else f"{order}HxxIIII"
            number, high, low, captured, length = struct.unpack_from(form, body)
            head, stamp = 20, high << 32 | low
    except struct.error:
        raise Damage(f"{what} is too short for a packet") from None
    if number >= len(interfaces):
        raise Damage(f"{what} is of interface {number}, which the file does not describe")
    if captured > min(MOST_FRAME, len(body) - head):
        raise Damage(f"{what} says that it has a packet of {captured} bytes")
    time = latest if stamp is None else interfaces[number].time(stamp)
    return Frame(time, interfaces[number].link, body[head : head + captured], length)
