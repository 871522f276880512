"""Asks the kernel for TCP sockets over netlink: sock_diag(7), linux/inet_diag.h, netlink(7)."""

import errno
import functools
import os
import socket
import struct
from collections.abc import Iterator
from typing import NamedTuple

# linux/netlink.h, linux/inet_diag.h: numbers of the kernel's stable interface, the same on every processor.
NETLINK_SOCK_DIAG = 4
TCPDIAG_GETSOCK = 18
"""The older of two questions: its answer has both families. SOCK_DIAG_BY_FAMILY would walk the kernel's table twice."""
NLM_F_REQUEST, NLM_F_DUMP = 0x1, 0x300
NLMSG_ERROR, NLMSG_DONE = 2, 3
ALL_STATES, LISTEN = 0xFFFF, 1 << 10
"""Masks of states: bits by the numbers of net/tcp_states.h."""

HEADER = struct.Struct("=IHHII")
REQUEST = struct.Struct("=52xII")
"""struct inet_diag_req: a mask of states before the last word; the socket's id is not looked at in a dump."""
MESSAGE = struct.Struct("=BBxx2s2s16s16s12xII4xI")
"""struct inet_diag_msg, but for ``idiag_expires``: family, state, ports, addresses, queues and inode.

Its fields are of fixed width and packed by nature, so no processor lays them out otherwise.
"""
COOKIE, EXPIRES, END = slice(44, 52), slice(52, 56), 72
"""Where in the whole message the kernel names the socket, and when a timer of it runs out; and where it ends."""
PORT = struct.Struct(">H")
BUFFER = 1 << 17


class Found(NamedTuple):
    """One socket, its family AF_INET or AF_INET6; the addresses are packed and padded to 16 bytes, the queues in bytes.

    For a listener the receive queue counts the connections in the backlog, and the send queue is its limit.
    """

    family: int
    state: int
    source: bytes
    source_port: int
    target: bytes
    target_port: int
    receive_queue: int
    send_queue: int
    inode: int


def dump(states: int = ALL_STATES) -> list[Found]:
    """Every TCP socket in this network namespace that is in one of these states.

    A connection that leaves one of the kernel's tables for another while it answers may come twice; the later row is
    the newer, and the only one given.

    Raises:
        OSError: the kernel cannot answer, for example because it has no sock_diag.
    """
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG) as link:
        link.settimeout(5)
        request = REQUEST.pack(states, 0)
        flags = NLM_F_REQUEST | NLM_F_DUMP
        link.send(HEADER.pack(HEADER.size + len(request), TCPDIAG_GETSOCK, flags, 1, 0) + request)
        found: dict[bytes, Found] = {}
        while True:
            answer = link.recv(BUFFER)
            for kind, payload in messages(answer):
                if kind == NLMSG_DONE:
                    return list(found.values())
                if kind == NLMSG_ERROR:
                    (number,) = struct.unpack_from("=i", payload)
                    raise OSError(-number, os.strerror(-number))
                found[payload[COOKIE]] = parse(payload)


def messages(answer: bytes) -> Iterator[tuple[int, bytes]]:
    """The kind and the payload of each message in what one recv(2) gave; each begins at a multiple of four bytes.

    Raises:
        OSError: the answer is cut short.
    """
    at = 0
    while at + HEADER.size <= len(answer):
        length, kind, _, _, _ = HEADER.unpack_from(answer, at)
        if not HEADER.size <= length <= len(answer) - at:
            raise OSError(errno.EBADMSG, "netlink message cut short")
        yield kind, answer[at + HEADER.size : at + length]
        at += length + 3 & ~3


def parse(payload: bytes) -> Found:
    """One struct inet_diag_msg.

    Raises:
        OSError: the message is too short to be one.
    """
    if len(payload) < END:
        raise OSError(errno.EBADMSG, "no struct inet_diag_msg")
    return _found(payload[: EXPIRES.start] + payload[EXPIRES.stop : END])


@functools.lru_cache(maxsize=16384)
def _found(message: bytes) -> Found:
    """Most sockets say the same at the next look, but for the time that is left to their keepalive timers."""
    family, state, source_port, target_port, source, target, rx, tx, inode = MESSAGE.unpack(message)
    (source_number,), (target_number,) = PORT.unpack(source_port), PORT.unpack(target_port)
    return Found(family, state, source, source_number, target, target_number, rx, tx, inode)
