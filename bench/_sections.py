"""What is measured: each section is one function that takes one sample of one entrant."""

import itertools
import json
import os
import resource
import subprocess
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench._entrants import DATA, PYTHON, entrants
from bench._load import Programs
from bench._processes import START_SECONDS, Failed, Running, listens, pss, running, session, until

LIMITS = 0.9
"""From this share of a processor on, the load generator and not the server is the limit."""

OPENING_SECONDS = 30.0
"""How long connections that are to be held may take to open. So many seconds, and what is not open then is missing."""
SOME = 100
"""Descriptors that a program has besides its connections, at most."""

PAUSE = 2000
"""Microseconds between two clients of a server that is to be found at rest."""

OURS = ("iterative", "fork", "fork-spare", "fork-log", "prefork", "thread", "select", "poll", "epoll")
C = ("c-fork", "c-prefork", "c-epoll")
OTHERS = ("forking-tcpserver", "threading-tcpserver", "asyncio", "uvloop", "socat", "tcpserver", "ncat")
ALL = OURS + C + OTHERS
MANY = tuple(entrant for entrant in ALL if entrant not in ("iterative", "prefork", "c-prefork", "select", "fork-log"))
"""Those that serve a thousand clients at once. ``select`` ends at descriptor 1023; its log cannot change the rest."""

FSYNC = ("fsync-never", "fsync-0.1", "fsync-always")
FORKS = ("fork", "c-fork", "forking-tcpserver", "tcpserver", "socat")
"""Those that the goals for the model fork name."""


@dataclass(frozen=True)
class Sample:
    """One measurement: the headline, more figures, errors by kind, the load generator's share of a processor."""

    value: float
    details: dict[str, Any] = field(default_factory=dict)
    errors: dict[str, int] = field(default_factory=dict)
    cpu: float | None = None


class Bench:
    """What a section needs: the programs, a folder that may be written to, ports nobody uses, and how thorough to be.

    Args:
        programs: the folder of what ``bench/compile`` made.
        folder: a folder for logs, in memory if possible.
        quick: short samples.
        first_port: entrants get this port and the following.
    """

    def __init__(self, programs: Path, folder: Path, *, quick: bool, first_port: int = 20000) -> None:
        self.programs, self.folder, self.quick = Programs(programs), folder, quick
        self.entrants = entrants(programs)
        # Each sample has a port of its own: connections of an entrant before, in TIME_WAIT, are none of its business.
        # Below net.ipv4.ip_local_port_range, or a client might have it.
        self._ports = itertools.cycle(range(first_port, first_port + 10000))

    def port(self) -> int:
        """A port that nobody listens on."""
        return next(self._ports)

    def take(self, section: "Section", entrant: str, warmup: bool) -> Sample:
        """Take one sample, with an entrant that was just started and is gone afterwards.

        Raises:
            Failed: it could not be taken.
        """
        if section.needs and not os.access(section.needs, os.W_OK):
            raise Failed(f"{section.needs} cannot be written to")
        with running(self.entrants[entrant], self.port(), self.folder / f"{entrant}.log") as server:
            greeted = self._greet(server) if section.greets else {}
            sample = section.measure(self, server, entrant, warmup)
            if "timeout" not in sample.errors:  # else somebody is stuck, and no waiting helps
                server.come_to_rest()
        errors = Counter(greeted) + Counter(sample.errors) + Counter(server.errors)
        return Sample(sample.value, sample.details, dict(errors), sample.cpu)

    def _greet(self, server: Running) -> dict[str, int]:
        """A few clients before it counts, for first times are slow, in the kernel and in the entrant; their errors."""
        return self.programs.load("churn", server.port, concurrency=8, count=24).errors

    def headroom(self) -> dict[str, float]:
        """What the load generator reaches against the leanest of all servers: nobody is seen to be faster than that."""
        with running(self.entrants["c-epoll"], self.port(), self.folder / "c-epoll.log") as server:
            loaded = self.programs.load("churn", server.port, 0.3, concurrency=64)
        return {"connections_per_second": loaded.rate, "load_cpu": loaded.cpu}

    def seconds(self, quick: float, full: float, warmup: bool) -> float:
        """How long to measure."""
        return 0.2 if warmup else quick if self.quick else full


