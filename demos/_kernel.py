"""Reads what the kernel says of a process, a signal and a socket: proc(5), tcp(7)."""

import fcntl
import socket
import struct
import termios
import time
from collections.abc import Callable
from pathlib import Path

from demos._show import NotSo

PATIENCE = 3.0
"""Seconds until something that should happen at once counts as not happening."""

TCP_STATES = ("", "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT1", "FIN_WAIT2", "TIME_WAIT", "CLOSE", "CLOSE_WAIT")


def until(true: Callable[[], bool], claim: str) -> None:
    """Poll until ``true()``; raise NotSo with ``claim`` when that never comes."""
    deadline = time.monotonic() + PATIENCE
    while not true():
        if time.monotonic() > deadline:
            raise NotSo(f"not so: {claim}")
        time.sleep(0.001)


def status(pid: int) -> dict[str, str]:
    """The fields of /proc/PID/status; none when there is no such process."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return {}
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def state(pid: int) -> str:
    """R, S, T, Z and so on; empty when there is no such process."""
    return status(pid).get("State", "")[:1]


def row(pid: int) -> str:
    """The fields that tell a zombie and its parent, as one line."""
    found = status(pid)
    if not found:
        return f"Pid: {pid}  is not in /proc any more"
    return f"Pid: {pid}  PPid: {found['PPid']}  State: {found['State']}"


def has_signal(pid: int, field: str, number: int) -> bool:
    """Whether a signal is in one of the masks SigBlk, SigIgn, SigCgt, or ShdPnd (pending for the process)."""
    return bool(int(status(pid).get(field, "0"), 16) >> (number - 1) & 1)


def tcp_state(connection: socket.socket) -> str:
    """The TCP state of this end, by its name: the first byte of struct tcp_info."""
    return TCP_STATES[connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]]


def unread(connection: socket.socket) -> int:
    """Bytes that arrived and were not read yet: SIOCINQ of tcp(7)."""
    return int(struct.unpack("i", fcntl.ioctl(connection, termios.FIONREAD, bytes(4)))[0])


def unsent(connection: socket.socket) -> int:
    """Bytes that were written and not yet confirmed by the other side's kernel: SIOCOUTQ of tcp(7)."""
    return int(struct.unpack("i", fcntl.ioctl(connection, termios.TIOCOUTQ, bytes(4)))[0])


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    """Both ends of a TCP connection over the loopback interface: the client's, the server's."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname(), timeout=PATIENCE)
        server, _ = listener.accept()
    server.settimeout(PATIENCE)
    return client, server
