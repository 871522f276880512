"""The TCP sockets of the network namespace: from sock_diag(7), or from /proc/net/tcp and tcp6 (proc_pid_net(5))."""

import functools
import socket
import struct
from pathlib import Path
from typing import Any

from probe import diag

TABLES = {4: Path("/proc/net/tcp"), 6: Path("/proc/net/tcp6")}
FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
VERSIONS = {int(number): version for version, number in FAMILIES.items()}
ADDRESS_BYTES = {4: 4, 6: 16}
MAPPED = b"\0" * 10 + b"\xff\xff"
"""Before an IPv4 address, on an IPv6 socket that serves both (RFC 4291, 2.5.5.2)."""

LISTEN = "LISTEN"
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
    10: LISTEN,
    11: "CLOSING",
    12: "NEW_SYN_RECV",
}
"""net/tcp_states.h; the numbers are part of the kernel's interface to user space."""


def sockets() -> list[dict[str, Any]]:
    """Every TCP socket: inode, family, local, remote, state, rx_queue and tx_queue in bytes.

    Inode 0 is a connection that no process has a descriptor for: not accepted yet, or closed and still ending. A
    listener has two keys more: ``backlog``, the connections that wait in its accept queue (rx_queue is the same
    number), and ``backlog_limit``, how many may; None where only /proc answers, which does not tell it.
    """
    return table()[1]


def listeners() -> list[dict[str, Any]]:
    """Those of :func:`sockets` that listen; the kernel has them apart, and walks no table of connections for them."""
    return [row for row in table(diag.LISTEN)[1] if row["state"] == LISTEN]


def table(states: int = diag.ALL_STATES) -> tuple[str, list[dict[str, Any]]]:
    """Where the sockets are from, ``sock_diag`` or ``proc``, and the sockets: at least those in ``states``, a mask.

    sock_diag is asked first: it answers faster, and it alone knows the limit of a backlog. A kernel without it
    (CONFIG_INET_DIAG) refuses.
    """
    try:
        return "sock_diag", from_diag(states)
    except OSError:
        return "proc", from_proc()


def from_diag(states: int = diag.ALL_STATES) -> list[dict[str, Any]]:
    """The sockets as the kernel answers over netlink, those of IPv4 first, as /proc has them.

    Raises:
        OSError: the kernel has no sock_diag for TCP.
    """
    return [dict(_row(found)) for found in sorted(diag.dump(states), key=lambda found: VERSIONS[found.family])]


@functools.lru_cache(maxsize=16384)
def _row(found: diag.Found) -> dict[str, Any]:
    family = VERSIONS[found.family]
    state = STATES.get(found.state, str(found.state))
    listens = state == LISTEN
    row = {
        "inode": found.inode,
        "family": family,
        "local": name(family, found.source, found.source_port),
        "remote": name(family, found.target, found.target_port),
        "state": state,
        "rx_queue": found.receive_queue,
        # For a listener the field holds the limit of the backlog instead (inet_diag.h).
        "tx_queue": 0 if listens else found.send_queue,
    }
    return row | {"backlog": found.receive_queue, "backlog_limit": found.send_queue} if listens else row


def from_proc() -> list[dict[str, Any]]:
    """The sockets as /proc/net/tcp and tcp6 list them; tcp6 is missing where there is no IPv6."""
    return [row for family, file in TABLES.items() if file.exists() for row in parse_table(family, file.read_text())]


def parse_table(family: int, text: str) -> list[dict[str, Any]]:
    """The rows below the heading of /proc/net/tcp (``family`` 4) or tcp6 (6)."""
    rows = []
    for line in text.splitlines()[1:]:
        _, local, remote, state, queues, _, _, _, _, inode, *_ = line.split()
        tx_queue, rx_queue = (int(number, 16) for number in queues.split(":"))
        row = {
            "inode": int(inode),
            "family": family,
            "local": endpoint(family, local),
            "remote": endpoint(family, remote),
            "state": STATES.get(int(state, 16), state),
            "rx_queue": rx_queue,
            "tx_queue": tx_queue,
        }
        if row["state"] == LISTEN:
            row |= {"backlog": rx_queue, "backlog_limit": None}
        rows.append(row)
    return rows


@functools.lru_cache(maxsize=65536)
def endpoint(family: int, text: str) -> str:
    """``address:port`` of a field like ``0100007F:23E6``: 32-bit words as this processor would print them in hex."""
    words, port = text.split(":")
    packed = b"".join(struct.pack("=I", int(words[i : i + 8], 16)) for i in range(0, len(words), 8))
    return name(family, packed, int(port, 16))


@functools.lru_cache(maxsize=65536)
def name(family: int, packed: bytes, port: int) -> str:
    """``address:port`` as people write it; bytes that follow the address are ignored."""
    packed = packed[: ADDRESS_BYTES[family]]
    if packed.startswith(MAPPED):
        family, packed = 4, packed[len(MAPPED) :]
    address = socket.inet_ntop(FAMILIES[family], packed)
    return f"{address}:{port}" if family == 4 else f"[{address}]:{port}"