@dataclass(frozen=True)
class Section:
    """A section of the bench.

    ``entrants`` take part in a full run, ``goals`` in a quick one. ``rounds`` are those of a quick and of a full run,
    without the one to warm up, if there is ``warmup``. ``costs`` are the seconds of one sample, about: quick and full.
    ``needs`` is a folder that it must be able to write to. With ``greets`` a few clients come before it counts.
    """

    id: str
    unit: str
    better: str
    measure: Callable[[Bench, Running, str, bool], Sample]
    entrants: tuple[str, ...]
    goals: tuple[str, ...]
    rounds: tuple[int, int]
    costs: tuple[float, float]
    warmup: bool = True
    needs: Path | None = None
    greets: bool = True


def _churn(concurrency: int) -> Callable[[Bench, Running, str, bool], Sample]:
    def measure(bench: Bench, server: Running, entrant: str, warmup: bool) -> Sample:
        loaded = bench.programs.load("churn", server.port, bench.seconds(0.4, 0.8, warmup), concurrency=concurrency)
        return Sample(loaded.rate, {**loaded.latencies, "connections": loaded.done}, loaded.errors, loaded.cpu)

    return measure


def _paced(bench: Bench, server: Running, entrant: str, warmup: bool) -> Sample:
    """What one client finds whose predecessor has long gone: a server at rest. The rate is that of the pauses."""
    loaded = bench.programs.load("churn", server.port, bench.seconds(0.4, 0.8, warmup), pause=PAUSE)
    return Sample(
        loaded.latencies["p50_us"], {**loaded.latencies, "connections": loaded.done}, loaded.errors, loaded.cpu
    )


def _bulk(concurrency: int) -> Callable[[Bench, Running, str, bool], Sample]:
    def measure(bench: Bench, server: Running, entrant: str, warmup: bool) -> Sample:
        loaded = bench.programs.load("bulk", server.port, bench.seconds(0.4, 0.8, warmup), concurrency=concurrency)
        size = int(loaded.facts["bytes"])
        return Sample(size / 1e6 / loaded.seconds, {"bytes": size}, loaded.errors, loaded.cpu)

    return measure


def _memory(bench: Bench, server: Running, entrant: str, warmup: bool) -> Sample:
    """Children are all processes but the main one; a server without any is looked at as a whole."""
    count = 1000
    with bench.programs.holding(server.port, count, OPENING_SECONDS) as holding:
        processes = session(server.pid)
        sizes = {pid: pss(pid) for pid in processes}
        released = holding.release()
    total = sum(sizes.values())
    children = total - sizes.get(server.pid, 0)
    number = len(processes) - 1
    details = {"total": total, "main": sizes.get(server.pid, 0), "processes": len(processes), "held": released.done,
               "child": children / number if number else 0}  # fmt: skip
    return Sample((children if number else total) / count, details, released.errors)


def _hold(bench: Bench, server: Running, entrant: str, warmup: bool) -> Sample:
    count = 15000 if "epoll" in entrant else 10000
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < count + SOME:
        raise Failed(f"{count} connections need a higher limit on descriptors: --ulimit nofile={count + SOME}")
    with bench.programs.holding(server.port, count, OPENING_SECONDS) as holding:
        opened = holding.opened
        released = holding.release()
    details = {"asked": count, "answered": opened.done, "answered_again": released.done,
               "open_seconds": opened.seconds, "again_seconds": released.seconds}  # fmt: skip
    return Sample(min(opened.done, released.done), details, released.errors)


def _burst(bench: Bench, server: Running, entrant: str, warmup: bool) -> Sample:
    loaded = bench.programs.load("burst", server.port, count=1000)
    return Sample(loaded.facts["max_us"] / 1000, {**loaded.latencies, "answered": loaded.done}, loaded.errors)


def _unp(bench: Bench, server: Running, entrant: str, warmup: bool) -> Sample:
    count = 500 if warmup else 5000
    loaded = bench.programs.load("churn", server.port, concurrency=10, count=count, bytes=4000)
    return Sample(loaded.seconds, {**loaded.latencies, "answered": loaded.done}, loaded.errors, loaded.cpu)


def _faults(bench: Bench, server: Running, entrant: str, warmup: bool) -> Sample:
    """Of all programs on the machine, the load generator's too: who shares the machine spoils the figure."""
    count = 300
    loaded = bench.programs.load("churn", server.port, concurrency=1, count=count)
    return Sample(loaded.facts["page_faults"] / count, {"connections": loaded.done}, loaded.errors)


