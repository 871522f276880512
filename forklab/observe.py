"""Reads the server from outside: runs the probe in its container and gives what it saw a type."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from docker.models.containers import Container

from forklab.errors import LabError
from forklab.stream import answer
from protocol.ports import SERVER_PORT

ZOMBIE = "Z"
ESTABLISHED = "ESTABLISHED"


@dataclass(frozen=True)
class Process:
    """One process of the server, as /proc/PID tells it; ``start`` in seconds since boot, ``cpu`` in seconds.

    None is what the look left out, what a zombie has no more, or what the kernel does not tell.
    """

    pid: int
    ppid: int
    state: str
    name: str
    command: str
    start: float
    threads: int
    rss_kib: int | None
    pss_kib: int | None = None
    cpu: float = 0.0
    waited: bool = False
    """It has waited for a child at least once."""
    wait_channel: str | None = None
    """The kernel function in which it sleeps."""
    pending: tuple[str, ...] | None = None
    blocked: tuple[str, ...] | None = None
    ignored: tuple[str, ...] | None = None
    caught: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Descriptor:
    """One open descriptor of a process, as /proc/PID/fd shows it."""

    pid: int
    fd: int
    kind: str
    target: str
    inode: int | None
    flags: tuple[str, ...] | None = None
    """Of open(2), first the access mode."""
    end: str | None = None
    """Of a pipe: read or write."""


@dataclass(frozen=True)
class Socket:
    """One TCP socket of the server's network namespace; ``holders`` are the PIDs with a descriptor for it."""

    inode: int
    family: int
    local: str
    remote: str
    state: str
    rx_queue: int
    tx_queue: int
    holders: tuple[int, ...]
    backlog: int | None = None
    """Of a listener: the connections in its accept queue."""
    backlog_limit: int | None = None
    """Of a listener: how many may wait there; None where the kernel does not tell."""

    @property
    def remote_address(self) -> str:
        """The peer's IP address without the port."""
        return self.remote.rpartition(":")[0]


@dataclass(frozen=True)
class Consistent:
    """How far a snapshot is one moment: what moved in the ``seconds`` it took (see probe/snapshot.py)."""

    whole: bool
    seconds: float
    began: tuple[int, ...]
    ended: tuple[int, ...]
    sockets: tuple[str, ...]
    """The ``remote`` of those that came, went or changed."""


@dataclass(frozen=True)
class Snapshot:
    """One look at the server; ``time`` in seconds of the kernel's CLOCK_MONOTONIC, ``server`` its main process."""

    time: float
    server: int | None
    processes: tuple[Process, ...]
    descriptors: tuple[Descriptor, ...]
    sockets: tuple[Socket, ...]
    source: str
    """Where the sockets are from: sock_diag or proc."""
    consistent: Consistent

    @classmethod
    def parse(cls, text: str) -> "Snapshot":
        """From the probe's JSON line.

        Raises:
            LabError: this is not what the probe of this checkout says.
        """
        try:
            seen = json.loads(text)
            return cls(
                time=float(seen["time"]),
                server=seen["server"],
                processes=tuple(Process(**_tuples(row)) for row in seen["processes"]),
                descriptors=tuple(Descriptor(**_tuples(row)) for row in seen["descriptors"]),
                sockets=tuple(Socket(**_tuples(row)) for row in seen["sockets"]),
                source=seen["source"],
                consistent=Consistent(**_tuples(seen["consistent"])),
            )
        except (ValueError, KeyError, TypeError):
            raise LabError(f"the probe answered {text.strip()[:80]!r}; build the images anew: ./lab build") from None

    def connections(self) -> list[Socket]:
        """The sockets of the server's port that are connections, in any state but LISTEN."""
        return [s for s in self.sockets if s.local.endswith(f":{SERVER_PORT}") and s.state != "LISTEN"]

    def established(self) -> list[Socket]:
        """The connections both ends of which are open. Those with inode 0 wait in the listener's accept queue."""
        return [s for s in self.connections() if s.state == ESTABLISHED]

    def connection(self, peer: str) -> Socket | None:
        """The server's end of the connection to ``peer``, an address and port; None when the kernel has none."""
        return next((socket for socket in self.connections() if socket.remote == peer), None)

    def zombies(self) -> list[Process]:
        """Ended, but nobody has waited for them."""
        return [process for process in self.processes if process.state == ZOMBIE]

    def served(self) -> list[Socket]:
        """The sockets of the server: on its port, or held by it. Others of the namespace are the engine's resolver."""
        return [s for s in self.sockets if s.holders or s.local.endswith(f":{SERVER_PORT}")]

    def process(self, pid: int) -> Process | None:
        """The process of that PID, None if it is not there."""
        return self._by_pid.get(pid)

    def holders(self, inode: int) -> list[Descriptor]:
        """The descriptors for a socket or pipe, in all processes."""
        return self._by_inode.get(inode, [])

    def is_parent(self, pid: int) -> bool:
        """Whether a process has a child, or has waited for one."""
        process = self.process(pid)
        return bool(process and process.waited) or pid in self._parents

    @cached_property
    def _by_pid(self) -> dict[int, Process]:
        return {process.pid: process for process in self.processes}

    @cached_property
    def _by_inode(self) -> dict[int, list[Descriptor]]:
        index: dict[int, list[Descriptor]] = {}
        for held in self.descriptors:
            if held.inode is not None:
                index.setdefault(held.inode, []).append(held)
        return index

    @cached_property
    def _parents(self) -> set[int]:
        return {process.ppid for process in self.processes}

    def tree(self) -> list[tuple[int, Process]]:
        """Each process with its depth, parents before children, in order of start."""
        ordered = sorted(self.processes, key=lambda process: (process.start, process.pid))
        children: dict[int, list[Process]] = {}
        for process in ordered:
            children.setdefault(process.ppid, []).append(process)
        roots = [process for process in ordered if process.ppid not in self._by_pid]
        return list(_descend(roots, children, 0))


