"""Resets a TCP connection from outside, knowing its two ends only (RFC 9293, RFC 5961)."""

import random
import select
import socket
import struct
import time

SYN, RST, ACK = 0x02, 0x04, 0x10
TRIES, PATIENCE = 5, 0.6
"""The kernel answers at most one wrong segment of a connection in half a second (tcp_invalid_ratelimit)."""


def both_ends(local: str, remote: str) -> bool:
    """Reset the connection of these two ends at both; False when neither of them answered, or it is not IPv4.

    The remote end first: after its RST the local one must not have answered yet.
    """
    if local.startswith("[") or remote.startswith("["):
        return False
    here, there = _pair(local), _pair(remote)
    return any([_end(here, there), _end(there, here)])


def _end(source: tuple[str, int], target: tuple[str, int]) -> bool:
    """Reset the end ``target`` in the name of ``source``."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as sending,
        socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0003)) as hearing,
    ):
        for _ in range(TRIES):
            sending.sendto(_segment(source, target, random.getrandbits(32), SYN), (target[0], 0))
            expected = _challenge(hearing, target, source)
            if expected is not None:
                sending.sendto(_segment(source, target, expected, RST), (target[0], 0))
                return True
    return False


def _challenge(hearing: socket.socket, source: tuple[str, int], target: tuple[str, int]) -> int | None:
    """The acknowledgement number of the next segment from ``source`` to ``target``; None if none comes in time."""
    deadline = time.monotonic() + PATIENCE
    while select.select([hearing], [], [], max(0.0, deadline - time.monotonic()))[0]:
        packet = hearing.recv(65535)
        if len(packet) < 40 or packet[0] >> 4 != 4 or packet[9] != socket.IPPROTO_TCP:
            continue
        header = (packet[0] & 15) * 4
        ports = struct.unpack_from(">HH", packet, header)
        ends = (socket.inet_ntoa(packet[12:16]), ports[0]), (socket.inet_ntoa(packet[16:20]), ports[1])
        if ends == (source, target) and packet[header + 13] & ACK:
            return int(struct.unpack_from(">I", packet, header + 8)[0])
    return None


def _segment(source: tuple[str, int], target: tuple[str, int], sequence: int, flags: int) -> bytes:
    """An IPv4 packet with a TCP header and nothing else. The kernel fills in the IP header's checksum (raw(7))."""
    ends = socket.inet_aton(source[0]) + socket.inet_aton(target[0])
    tcp = struct.pack(">HHIIBBHHH", source[1], target[1], sequence, 0, 5 << 4, flags, 0, 0, 0)
    checksum = _checksum(ends + struct.pack(">BBH", 0, socket.IPPROTO_TCP, len(tcp)) + tcp)
    tcp = tcp[:16] + struct.pack(">H", checksum) + tcp[18:]
    return struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(tcp), 0, 0, 64, socket.IPPROTO_TCP, 0) + ends + tcp


def _checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _pair(end: str) -> tuple[str, int]:
    address, _, port = end.rpartition(":")
    return address, int(port)
