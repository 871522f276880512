"""What this kernel can do, found out by trying each thing for real in the namespaces at hand."""

import ctypes
import errno
import os
import signal
import socket
import struct
from collections.abc import Callable
from typing import Any

# linux/netlink.h, linux/rtnetlink.h, linux/nfnetlink.h, linux/sock_diag.h: numbers of the kernel's stable interface.
NETLINK_ROUTE, NETLINK_SOCK_DIAG, NETLINK_NETFILTER = 0, 4, 12
NLMSG_ERROR = 2
REQUEST, ACK, CREATE, DUMP = 0x1, 0x4, 0x400, 0x300
RTM_NEWQDISC = 36
TCA_KIND = 1
TC_H_ROOT = 0xFFFFFFFF
NFT_GETGEN = 10 << 8 | 16
NFQUEUE_CONFIG = 3 << 8 | 2
SOCK_DIAG_BY_FAMILY = 20
PTRACE_SEIZE = 0x4206


def features() -> dict[str, Any]:
    """Key ``features``: for netem, tbf, nftables, nfqueue, sock_diag and ptrace, whether it works here.

    Run it in a network namespace that may be changed: the attempt at a queueing discipline could succeed.
    """
    return {"features": {name: works() for name, works in TRIES.items()}}


def has(name: str) -> bool:
    """Whether one of these features works here."""
    return TRIES[name]()


def _ask(protocol: int, kind: int, flags: int, payload: bytes) -> int:
    """Send one netlink message (netlink(7)); 0, or the errno of the answer."""
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol) as link:
            link.settimeout(2)
            link.send(struct.pack("=IHHII", 16 + len(payload), kind, flags, 1, 0) + payload)
            answer = link.recv(65536)
    except OSError as error:
        return error.errno or errno.EIO
    (answered,) = struct.unpack_from("=H", answer, 4)
    return -int(struct.unpack_from("=i", answer, 16)[0]) if answered == NLMSG_ERROR else 0


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + b"\0" * (-len(value) % 4)


def _has_qdisc(name: str) -> bool:
    """Add it to the loopback device without its options: ENOENT if the kernel has none, EINVAL if it wants them."""
    tcmsg = struct.pack("=BxxxiIII", 0, socket.if_nametoindex("lo"), 0, TC_H_ROOT, 0)
    payload = tcmsg + _attribute(TCA_KIND, name.encode() + b"\0")
    return _ask(NETLINK_ROUTE, RTM_NEWQDISC, REQUEST | ACK | CREATE, payload) in (0, errno.EINVAL)


def _has_nfqueue() -> bool:
    """Bind queue 0; closing the socket gives it back."""
    bind = struct.pack(">BxH", 1, 0)
    payload = struct.pack(">BBH", 0, 0, 0) + _attribute(1, bind)
    return _ask(NETLINK_NETFILTER, NFQUEUE_CONFIG, REQUEST | ACK, payload) in (0, errno.EBUSY)


def _has_sock_diag() -> bool:
    """Ask for the listening TCP sockets (sock_diag(7))."""
    request = struct.pack("=BBBxI", socket.AF_INET, socket.IPPROTO_TCP, 0, 1 << 10) + b"\0" * 48
    return _ask(NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY, REQUEST | DUMP, request) == 0


def _may_trace() -> bool:
    """Seize a child as strace does (ptrace(2))."""
    libc = ctypes.CDLL(None, use_errno=True)
    silent, _ = os.pipe()
    child = os.fork()
    if child == 0:
        os.read(silent, 1)  # sleeps until it is killed: nobody ever writes
    try:
        return bool(libc.ptrace(PTRACE_SEIZE, child, None, None) == 0)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


TRIES: dict[str, Callable[[], bool]] = {
    "netem": lambda: _has_qdisc("netem"),
    "tbf": lambda: _has_qdisc("tbf"),
    "nftables": lambda: _ask(NETLINK_NETFILTER, NFT_GETGEN, REQUEST, struct.pack("=BBH", 0, 0, 0)) == 0,
    "nfqueue": _has_nfqueue,
    "sock_diag": _has_sock_diag,
    "ptrace": _may_trace,
}
