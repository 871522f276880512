"""Two peers that each send everything before they read block each other for ever.

Question: When do two polite peers block each other for ever?

Theory: send sleeps when the send buffer is full; that one empties only as the other side reads. If both send more than
the buffers on the way hold before either reads, both sleep in send for ever: no error, no timeout. Peers that send no
more than fits before they read the same amount never get there.

Source: send(2), tcp(7); UNP 6.5 and 16.2
"""

import os
import signal
import socket

from demos._kernel import row, state, tcp_pair, unread, unsent, until
from demos._show import Show

ALL = 256 * 1024
"""Bytes that each peer has to send, four times what the buffers hold: the mistaken unit."""

UNIT = 4096
"""The right unit: it fits into the buffers on the way, even if nobody reads."""

BUFFER = 16 * 1024


def main(show: Show) -> str:
    """Let two processes exchange the same bytes: all at once, then in units."""
    looks: list[list[object]] = []
    ends, peers = start(ALL)

    def stuck() -> bool:
        looks.append([*map(state, peers), *map(unread, ends), *map(unsent, ends)])
        return len(looks) > 50 and looks[-50:] == [looks[-1]] * 50 and looks[-1][:2] == ["S", "S"]

    until(stuck, "both sleep, and not a byte moves in fifty looks")
    for end, pid in zip(ends, peers, strict=True):
        show(f"{row(pid)}; it has not read {unread(end)} bytes, the other side has not taken {unsent(end)} bytes")
        show.expect(unread(end) > 0 and unsent(end) > 0, "in a deadlock there are bytes in the buffers of both ways")
    for pid in peers:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)

    _, peers = start(UNIT)
    codes: dict[int, int] = {}

    def both_ended() -> bool:
        for pid in peers:
            if pid not in codes and (ended := os.waitpid(pid, os.WNOHANG)) != (0, 0):
                codes[pid] = os.waitstatus_to_exitcode(ended[1])
        return len(codes) == 2

    until(both_ended, f"in units of {UNIT} bytes both come to their end")
    show(f"in units of {UNIT} bytes both have exchanged {ALL} bytes: exit codes {list(codes.values())}")
    show.measure(
        bytes_each=ALL, unread_bytes=looks[-1][2:4], unsent_bytes=looks[-1][4:], exit_codes=list(codes.values())
    )
    show.expect(list(codes.values()) == [0, 0], "both have sent and received everything")
    return "sending all before reading, both slept in send; in units both came to their end"


def start(unit: int) -> tuple[tuple[socket.socket, socket.socket], list[int]]:
    """Fork two connected peers; their sockets, of which we keep copies to look at, and their PIDs."""
    ends = tcp_pair()
    for end in ends:
        end.settimeout(None)
        # Limited, so that the deadlock comes soon. Buffers that grow by themselves only put it off.
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
    pids = []
    for end in ends:
        pid = os.fork()
        if pid == 0:
            exchange(end, unit)
        pids.append(pid)
    return ends, pids


def exchange(connection: socket.socket, unit: int) -> None:
    """Send ``unit`` bytes, then read as many, until all is exchanged."""
    for _ in range(ALL // unit):
        connection.sendall(bytes(unit))
        missing = unit
        while missing:
            missing -= len(connection.recv(missing))
    os._exit(0)
