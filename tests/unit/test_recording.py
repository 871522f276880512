"""What the probe hears of segments, how a recording travels, and what is refused before anything is recorded."""

import json
import socket
import struct
from pathlib import Path
from typing import Any

import pytest

from forklab import recording
from forklab.errors import LabError, UsageError
from probe.segments import ACK, FIN, RST, SYN, Ends, segment, telling

CLIENT, SERVER = ("10.0.0.3", 5000), ("10.0.0.2", 9190)


def packet(
    source: tuple[str, int], target: tuple[str, int], flags: int, seq: int, ack: int, data: bytes = b""
) -> bytes:
    """An IPv4 packet with a TCP segment, options and all (RFC 791, RFC 9293)."""
    tcp = struct.pack("!HHIIBBHHH", source[1], target[1], seq, ack, 8 << 4, flags, 0, 0, 0) + b"\1" * 12 + data
    addresses = socket.inet_aton(source[0]) + socket.inet_aton(target[0])
    return struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp), 0, 0, 64, socket.IPPROTO_TCP, 0) + addresses + tcp


def test_a_segment_is_read() -> None:
    """Addresses, flags, numbers, and how much data it has, although only its head is at hand."""
    found = segment(packet(CLIENT, SERVER, FIN | ACK, 7, 9, b"x" * 500)[:128])
    assert found == {
        **{"source": "10.0.0.3:5000", "target": "10.0.0.2:9190"},
        **{"flags": FIN | ACK, "seq": 7, "ack": 9, "length": 500},
    }


def test_a_segment_of_ipv6_is_read() -> None:
    """The fixed header of 40 bytes (RFC 8200)."""
    tcp = struct.pack("!HHIIBBHHH", 5000, 9190, 1, 2, 5 << 4, SYN, 0, 0, 0)
    ends = socket.inet_pton(socket.AF_INET6, "fd00::3") + socket.inet_pton(socket.AF_INET6, "fd00::2")
    found = segment(struct.pack("!IHBB", 6 << 28, len(tcp), socket.IPPROTO_TCP, 64) + ends + tcp)
    assert found
    assert (found["source"], found["target"], found["length"]) == ("[fd00::3]:5000", "[fd00::2]:9190", 0)


@pytest.mark.parametrize("length", [0, 1, 19, 25, 33])
def test_what_is_no_segment_of_ours_is_nothing(length: int) -> None:
    """Cut packets and other ports."""
    assert segment(packet(CLIENT, SERVER, SYN, 1, 0)[:length]) is None
    assert segment(packet(CLIENT, ("10.0.0.2", 80), SYN, 1, 0)) is None


def test_only_telling_segments_are_kept() -> None:
    """Of a transfer of a thousand segments: handshake, FINs, and the ACKs that confirm them."""
    known: dict[tuple[str, str], Ends] = {}

    def kept(source: Any, target: Any, flags: int, seq: int, ack: int, data: bytes = b"") -> bool:
        found = segment(packet(source, target, flags, seq, ack, data))
        assert found
        return telling(found, known)

    assert kept(CLIENT, SERVER, SYN, 100, 0)
    assert kept(SERVER, CLIENT, SYN | ACK, 500, 101)
    assert kept(CLIENT, SERVER, ACK, 101, 501)
    assert not any(kept(CLIENT, SERVER, ACK, 101 + n, 501, data=b"x") for n in range(1000))
    assert kept(CLIENT, SERVER, FIN | ACK, 1101, 501)
    assert not kept(SERVER, CLIENT, ACK, 501, 1100)
    assert kept(SERVER, CLIENT, ACK, 501, 1102, data=b"y")
    assert not kept(SERVER, CLIENT, ACK, 502, 1102)
    assert kept(SERVER, CLIENT, RST, 502, 0)


def test_a_bundle_travels_whole() -> None:
    """Names and bytes; line ends in a file do not end it."""
    files = {"meta": b"{}", "server-0": b'7 1.0 close(3) = 0\n{"file": "no", "bytes": 3}\n', "first": b""}
    sent = b"".join(json.dumps({"file": n, "bytes": len(c)}).encode() + b"\n" + c for n, c in files.items())
    assert recording.unpack(sent) == files


@pytest.mark.parametrize(
    "sent", [b"", b"Traceback", b'{"file": "a", "bytes": 1}\nx', b'{"file": "meta", "bytes": 1}\n[']
)
def test_what_is_no_bundle_is_said(sent: bytes) -> None:
    """An image of another checkout, or a probe that broke."""
    with pytest.raises(LabError, match="lab build"):
        recording.unpack(sent)


def test_that_tracing_failed_is_said() -> None:
    """In strace's own words."""
    meta = json.dumps({"failed": "attach: ptrace(PTRACE_SEIZE, 7): Operation not permitted"}).encode()
    with pytest.raises(LabError, match="not permitted"):
        recording.unpack(json.dumps({"file": "meta", "bytes": len(meta)}).encode() + b"\n" + meta)


@pytest.mark.parametrize("text", ["0", "-1", "x", "nan", "1e9"])
def test_a_time_that_is_none_is_refused(text: str) -> None:
    """The message names the value."""
    with pytest.raises(UsageError, match=text):
        recording.seconds(text)


def test_a_file_that_cannot_be_is_refused(tmp_path: Path) -> None:
    """A folder, and a file in a folder that is not there."""
    for name in (tmp_path, tmp_path / "no" / "file"):
        with pytest.raises(UsageError, match=str(tmp_path)):
            recording.target(str(name))
    assert recording.target("") is None
