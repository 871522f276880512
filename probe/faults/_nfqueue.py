"""Packets that pass through this process on their way out, by the kernel's NFQUEUE.

The rule stands in a table of our own and has the flag bypass: when the process that listens has gone, packets pass as
if there were no rule. At most ``LIMIT`` packets wait; when more come, those that come last are dropped, as a full
queue of a router or netem (tc-netem(8), limit) drops them.

Each fault has a hook priority and a queue number of its own, so faults stand behind each other: the kernel takes a
packet that one of them lets go to the next hook.
"""

import errno
import functools
import heapq
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from probe.faults._effect import Refused
from probe.faults._system import FAMILY, can, table, tool

if TYPE_CHECKING:
    Packet = Any
    """A packet of python3-netfilterqueue: its verdict is given once, by accept() or drop()."""

LIMIT = 10_000
SOCKET_BYTES = 16 << 20
"""For what the kernel has sent and we have not read yet; a message with a whole packet takes some 2 KiB."""

QUEUES = {
    fault: 9191 + place
    for place, fault in enumerate(("corrupt", "duplicate", "reorder", "jitter", "delay", "partition", "half-open"))
}
"""Queue numbers belong to a network namespace."""

MARK, LAST = 0xF0D0, 0xF0DF
"""The mark of a copy is ``MARK`` and the place of the fault that sends it: the rules of that fault and of those before
it let it pass, for it has been there. The faults behind take it as any other packet."""

# linux/netfilter/nfnetlink.h, nf_tables.h, nf_tables_compat.h and xt_NFQUEUE.h: stable interfaces of the kernel.
NETLINK_NETFILTER, NFPROTO_INET = 12, 1
BATCH_BEGIN, BATCH_END, SUBSYSTEM, NEWRULE = 0x10, 0x11, 10, 6
REQUEST, ACK, CREATE, APPEND, NESTED = 0x1, 0x4, 0x400, 0x800, 0x8000
RULE_TABLE, RULE_CHAIN, RULE_EXPRESSIONS, LIST_ELEM, EXPR_NAME, EXPR_DATA = 1, 2, 4, 1, 1, 2
TARGET_NAME, TARGET_REV, TARGET_INFO = 1, 2, 3
XT_BYPASS = 0x01
SO_SNDBUFFORCE = 32
"""asm-generic/socket.h; the same on x86-64 and arm64."""


@contextmanager
def leaving(fault: str) -> Iterator[str]:
    """Lead what leaves the target into the queue of ``fault``; the name of the table, which counts those packets.

    Raises:
        Refused: this kernel has no rule that leads there.
    """
    with table(fault, _chain(fault)) as name:
        _add_rule(name, QUEUES[fault], bypass=True)
        yield name


@contextmanager
def swallowing(fault: str, chains: str = "") -> Iterator[str]:
    """Let what leaves the target vanish without a word; ``chains`` may add to the table. As ``leaving`` otherwise.

    A rule that drops on the way out tells the sender (EPERM), and TCP then knows that the segment never left. A packet
    for a queue without bypass that nobody listens to is freed by the kernel and counts as sent (nf_queue() in
    net/netfilter/nf_queue.c).
    """
    _need()
    with table(fault, chains + _chain(fault)) as name:
        _add_rule(name, QUEUES[fault], bypass=False)
        yield name


def _need() -> None:
    if not can("nfqueue"):
        raise Refused("this kernel has no NFQUEUE, and the fault needs it")


def _chain(fault: str) -> str:
    # After mangle (-150), one behind the other.
    priority = -140 + QUEUES[fault] - min(QUEUES.values())
    return f"""chain leaving {{
        type filter hook output priority {priority};
        oifname "lo" accept
        meta mark {_mark(fault):#x}-{LAST:#x} accept
        counter
    }}
    """


def _mark(fault: str) -> int:
    return MARK + QUEUES[fault] - min(QUEUES.values())


def _add_rule(name: str, number: int, *, bypass: bool) -> None:
    """Lead all that comes to the end of the chain into a queue: by nft's own rule, else by the target of iptables."""
    flags = "flags bypass " if bypass else ""
    try:
        tool("nft", "-f", "-", script=f"add rule {FAMILY} {name} leaving queue {flags}to {number}\n")
    except Refused:  # a kernel without nft_queue
        problem = _add_target(name, number, bypass)
        if problem:
            what = errno.errorcode.get(problem, problem)
            raise Refused(f"this kernel has no rule that queues packets ({what})") from None


def _add_target(name: str, number: int, bypass: bool) -> int:
    """Append a rule whose one expression is the xtables target NFQUEUE, as iptables-nft does; 0 or an errno.

    nft(8) itself shows such a rule but has no word to add it, and iptables-nft has no tables of our own.
    """
    info = struct.pack("=HHH", number, 1, XT_BYPASS if bypass else 0)  # struct xt_NFQ_info_v3
    target = (
        _attribute(TARGET_NAME, b"NFQUEUE\0")
        + _attribute(TARGET_REV, struct.pack(">I", 3))
        + _attribute(TARGET_INFO, info)
    )
    expression = _attribute(EXPR_NAME, b"target\0") + _attribute(EXPR_DATA | NESTED, target)
    rule = (
        _attribute(RULE_TABLE, name.encode() + b"\0")
        + _attribute(RULE_CHAIN, b"leaving\0")
        + _attribute(RULE_EXPRESSIONS | NESTED, _attribute(LIST_ELEM | NESTED, expression))
    )
    batch = (
        _message(BATCH_BEGIN, REQUEST, 0, SUBSYSTEM)
        + _message(SUBSYSTEM << 8 | NEWRULE, REQUEST | ACK | CREATE | APPEND, NFPROTO_INET, 0, rule)
        + _message(BATCH_END, REQUEST, 0, SUBSYSTEM)
    )
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as link:
        link.settimeout(5)
        link.send(batch)
        answer = link.recv(65536)
    return -int(struct.unpack_from("=i", answer, 16)[0])


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + b"\0" * (-len(value) % 4)


