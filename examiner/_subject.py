"""A server under examination: started fresh, watched from outside, stopped and let go, gone afterwards."""

import contextlib
import errno
import os
import resource
import signal
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from examiner import _jail, _strace
from examiner._connection import Connection
from examiner._moments import Moments
from probe import sockets as tcp
from probe.processes import DETAILS, PROC, TICKS, Found, look, parse_stat, status

ADDRESS = "127.0.0.1"

GRACE = 2.0
"""Seconds of the subject's own time until something that should happen has not happened."""
START_GRACE = 5.0
"""The same for the way from exec to listen(2): a Python program reads its modules first."""
SMALL_BUFFER, SMALL_SEGMENT = 32 << 10, 1400
"""Bytes."""
MOST = 6
"""Times the grace: then patience ends also for a subject that always runs."""
SPINS = 0.3
"""Seconds of processor time without a pause: whoever has used so much is in a loop."""
LOOKS, NEARLY = 10, 0.9
"""How many looks it takes to say that nobody spins, and in which part of them somebody must be running who does."""

Process = dict[str, Any]
"""As ``probe.processes.parse_stat`` has it: pid, ppid, state, name, start, threads, cpu."""

_LIMIT_NAMES = {getattr(resource, name): name for name in reversed(dir(resource)) if name.startswith("RLIMIT_")}
_PAUSE = 0.002
_LONGEST_PAUSE = 0.02
_MOST_PAUSES = 3
_FEW = 10
_LONGEST_GAP = 1.0
"""Seconds. Whoever comes so late to a look was kept from running, and so was the subject, perhaps with the machine."""


def since(before: float) -> tuple[float, float]:
    """What a wait has lost of its patience since the time of its last look, in seconds; and the time now."""
    now = time.monotonic()
    return min(now - before, _LONGEST_GAP), now


class DoesNotListen(Exception):
    """The subject did not start to listen on its port; the message says what it did instead.

    ``evidence`` are lines for the report: where else it listens, its last words.
    """

    def __init__(self, words: str, evidence: list[str]) -> None:
        super().__init__(words)
        self.evidence = evidence


@dataclass(frozen=True)
class Program:
    """How a subject is started.

    Attributes:
        words: with ``{port}``, and a client's with ``{host}``.
        folder: it is started in a copy of this one.
        environment: more variables, with the same marks in their values.
        in_place: it is started in ``folder`` itself, where it may not write.
        sources: where the text of its sources is, if not in ``folder``.
    """

    words: tuple[str, ...]
    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    in_place: bool = False
    sources: Path | None = None

    def command(self, port: int) -> list[str]:
        """The words for one port."""
        return [_filled(word, port) for word in self.words]

    def variables(self, port: int) -> dict[str, str]:
        """The environment for one port."""
        return {name: _filled(value, port) for name, value in self.environment.items()}


def _filled(text: str, port: int) -> str:
    return text.replace("{host}", ADDRESS).replace("{port}", str(port))


