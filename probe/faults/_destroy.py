"""Ends a TCP connection by SOCK_DESTROY of sock_diag(7), as ``ss -K`` does (CONFIG_INET_DIAG_DESTROY)."""

import errno
import os
import socket
import struct

# linux/sock_diag.h and linux/inet_diag.h: stable interfaces of the kernel.
NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY, SOCK_DESTROY = 4, 20, 21
REQUEST, ACK = 0x1, 0x4
NLMSG_ERROR, HEADER = 2, 16
ALL_STATES, LISTEN = 0xFFF, 10
NO_COOKIE = b"\xff" * 8
IDENTITY = slice(HEADER + 4, HEADER + 52)
"""In an answer, struct inet_diag_msg: both ends, the device and the cookie, which no other socket ever has."""


def available() -> bool:
    """Whether this kernel can; tried on a connection that cannot exist."""
    nowhere = struct.pack(">HH", 0, 0) + bytes(32) + struct.pack("=I", 0) + NO_COOKIE
    return _error(_ask(SOCK_DESTROY, socket.AF_INET, nowhere, ACK)) == errno.ENOENT


def destroy(local: str, remote: str) -> bool:
    """Destroy the socket of these two ends (``address:port``); False when there is none any more.

    Raises:
        OSError: the kernel refuses.
    """
    family, identity = _identity(local, remote)
    # Its cookie first: without one, the listener would be found, and destroyed, once the connection has gone.
    answer = _ask(SOCK_DIAG_BY_FAMILY, family, identity, 0)
    if _error(answer) or answer[HEADER + 1] == LISTEN:
        return False
    problem = _error(_ask(SOCK_DESTROY, family, answer[IDENTITY], ACK))
    if problem not in (0, errno.ENOENT):
        raise OSError(problem, os.strerror(problem))
    return not problem


def _ask(kind: int, family: int, identity: bytes, flags: int) -> bytes:
    """Send one request, struct inet_diag_req_v2; the first answer."""
    body = struct.pack("=BBBxI", family, socket.IPPROTO_TCP, 0, ALL_STATES) + identity
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG) as link:
        link.settimeout(2)
        link.send(struct.pack("=IHHII", HEADER + len(body), kind, REQUEST | flags, 1, 0) + body)
        return link.recv(65536)


def _error(answer: bytes) -> int:
    (kind,) = struct.unpack_from("=H", answer, 4)
    return -int(struct.unpack_from("=i", answer, HEADER)[0]) if kind == NLMSG_ERROR else 0


def _identity(local: str, remote: str) -> tuple[int, bytes]:
    family = socket.AF_INET6 if local.startswith("[") else socket.AF_INET
    (here, port), (there, other) = _pair(family, local), _pair(family, remote)
    ends = struct.pack(">HH", port, other) + here.ljust(16, b"\0") + there.ljust(16, b"\0")
    return family, ends + struct.pack("=I", 0) + NO_COOKIE


def _pair(family: int, end: str) -> tuple[bytes, int]:
    address, _, port = end.rpartition(":")
    return socket.inet_pton(family, address.strip("[]")), int(port)