def _message(kind: int, flags: int, family: int, resource: int, body: bytes = b"") -> bytes:
    """A netlink message with the header of nfnetlink behind it."""
    header = struct.pack("=IHHII", 20 + len(body), kind, flags, 1, 0)
    return header + struct.pack(">BBH", family, 0, resource) + body


class Queue:
    """The end of a queue in this process: each packet is given to ``take``."""

    def __init__(self, fault: str, take: "Callable[[Packet], None]", *, whole: bool = False) -> None:
        """Bind it; with ``whole`` packets come with their bytes, which costs more.

        Raises:
            Refused: this kernel has no NFQUEUE, somebody else listens to this queue, or
                python3-netfilterqueue is missing.
        """
        _need()
        try:
            import netfilterqueue  # a package of Debian, in the probe's image alone
        except ImportError:
            raise Refused("python3-netfilterqueue is missing: build the probe's image anew with ./lab build") from None
        self._queue = netfilterqueue.NetfilterQueue()
        mode, size = (netfilterqueue.COPY_PACKET, 65535) if whole else (netfilterqueue.COPY_META, 0)
        try:
            self._queue.bind(QUEUES[fault], take, LIMIT, mode, size, SOCKET_BYTES)
        except OSError:
            raise Refused(f"somebody else listens to NFQUEUE number {QUEUES[fault]} of this target") from None
        self.fd: int = self._queue.get_fd()

    def read(self) -> None:
        """Take all packets that are there."""
        try:
            self._queue.run(block=False)
        except OSError as error:
            if error.errno != errno.ENOBUFS:  # more came than fits into the socket: the kernel has dropped some
                raise

    def close(self) -> None:
        """Give the queue up; the kernel drops what has no verdict yet."""
        self._queue.unbind()


class Copies:
    """Sends copies of packets in the name of a fault, by a raw socket (raw(7))."""

    def __init__(self, fault: str) -> None:
        self._raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        self._raw.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, _mark(fault))
        self._raw.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, SOCKET_BYTES)
        self._raw.setblocking(False)

    def send(self, packet: bytes) -> int:
        """Send an IPv4 packet as it is; how many went out, 0 or 1."""
        try:
            self._raw.sendto(packet, (socket.inet_ntoa(packet[16:20]), 0))
        except OSError:  # no room in the queue of the device
            return 0
        return 1

    def close(self) -> None:
        """Close the socket."""
        self._raw.close()


def is_ipv4(packet: bytes) -> bool:
    """Whether a copy of it can be sent."""
    return packet[0] >> 4 == 4


class Line:
    """A line on which packets are under way for a time: ``when(now)`` says until when, in CLOCK_MONOTONIC.

    Packets leave in the order of those times, and those of one time in the order they came.

    It is a copy that leaves, and the packet itself is dropped when it comes. While the kernel has a segment of a
    connection in a queue on its way out, TCP sends hardly another one (TCP small queues, tcp_small_queue_check()): a
    line of packets would carry two of them at a time. netem gets around that by skb_orphan_partial(). What is not IPv4
    waits itself.
    """

    def __init__(self, fault: str, when: Callable[[float], float]) -> None:
        self._when = when
        self._heap: list[tuple[float, int, Callable[[], object]]] = []
        self.passed = self.most = 0
        self.queue = Queue(fault, self._take, whole=True)
        self._copies = Copies(fault)

    def _take(self, packet: "Packet") -> None:
        now, content = time.monotonic(), packet.get_payload()
        if is_ipv4(content):
            packet.drop()
            go: Callable[[], object] = functools.partial(self._copies.send, content)
        else:
            go = packet.accept
        if len(self._heap) < LIMIT:
            heapq.heappush(self._heap, (self._when(now), self.passed + len(self._heap), go))
        self.most = max(self.most, len(self._heap))
        self._release(now)  # under load packets come without a pause; those whose time has come shall not wait for one

    def _release(self, now: float) -> None:
        while self._heap and self._heap[0][0] <= now:
            heapq.heappop(self._heap)[2]()
            self.passed += 1

    def work(self) -> float | None:
        """Let go what has been under way long enough; when the next one has."""
        self._release(time.monotonic())
        return self._heap[0][0] if self._heap else None

    def evidence(self) -> dict[str, Any]:
        """How many packets have passed, and how many were under way at once at most."""
        return {"packets": self.passed, "most_under_way": self.most}

    def close(self) -> None:
        """Let all go that are still under way."""
        self.queue.read()
        self._release(float("inf"))
        self.queue.close()
        self._copies.close()


@contextmanager
def line(fault: str, when: Callable[[float], float]) -> Iterator[Line]:
    """Keep what leaves the target under way for a time.

    Raises:
        Refused: this kernel has no NFQUEUE.
    """
    made = Line(fault, when)
    try:
        with leaving(fault):
            yield made
    finally:
        made.close()


@contextmanager
def handled(fault: str, take: "Callable[[Packet], None]") -> Iterator[Queue]:
    """Give each packet that leaves the target to ``take``, with its bytes.

    Raises:
        Refused: this kernel has no NFQUEUE.
    """
    queue = Queue(fault, take, whole=True)
    try:
        with leaving(fault):
            yield queue
        queue.read()
    finally:
        queue.close()
