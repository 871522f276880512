"""The blocks of the pcapng files that we write (draft-ietf-opsawg-pcapng): little-endian, times in nanoseconds."""

import struct

from forklab.capture import frames
from forklab.capture.frames import Frame

_NANOSECONDS = 9
"""if_tsresol: 10 to the power of minus this."""
_PACKET_FILTER = b"\0"
"""if_filter begins with what kind it is: 0 is a libpcap expression."""
_UNKNOWN_LENGTH = -1


def section(system: str, program: str, comment: str) -> bytes:
    """The Section Header Block: on which system, by which program, and a word for the reader."""
    body = struct.pack("<IHHq", frames.BYTE_ORDER, 1, 0, _UNKNOWN_LENGTH)
    told = {frames.SECTION_SYSTEM: system, frames.SECTION_PROGRAM: program, frames.COMMENT: comment}
    return _block(frames.SECTION, body, {code: text.encode() for code, text in told.items()})


def interface(link: int, snap: int, name: str, system: str, expression: str) -> bytes:
    """The Interface Description Block: link type, most bytes of a packet, name, kernel, filter if there is one."""
    options = {
        frames.IF_NAME: name.encode(),
        frames.IF_RESOLUTION: bytes([_NANOSECONDS]),
        frames.IF_SYSTEM: system.encode(),
    }
    if expression:
        options[frames.IF_FILTER] = _PACKET_FILTER + expression.encode()
    return _block(frames.INTERFACE, struct.pack("<HHI", link, 0, snap), options)


def packet(frame: Frame) -> bytes:
    """The Enhanced Packet Block of a frame of the first interface."""
    head = struct.pack("<IIIII", 0, frame.time >> 32, frame.time & 0xFFFFFFFF, len(frame.data), frame.length)
    return _block(frames.PACKET, head + frame.data + b"\0" * (-len(frame.data) % 4), {})


def statistics(start: int, end: int, received: int | None, dropped: int | None) -> bytes:
    """The Interface Statistics Block: from when to when in nanoseconds, packets received, and dropped by the kernel."""
    options = {frames.ST_START: _stamp(start), frames.ST_END: _stamp(end)}
    if received is not None:
        options[frames.ST_RECEIVED] = struct.pack("<Q", received)
    if dropped is not None:
        options[frames.ST_DROPPED] = struct.pack("<Q", dropped)
    return _block(frames.STATISTICS, struct.pack("<I", 0) + _stamp(end), options)


def _stamp(time: int) -> bytes:
    """The upper half of a time first, in any byte order."""
    return struct.pack("<II", time >> 32, time & 0xFFFFFFFF)


def _block(kind: int, body: bytes, options: dict[int, bytes]) -> bytes:
    for code, value in options.items():
        body += struct.pack("<HH", code, len(value)) + value + b"\0" * (-len(value) % 4)
    if options:
        body += struct.pack("<HH", frames.END_OF_OPTIONS, 0)
    total = 12 + len(body)
    return struct.pack("<II", kind, total) + body + struct.pack("<I", total)