class Subject:
    """One run of a subject.

    Attributes:
        pid: its first process, which is our child: its number stays its own until :meth:`end`.
        port: where it was told to listen.
        folder: where it may write, by the name that it has for the subject; most are started there.
        reached: the same folder as we reach it.
        adopted: orphans of its tree that have become ours so far: nobody of it waits for them.
        moments: get what is done to it, and what is seen of it.
        over: :meth:`end` has ended it.
    """

    def __init__(
        self,
        program: Program,
        folder: Path,
        user: _jail.User,
        port: int,
        moments: Moments,
        limits: _jail.Limits | None = None,
    ) -> None:
        """Start it and wait until it listens.

        Raises:
            DoesNotListen: it does not.
        """
        self.port, self.folder, self.moments, self._user = port, folder, moments, user
        self.reached = user.reach(folder)
        self._program = program
        self._helpers: set[int] = set()
        self._frozen: set[int] = set()
        self.over = False
        self.adopted: set[int] = set()
        try:
            user.make_folder(folder, None if program.in_place else program.folder)
            self._launch(limits)
            moments.start(self.pid, Path(program.words[0]).name)
        except OSError as error:
            name = program.command(port)[0]
            raise DoesNotListen(f"it cannot be started: {name}: {error.strerror or error}", []) from None
        except subprocess.SubprocessError as error:
            raise DoesNotListen(f"it cannot be started: {error}", []) from None
        self._await_start()

    def _launch(self, limits: _jail.Limits | None, **pipes: int) -> None:
        program = self._program
        self._process = _jail.start(
            program.command(self.port),
            program.folder if program.in_place else self.folder,
            self._user,
            limits,
            home=self.folder,
            environment=program.variables(self.port),
            **pipes,
        )
        self._attend()

    def _attend(self) -> None:
        """Begin to read what it says."""
        self.pid = self._process.pid
        assert self._process.stdout
        self._output = _jail.Output(self._process.stdout.fileno())

    def _await_start(self) -> None:
        if not self.eventually(lambda: self.listens() or not self.alive(), START_GRACE) or not self.listener():
            trouble = self._why_not()
            self.end()
            raise trouble

    def alive(self) -> bool:
        """Whether its first process has not ended. It is only looked at, so its number stays its own (waitid(2))."""
        if self.over:
            return False
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None

    def status(self) -> str:
        """How its first process ended, in words."""
        ended = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if ended is None:
            return "it runs"
        if ended.si_code == os.CLD_EXITED:
            return f"it ended with exit status {ended.si_status}"
        return f"it was killed by {signal.Signals(ended.si_status).name}"

    def said(self) -> list[str]:
        """The last lines that it wrote to standard output and standard error."""
        return [line for line in self._output.text(ended=not self.alive()).splitlines() if line.strip()][-10:]

    # Time.

    def eventually(self, true: Callable[[], object], seconds: float = GRACE) -> bool:
        """Poll until ``true()``; False when it has not become so within ``seconds`` of the subject's own time.

        A moment counts when no process of the subject was running or about to run: then it had nothing more to do for
        what we wait for, however busy the machine is. A moment in which we ourselves were kept from running counts
        little. A subject that always runs gets ``MOST`` times as long.
        """
        waited = spent = 0.0
        pause, before = _PAUSE, time.monotonic()
        while not true():
            if waited >= seconds or spent > MOST * seconds:
                return bool(true())
            time.sleep(pause)
            idle = not self.runs()
            passed, before = since(before)
            spent += passed
            if idle:
                waited += min(passed, _MOST_PAUSES * pause)
            pause = min(1.5 * pause, _LONGEST_PAUSE)
        return True

    def runs(self) -> bool:
        """Whether a process of it runs, is about to, or waits for a disk, or for strace at a call (t)."""
        tree = self.tree()
        return any(
            process["state"] in "RD" or (process["state"] == "t" and pid not in self._frozen)
            for pid, process in tree.items()
        ) or self._user.waits_for_files(tree)

    def sleeps(self) -> None:
        """Wait until it sleeps, as a server that is back at accept, or has used SPINS, as one that never will.

        Whoever is kept from running by a busy machine uses nothing, and is waited for.
        """
        began = self._used()
        self.eventually(lambda: not self.runs() or self._used() - began >= SPINS)

    def _used(self) -> float:
        return float(sum(process["cpu"] for process in self.tree().values()))

    def at_rest(self, seconds: float = 0.3, most: float = MOST * GRACE) -> bool:
        """Whether it comes to rest: for so long no process begins, ends, or is woken (voluntary context switches).

        Args:
            seconds: how long nothing must happen.
            most: seconds after which a subject that does not is given up.
        """
        seen, since = self._switches(), time.monotonic()
        deadline = time.monotonic() + most
        while time.monotonic() < deadline:
            time.sleep(_LONGEST_PAUSE)
            now = self._switches()
            if now != seen or self.runs():
                seen, since = now, time.monotonic()
            elif time.monotonic() - since >= seconds:
                return True
        return False

    def _switches(self) -> dict[int, str]:
        return {pid: self.field(pid, "voluntary_ctxt_switches") for pid in self.tree()}

    # Processes.

    def tree(self) -> dict[int, Process]:
        """Its processes: the first one, the descendants of that, and orphans of theirs, zombies too.

        The examiner is their subreaper, so an orphan is our child (prctl(2)). Of orphans that have ended it takes care.
        """
        children: dict[int, list[Process]] = {}
        for process in _jail.table().values():
            children.setdefault(process["ppid"], []).append(process)
        found = [each for each in children.get(os.getpid(), []) if each["pid"] not in self._helpers]
        for process in found:
            found += children.get(process["pid"], [])
        orphans = [each for each in found if each["ppid"] == os.getpid() and each["pid"] != self.pid]
        self.adopted.update(orphan["pid"] for orphan in orphans)
        for orphan in orphans:
            if orphan["state"] == "Z":
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(orphan["pid"], os.WNOHANG)
                found.remove(orphan)
        tree = {process["pid"]: process for process in sorted(found, key=lambda each: each["pid"])}
        self.moments.processes(self.pid, tree)
        return tree

    def children(self) -> dict[int, Process]:
        """The children of its first process, zombies too."""
        return {pid: each for pid, each in self.tree().items() if each["ppid"] == self.pid}

    def living(self) -> dict[int, Process]:
        """Its processes but the first, without zombies."""
        return {pid: each for pid, each in self.tree().items() if pid != self.pid and each["state"] not in "ZX"}

    def zombies(self) -> dict[int, Process]:
        """Those of its processes that have ended and whose parent, another one of it, has not waited for them."""
        return {pid: each for pid, each in self.tree().items() if each["state"] == "Z" and pid != self.pid}

    def field(self, pid: int, name: str) -> str:
        """A field of /proc/PID/status, empty when the process has gone."""
        try:
            return status(pid).get(name, "")
        except OSError:
            return ""

    def catches(self, number: int) -> bool:
        """Whether the first process has a handler for a signal (SigCgt of proc_pid_status(5))."""
        return bool(int(self.field(self.pid, "SigCgt") or "0", 16) >> (number - 1) & 1)

    def sleeps_in(self, pid: int) -> str:
        """The kernel's function in which a process sleeps; empty when it runs, or the kernel does not tell."""
        found = self._look(pid, frozenset({"waits"}))
        return str(found.process["wait_channel"] or "") if found else ""

    def descriptors(self, pid: int) -> list[dict[str, Any]]:
        """What a process holds, as ``probe.processes.descriptors`` has it."""
        found = self._look(pid, frozenset(DETAILS) - {"memory", "waits", "signals"})
        return found.descriptors if found else []

    def _look(self, pid: int, details: frozenset[str]) -> Found | None:
        with self._user.eyes():
            return look(pid, details)

    def eyes(self) -> AbstractContextManager[None]:
        """For the time of the block /proc/PID of its processes can be read, as ``_jail.User.eyes`` says."""
        return self._user.eyes()

    # Sockets.

    def holders(self) -> dict[int, set[int]]:
        """Which of its processes hold each socket: PIDs by inode."""
        found: dict[int, set[int]] = {}
        for pid in self.tree():
            seen = self._look(pid, frozenset())
            for held in seen.descriptors if seen else []:
                found.setdefault(held["inode"], set()).add(pid)
        self.moments.holders(found)
        return found

    def sockets(self) -> list[dict[str, Any]]:
        """The TCP sockets on its port, its own ends only, as ``probe.sockets`` has them."""
        rows = [row for row in tcp.sockets() if row["local"].endswith(f":{self.port}")]
        self.moments.sockets(rows)
        return rows

    def held_by(self, connection: Connection) -> set[int]:
        """Its processes that hold the connection's other end; none while it waits in the backlog."""
        inodes = {row["inode"] for row in self.sockets() if row["remote"] == connection.local and row["inode"]}
        held = self.holders()
        return set().union(*(held.get(inode, set()) for inode in inodes))

    def unread(self, connection: Connection) -> int:
        """Bytes that wait in the connection's other end until the subject reads them; 0 when that end has gone."""
        return sum(row["rx_queue"] for row in self.sockets() if row["remote"] == connection.local)

    def listener(self) -> dict[str, Any] | None:
        """The row of its LISTEN socket on the port, one that it holds itself."""
        rows = [row for row in self.sockets() if row["state"] == tcp.LISTEN]
        held = self.holders() if rows else {}
        return next((row for row in rows if row["inode"] in held), None)

    def listens(self) -> bool:
        """Whether it listens on the port. Read, not tried: a connection would make it fork."""
        return any(local.endswith(f":{self.port}") for local in self._listening())

    def elsewhere(self) -> list[str]:
        """Where it listens besides its port."""
        return [local for local in self._listening() if not local.endswith(f":{self.port}")]

    def _listening(self) -> list[str]:
        """The addresses of its LISTEN sockets."""
        rows = tcp.listeners()
        held = self.holders() if rows else {}
        return [row["local"] for row in rows if row["inode"] in held]

    def connect(self, *, small: bool = False) -> Connection:
        """A client's connection; the kernel completes it, whether or not the subject accepts (listen(2)).

        Args:
            small: with buffers that are full soon, on both sides: that of the subject grows with the segments' size,
                which on a loopback is 64 KiB (tcp(7), TCP_MAXSEG, tcp_wmem).

        Raises:
            OSError: it is refused, or the backlog is full.
        """
        wire, ended = socket.socket(socket.AF_INET, socket.SOCK_STREAM), ""
        try:
            if small:
                wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
                wire.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL_BUFFER)
                wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SMALL_SEGMENT)
            wire.settimeout(GRACE)
            wire.connect((ADDRESS, self.port))
        except ConnectionResetError:  # it was complete, and reset before connect(2) could say so
            ended = "RST"
        except OSError:
            wire.close()
            raise
        return Connection(wire, (ADDRESS, self.port), self.eventually, ended)

    # What is done to it.

    def kill(self, number: int, pid: int | None = None) -> None:
        """Send a signal to its first process, or to another of its tree."""
        os.kill(pid or self.pid, number)
        self.moments.signal(pid or self.pid, signal.Signals(number).name)

    def stop(self) -> bool:
        """Stop its first process (SIGSTOP); whether it stands still."""
        self.kill(signal.SIGSTOP)
        return self.eventually(lambda: self._state() == "T")

    def go_on(self) -> None:
        """Let it go on (SIGCONT)."""
        self.kill(signal.SIGCONT)

    def _state(self) -> str:
        return str(self.tree().get(self.pid, {}).get("state", ""))

    @contextmanager
    def frozen(self, pids: Iterable[int] = ()) -> Iterator[None]:
        """Stop some of its processes, or all of them, for the time of the block.

        Raises:
            OSError: one of them has ended, or does not stop.
        """
        chosen = set(pids) or {pid for pid, process in self.tree().items() if process["state"] not in "ZX"}
        try:
            self._frozen |= chosen
            for pid in chosen:
                self.kill(signal.SIGSTOP, pid)
            if not self.eventually(lambda: all(self.tree().get(pid, {}).get("state") in ("T", "t") for pid in chosen)):
                raise OSError(errno.EBUSY, f"processes {sorted(chosen)} do not stop")
            yield
        finally:
            self._frozen -= chosen
            for pid in chosen:
                with contextlib.suppress(ProcessLookupError):
                    self.kill(signal.SIGCONT, pid)

    def spinning(self, pids: Container[int] | None = None) -> dict[int, float]:
        """Which of its processes, or of ``pids``, never sleep; the seconds of processor time that each used meanwhile.

        A thread was seen running at nearly every look until its process had used SPINS of the processor, or at each
        until patience ended. That is so for a loop without a pause, however little a busy machine lets it run: it may
        wait for a page now and then, while whoever pauses uses next to nothing.
        """
        awake: Counter[tuple[int, int]] = Counter()
        began = {pid: process["cpu"] for pid, process in self.tree().items()}
        deadline = time.monotonic() + MOST * GRACE
        looks = 0
        while True:
            looks += 1
            awake.update(each for each in self._awake() if pids is None or each[0] in pids)
            tree = self.tree()
            over = time.monotonic() >= deadline
            often = {pid for (pid, _), seen in awake.items() if seen >= (looks if over else NEARLY * looks)}
            used = {pid: tree[pid]["cpu"] - began[pid] for pid in often if pid in tree and pid in began}
            found = {pid: cpu for pid, cpu in used.items() if cpu >= (1 / TICKS if over else SPINS)}
            if found or over or (looks >= LOOKS and not used):
                return found
            time.sleep(_LONGEST_PAUSE)

    def _awake(self) -> set[tuple[int, int]]:
        """Its threads that run or are about to: process and thread."""
        found = set()
        for pid in self.tree():
            for file in Path(PROC, str(pid), "task").glob("*/stat"):
                with contextlib.suppress(OSError, ValueError):  # it has just ended
                    thread = parse_stat(file.read_bytes())
                    found |= {(pid, thread["pid"])} if thread["state"] == "R" else set()
        return found

    def limit(self, which: int, soft: int | None, pid: int | None = None) -> bool:
        """Change a soft limit of a running process (prlimit(2)), as its own user: we lack CAP_SYS_RESOURCE.

        None is what it was at the start.
        """
        soft = _jail.LIMITS[which][0] if soft is None else soft
        target = pid or self.pid

        def change() -> None:
            resource.prlimit(target, which, (soft, resource.prlimit(target, which)[1]))

        done = self._user.run(change, apart=False)  # prlimit(2) asks for the same real user
        if done:
            self.moments.add("limit", pid=target, name=_LIMIT_NAMES[which], soft=soft)
        return done

    @contextmanager
    def traced(self, *, calls: str = "", pids: tuple[int, ...] = (), inject: str = "") -> Iterator[_strace.Trace]:
        """Record its calls with strace, from now to the end of the block; then ``trace.calls()`` has them.

        Args:
            calls: which, as ``strace -e trace=`` takes it; none: all.
            pids: of which processes, and whatever they fork; none: of all that are there.
            inject: a fault or a delay in some of them, as ``strace -e inject=`` takes it; name them in ``calls``, too.

        Raises:
            _strace.CannotTrace: strace did not attach.
        """
        with _strace.attached(pids or tuple(self.tree()), calls, inject, self._user.uid) as trace:
            self._helpers.add(trace.tracer)
            self.moments.note("trace", inject)
            try:
                yield trace
            finally:
                self._helpers.discard(trace.tracer)

    def end(self) -> None:
        """Kill all of it and wait until nothing is left.

        Raises:
            _jail.StillThere: something is.
        """
        if self.over:
            return
        self.moments.add("end", pid=self.pid)
        deadline = time.monotonic() + _jail.GONE_SECONDS
        while self.tree().keys() - ({self.pid} if not self.alive() else set()):
            self._user.sweep()
            for pid, process in self.tree().items():
                if process["state"] not in "ZX":
                    with contextlib.suppress(ProcessLookupError, PermissionError):
                        os.kill(pid, signal.SIGKILL)
            if time.monotonic() > deadline:
                raise _jail.StillThere(f"processes {sorted(self.tree())} do not end")
            time.sleep(_PAUSE)
        self.over = True
        self._process.wait()
        self._output.text(ended=True)
        assert self._process.stdout
        self._process.stdout.close()
        self._user.sweep()

    def _why_not(self) -> DoesNotListen:
        """What it did instead of listening."""
        said = [f"it said: {line}" for line in self.said()] or ["it said nothing"]
        others = self.elsewhere()
        if not self.alive():
            return DoesNotListen(f"{self.status()} before it listened on port {self.port}", said)
        if others:
            more = f" and {len(others) - _FEW} more" if len(others) > _FEW else ""
            words = f"it listens on {', '.join(others[:_FEW])}{more}, not on port {self.port}, which it was given"
            return DoesNotListen(words, said)
        where = self.sleeps_in(self.pid)
        sleeps = f"; it sleeps in {where}" if where else "; it never comes to rest" if self.runs() else ""
        return DoesNotListen(f"it runs, but does not listen on port {self.port}{sleeps}", said)