def _split(bench: Bench, server: Running, entrant: str, warmup: bool) -> Sample:
    """The relay measures, so the time that the client's interpreter needs to start is not in it."""
    count, delay = 50 if warmup else 2000, 10000
    text = "".join(f"line {number:06} of the conversation\n" for number in range(count))
    front = bench.port()
    with bench.programs.relay(front, server.port, delay) as relay:
        words = [PYTHON, "-m", "client", entrant, "--host", "127.0.0.1", "--port", str(front), "--raw"]
        if not until(lambda: listens(front), START_SECONDS):
            raise Failed("the relay does not listen")
        try:
            client = subprocess.run(words, input=text, stdout=subprocess.PIPE, text=True, timeout=120)
        except subprocess.TimeoutExpired:
            raise Failed(f"{entrant} has not ended after two minutes") from None
        wrong = int(client.stdout != text or client.returncode != 0)
        said = relay.communicate(timeout=10)[0]
    if not said:
        raise Failed("the relay has failed")
    seconds = float(json.loads(said)["seconds"])
    return Sample(count / seconds, {"lines": count, "seconds": seconds, "rtt_ms": 2 * delay / 1000}, {"wrong": wrong})


def _fsync(bench: Bench, server: Running, entrant: str, warmup: bool) -> Sample:
    """Sixteen lines of each client under way, so that one fsync(2) is for many; then one line a client, waited for."""
    clients, line, lines = 16, 64, 16
    seconds = bench.seconds(0.5, 1.5, warmup)
    options = {"concurrency": clients, "bytes": line}
    many = bench.programs.load("lines", server.port, seconds, window=lines * line, **options)
    one = bench.programs.load("lines", server.port, seconds, window=line, **options)
    details = {"one_by_one": one.rate, "connections": clients, "line_bytes": line, "lines_under_way": lines,
               "file_system": file_system(DATA)}  # fmt: skip
    return Sample(many.rate, details, Counter(many.errors) + Counter(one.errors), many.cpu)


def file_system(path: Path) -> str:
    """The type of the file system that a path is on, as the kernel calls it (proc_pid_mounts(5))."""
    found, longest = "unknown", -1
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, place, kind, *_ = line.split()
        if path.resolve().is_relative_to(place) and len(place) >= longest:
            found, longest = kind, len(place)
    return found


SECTIONS = {
    section.id: section
    for section in (
        Section("churn-1", "connections/s", "higher", _churn(1), ALL, ("fork-spare", "c-fork"), (2, 4), (0.8, 1.2)),
        Section("paced", "us", "lower", _paced, ALL, ("fork-spare", "c-fork"), (2, 4), (0.8, 1.2)),
        Section("churn-8", "connections/s", "higher", _churn(8), ALL, FORKS, (3, 4), (0.8, 1.2)),
        Section("churn-64", "connections/s", "higher", _churn(64), ALL,
                (*FORKS, "prefork", "c-prefork", "epoll", "c-epoll", "asyncio", "uvloop"), (3, 4), (0.8, 1.2)),
        Section("bulk-1", "MB/s", "higher", _bulk(1), ALL, ("fork", "epoll", "c-fork"), (3, 4), (0.8, 1.2)),
        Section("bulk-4", "MB/s", "higher", _bulk(4), MANY, ("fork", "epoll", "c-fork"), (3, 4), (0.8, 1.2)),
        Section("memory", "kB", "lower", _memory, MANY, ("fork", "forking-tcpserver"), (1, 1), (3, 3), warmup=False),
        Section("hold", "connections", "higher", _hold, ("fork", "epoll", "c-fork", "c-epoll"), ("fork", "epoll"),
                (1, 1), (8, 8), warmup=False),
        Section("burst", "ms", "lower", _burst, MANY, ("fork", "c-fork"), (2, 3), (1.0, 1.0)),
        Section("unp", "s", "lower", _unp, ALL, ("fork", "c-fork"), (1, 2), (1.5, 2.0)),
        Section("faults", "faults/connection", "lower", _faults, FORKS, ("fork",), (1, 3), (0.8, 0.8)),
        Section("split", "lines/s", "higher", _split, ("fork-split", "lock-step"), ("fork-split", "lock-step"),
                (1, 1), (11, 11), greets=False),
        Section("fsync", "lines/s", "higher", _fsync, FSYNC, FSYNC, (1, 3), (1.6, 3.6), needs=DATA, greets=False),
    )
}  # fmt: skip
