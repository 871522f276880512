"""Reads the server from outside: runs the probe in its container and gives what it saw a type."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from docker.errors import APIError
from docker.models.containers import Container

from forklab.errors import LabError
from protocol.ports import SERVER_PORT

ZOMBIE = "Z"
ESTABLISHED = "ESTABLISHED"


@dataclass(frozen=True)
class Process:
    """One process of the server, as /proc/PID/stat tells it; ``start`` in seconds since boot."""

    pid: int
    ppid: int
    state: str
    name: str
    command: str
    start: float
    threads: int
    rss_kib: int | None
    pss_kib: int | None


@dataclass(frozen=True)
class Descriptor:
    """One open descriptor of a process, as /proc/PID/fd shows it."""

    pid: int
    fd: int
    kind: str
    target: str
    inode: int | None


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

    @property
    def remote_address(self) -> str:
        """The peer's IP address without the port."""
        return self.remote.rpartition(":")[0]


@dataclass(frozen=True)
class Snapshot:
    """One look at the server; ``time`` in seconds of the kernel's CLOCK_MONOTONIC, ``server`` its main process."""

    time: float
    server: int | None
    processes: tuple[Process, ...]
    descriptors: tuple[Descriptor, ...]
    sockets: tuple[Socket, ...]

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
                processes=tuple(Process(**row) for row in seen["processes"]),
                descriptors=tuple(Descriptor(**row) for row in seen["descriptors"]),
                sockets=tuple(Socket(**{**row, "holders": tuple(row["holders"])}) for row in seen["sockets"]),
            )
        except (ValueError, KeyError, TypeError):
            raise LabError(f"the probe answered {text.strip()[:80]!r}; build the images anew: ./lab build") from None

    def connections(self) -> list[Socket]:
        """The sockets of the server's port that are connections, in any state but LISTEN."""
        return [s for s in self.sockets if s.local.endswith(f":{SERVER_PORT}") and s.state != "LISTEN"]

    def established(self) -> list[Socket]:
        """The connections both ends of which are open. Those with inode 0 wait in the listener's accept queue."""
        return [s for s in self.connections() if s.state == ESTABLISHED]

    def zombies(self) -> list[Process]:
        """Ended, but nobody has waited for them."""
        return [process for process in self.processes if process.state == ZOMBIE]

    def process(self, pid: int) -> Process | None:
        """The process of that PID, None if it is not there."""
        return next((process for process in self.processes if process.pid == pid), None)

    def holders(self, inode: int) -> list[Descriptor]:
        """The descriptors for a socket or pipe, in all processes."""
        return [d for d in self.descriptors if d.inode == inode and d.kind in ("socket", "pipe")]

    def tree(self) -> list[tuple[int, Process]]:
        """Each process with its depth, parents before children, in order of start."""
        known = {process.pid for process in self.processes}
        ordered = sorted(self.processes, key=lambda process: (process.start, process.pid))
        roots = [process for process in ordered if process.ppid not in known]
        return list(_descend(roots, ordered, 0))


def _descend(level: list[Process], everything: list[Process], depth: int) -> Iterable[tuple[int, Process]]:
    for process in level:
        yield depth, process
        yield from _descend([child for child in everything if child.ppid == process.pid], everything, depth + 1)


def snapshot(probe: Container) -> Snapshot:
    """One look through ``probe``, the probe's container.

    Raises:
        LabError: the probe does not run, or fails.
    """
    code, said = _ask(probe, "snapshot")
    if code:
        raise LabError(f"the probe failed: {_last_line(said)}; ./lab up mends it")
    return Snapshot.parse(said)


def wait_listening(probe: Container, seconds: float) -> bool:
    """Whether the server listens, after at most ``seconds``; returns as soon as it does.

    Raises:
        LabError: the probe does not run: it ends together with the server.
    """
    code, _ = _ask(probe, "wait-listening", "--port", str(SERVER_PORT), "--seconds", str(seconds))
    return code == 0


def _ask(probe: Container, *words: str) -> tuple[int | None, str]:
    try:
        answer: Any = probe.exec_run(["python3", "-m", "probe", *words], demux=True)
    except APIError:  # 409: it is not running
        raise LabError("the probe is not running; ./lab up mends it") from None
    out, err = answer.output
    return answer.exit_code, (out or err or b"").decode(errors="replace")


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["it said nothing"])[-1]
