"""The TCP sockets of the network namespace, from /proc/net/tcp and tcp6 (proc_pid_net(5))."""

import socket
import struct
from pathlib import Path
from typing import Any

TABLES = {4: Path("/proc/net/tcp"), 6: Path("/proc/net/tcp6")}

STATES = {
    1: "ESTABLISHED",
    2: "SYN_SENT",
    3: "SYN_RECV",
    4: "FIN_WAIT1",
    5: "FIN_WAIT2",
    6: "TIME_WAIT",
    7: "CLOSE",
    8: "CLOSE_WAIT",
    9: "LAST_ACK",
    10: "LISTEN",
    11: "CLOSING",
    12: "NEW_SYN_RECV",
}
"""net/tcp_states.h; the numbers are part of the kernel's interface to user space."""


def sockets() -> list[dict[str, Any]]:
    """Every TCP socket: inode, family, local, remote, state, rx_queue and tx_queue in bytes.

    Inode 0 is a connection that no process has a descriptor for: not accepted yet, or closed and still ending. For a
    listener, rx_queue counts the connections in its backlog.
    """
    return [row for family, table in TABLES.items() if table.exists() for row in _rows(family, table)]


def _rows(family: int, table: Path) -> list[dict[str, Any]]:
    rows = []
    for line in table.read_text().splitlines()[1:]:
        _, local, remote, state, queues, _, _, _, _, inode, *_ = line.split()
        tx_queue, rx_queue = (int(number, 16) for number in queues.split(":"))
        rows.append(
            {
                "inode": int(inode),
                "family": family,
                "local": endpoint(family, local),
                "remote": endpoint(family, remote),
                "state": STATES.get(int(state, 16), state),
                "rx_queue": rx_queue,
                "tx_queue": tx_queue,
            }
        )
    return rows


def endpoint(family: int, text: str) -> str:
    """``address:port`` of a field like ``0100007F:23E6``: 32-bit words as this processor would print them in hex."""
    words, port = text.split(":")
    packed = b"".join(struct.pack("=I", int(words[i : i + 8], 16)) for i in range(0, len(words), 8))
    if family == 6 and packed[:12] == b"\0" * 10 + b"\xff\xff":  # an IPv4 client on an IPv6 socket (RFC 4291)
        family, packed = 4, packed[12:]
    address = socket.inet_ntop(socket.AF_INET if family == 4 else socket.AF_INET6, packed)
    return f"{address}:{int(port, 16)}" if family == 4 else f"[{address}]:{int(port, 16)}"
