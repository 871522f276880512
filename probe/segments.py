"""Hears the TCP segments that open, confirm and end the server's connections, on a packet socket (packet(7)).

Only headers are read, and only those segments are kept from which the TCP state of both ends follows (RFC 9293, 3.3.2):
SYN, FIN and RST, also when sent again, the ACK that completes a handshake, and the one that confirms a FIN. So a bulk
transfer leaves a handful of lines.
"""

import json
import select
import signal
import socket
import struct
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from protocol.ports import SERVER_PORT

FIN, SYN, RST, ACK = 0x01, 0x02, 0x04, 0x10
ETH_P_ALL = 0x0003
SO_TIMESTAMPNS = 35
"""asm-generic/socket.h; where a processor numbers it differently we stamp the segment when we read it."""
_BUFFER = 8 << 20
_HEADERS = 128
_POLL_SECONDS = 0.2


def listen() -> socket.socket:
    """A packet socket for all devices of the namespace.

    Raises:
        OSError: no capability NET_RAW.
    """
    link = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
    link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
    link.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    return link


def record(link: socket.socket, file: Path, done: threading.Event) -> None:
    """Write a JSON line for each segment that matters, until ``done`` is set.

    Keys: real (CLOCK_REALTIME, ns, as strace prints it), source, target, flags (letters of SFRA), seq and ack.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})  # they are for the main thread
    connections: dict[tuple[str, str], Ends] = {}
    with link, file.open("w", buffering=1) as out:
        while True:
            ready, _, _ = select.select([link], [], [], _POLL_SECONDS)
            if not ready:
                if done.is_set():
                    return
                continue
            packet, control, _, address = link.recvmsg(_HEADERS, 64)
            device, _, packet_type = address[:3]
            found = segment(packet)
            # The loopback device shows each packet twice, once as outgoing; once is enough.
            if found is None or (device == "lo" and packet_type == socket.PACKET_OUTGOING):
                continue
            if telling(found, connections):
                row = {"real": _stamp(control), **found, "flags": _letters(found["flags"])}
                try:
                    out.write(json.dumps(row) + "\n")
                except OSError:  # no memory left for the recording, which says so at its end
                    return


def segment(packet: bytes) -> dict[str, Any] | None:
    """The TCP header of an IP packet from or to the server's port: source, target, flags, seq, ack, length.

    None for anything else, and for fragments and IPv6 extension headers, which carry none of ours.
    """
    try:
        version = packet[0] >> 4
        if version == 4:
            start = (packet[0] & 15) * 4
            (total,), protocol = struct.unpack_from("!H", packet, 2), packet[9]
            family, addresses = socket.AF_INET, (packet[12:16], packet[16:20])
        else:
            start, protocol = 40, packet[6]
            total = struct.unpack_from("!H", packet, 4)[0] + 40
            family, addresses = socket.AF_INET6, (packet[8:24], packet[24:40])
        if version not in (4, 6) or protocol != socket.IPPROTO_TCP:
            return None
        ports = struct.unpack_from("!HH", packet, start)
        if SERVER_PORT not in ports:
            return None
        seq, ack, offset, flags = struct.unpack_from("!IIBB", packet, start + 4)
        names = [socket.inet_ntop(family, raw) for raw in addresses]
        source, target = (
            f"{name}:{port}" if version == 4 else f"[{name}]:{port}" for name, port in zip(names, ports, strict=True)
        )
    except (IndexError, struct.error):
        return None
    return {
        "source": source,
        "target": target,
        "flags": flags,
        "seq": seq,
        "ack": ack,
        "length": max(0, total - start - (offset >> 4) * 4),
    }


@dataclass
class Ends:
    """What is known of a connection: is its handshake complete, and which FIN of each end waits to be confirmed."""

    open: bool = False
    waiting: dict[str, int] = field(default_factory=dict)


def telling(found: dict[str, Any], connections: dict[tuple[str, str], Ends]) -> bool:
    """Whether a TCP state changes with this segment; ``connections`` is what is known and is brought up to date."""
    key = (min(found["source"], found["target"]), max(found["source"], found["target"]))
    flags = found["flags"]
    if flags & SYN and not flags & ACK:
        connections[key] = Ends()
        return True
    known = connections.setdefault(key, Ends(open=True))
    confirmed = known.waiting.get(found["target"])
    told = bool(flags & (SYN | FIN | RST))
    if flags & FIN:
        known.waiting[found["source"]] = (found["seq"] + found["length"] + 1) & 0xFFFFFFFF
    if flags & ACK and confirmed is not None and found["ack"] == confirmed:
        del known.waiting[found["target"]]
        told = True
    if not known.open and flags & ACK and not flags & SYN:
        known.open = told = True
    if flags & RST:
        connections.pop(key, None)
    return told


def _letters(flags: int) -> str:
    return "".join(letter for letter, bit in {"S": SYN, "F": FIN, "R": RST, "A": ACK}.items() if flags & bit)


def _stamp(control: list[tuple[int, int, bytes]]) -> int:
    for level, kind, data in control:
        if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS and len(data) == struct.calcsize("@ll"):
            seconds, rest = struct.unpack("@ll", data)
            return int(seconds) * 1_000_000_000 + int(rest)
    return time.time_ns()