def _descend(level: list[Process], children: dict[int, list[Process]], depth: int) -> Iterable[tuple[int, Process]]:
    for process in level:
        yield depth, process
        yield from _descend(children.get(process.pid, []), children, depth + 1)


def _tuples(row: Mapping[str, Any]) -> dict[str, Any]:
    """JSON has lists only; what does not change is a tuple."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in row.items()}


def snapshot(probe: Container, details: Iterable[str] | None = None) -> Snapshot:
    """One look through ``probe``, the probe's container.

    Args:
        probe: the container.
        details: what to read, of the probe's DETAILS (default: all but the memory, which is dear).

    Raises:
        LabError: the probe does not run, or fails.
    """
    code, said = _ask(probe, "snapshot", *([] if details is None else ["--details", *details]))
    if code:
        raise LabError(f"the probe failed: {_last_line(said)}; ./lab up mends it")
    return Snapshot.parse(said)


@dataclass(frozen=True)
class Timer:
    """What the kernel waits for on a TCP socket: ``kind`` retransmission, keepalive, window probe, none, or other."""

    kind: str
    seconds: float
    """Until it runs out."""
    retries: int
    """How often in a row it has run out without an answer."""


_TIMERS = {0: "none", 1: "retransmission", 2: "keepalive", 4: "window probe"}
_USER_HZ = 100
"""Ticks a second in which the kernel speaks to programs, on all processors that docker knows (time(7))."""


def timers(probe: Container) -> dict[int, Timer]:
    """The timer of each TCP socket of the server's network namespace, by inode: proc_pid_net(5), /proc/net/tcp.

    Raises:
        LabError: the probe does not run.
    """
    _, out, _ = answer(probe, ["cat", "/proc/net/tcp", "/proc/net/tcp6"])
    found = {}
    for words in map(str.split, out.decode().splitlines()):
        if words[0] != "sl":
            kind, _, left = words[5].partition(":")
            seconds = int(left, 16) / _USER_HZ
            found[int(words[9])] = Timer(_TIMERS.get(int(kind, 16), "other"), seconds, int(words[6], 16))
    return found


def sysctl(probe: Container, name: str) -> int:
    """A number of the kernel's that the server goes by, such as ``net.ipv4.tcp_retries2``.

    Raises:
        LabError: the probe does not run, or this kernel has no such number.
    """
    code, out, _ = answer(probe, ["cat", f"/proc/sys/{name.replace('.', '/')}"])
    if code:
        raise LabError(f"this kernel has no {name}")
    return int(out)


def wait_listening(probe: Container, seconds: float) -> bool:
    """Whether the server listens, after at most ``seconds``; returns as soon as it does.

    Raises:
        LabError: the probe does not run: it ends together with the server.
    """
    code, _ = _ask(probe, "wait-listening", "--port", str(SERVER_PORT), "--seconds", str(seconds))
    return code == 0


def _ask(probe: Container, *words: str) -> tuple[int | None, str]:
    code, out, err = answer(probe, ["python3", "-m", "probe", *words])
    return code, (out or err).decode(errors="replace")


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["it said nothing"])[-1]
