"""Shows the model at work: three clients on the network, and what the kernel says about who serves whom."""

import contextlib
import queue
import secrets
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from docker import DockerClient
from docker.errors import APIError, NotFound
from docker.models.containers import Container

from forklab import observe
from forklab.compose import Compose
from forklab.observe import Snapshot, Socket
from protocol import verdicts

CLIENTS = 3
_LABEL = "forklab.proof"
_SERVE_SECONDS = 8.0
"""To start three containers and to be answered, on a busy machine."""
_LEAVE_SECONDS = 5.0
_GRACE_SECONDS = 2.0
"""What a server has to end a conversation and reap its process once the client has left."""
_POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Holder:
    """A process of the server that has a descriptor for a connection."""

    pid: int
    ppid: int | None
    fd: int


@dataclass(frozen=True)
class Evidence:
    """One client's connection, as the kernel shows it on the server's side. Inode 0: not accepted yet."""

    client: str
    state: str
    inode: int
    holders: tuple[Holder, ...]


@dataclass(frozen=True)
class Proof:
    """What was seen. ``reason`` is empty for PASS. The last three count once the clients have left."""

    model: str
    verdict: str
    reason: str
    server: int | None
    clients: tuple[Evidence, ...]
    answered: int
    connections_after: int
    processes_after: int
    zombies_after: int


Judge = Callable[[Snapshot, Sequence[Socket]], str]
"""What contradicts the model while the clients are there, in words; empty when nothing does."""


def _each_held(seen: Snapshot, ours: Sequence[Socket]) -> str:
    """Any model that serves all at once."""
    waiting = [row.remote for row in ours if not row.holders]
    return f"no process holds the connection of {', '.join(waiting)}" if waiting else ""


def _process_each(seen: Snapshot, ours: Sequence[Socket]) -> str:
    """The fork model: each connection is held by a child of its own, and by nobody else."""
    for row in ours:
        if len(row.holders) != 1:
            return f"{row.remote} is held by {len(row.holders)} processes instead of one"
        child = seen.process(row.holders[0])
        if child is None or child.ppid != seen.server:
            return f"{row.remote} is held by process {row.holders[0]}, which is no child of the server"
    if len({row.holders[0] for row in ours}) != len(ours):
        return "one process holds more than one of the connections"
    return ""


def _one_of_all(seen: Snapshot, ours: Sequence[Socket]) -> str:
    """The iterative model: the server itself holds one connection, the others wait to be accepted.

    It may have other processes, a service's recorder for one, as long as they hold none.
    """
    held = [row for row in ours if row.holders]
    for row in held:
        for pid in row.holders:
            if pid != seen.server:
                return f"{row.remote} is held by process {pid}, which is not the server itself"
    return "" if len(held) == 1 else f"{len(held)} connections are accepted at once instead of one"


@dataclass(frozen=True)
class _Promise:
    """What a model promises: how many of the clients it answers at once, and whether their processes end with them."""

    answered: int
    judge: Judge
    processes_end: bool = False


_PROMISES = {
    "fork": _Promise(CLIENTS, _process_each, processes_end=True),
    "iterative": _Promise(1, _one_of_all),
}
_ANY_MODEL = _Promise(CLIENTS, _each_held)


class Talker:
    """One client container, talked to through compose's pipes. It ends by itself when its input ends."""

    def __init__(self, compose: Compose, token: str, line: bytes, answers: "queue.SimpleQueue[bytes]") -> None:
        self._process = compose.start(
            *("--progress", "quiet", "run", "--rm", "-T", "--no-deps", "--label", f"{_LABEL}={token}", "client"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._write(line)
        threading.Thread(target=self._listen, args=(line, answers), daemon=True).start()

    def leave(self) -> None:
        """Ask the client to end."""
        self._write(b"q\n", last=True)

    def over(self) -> bool:
        """Whether it has ended."""
        return self._process.poll() is not None

    def trouble(self, deadline: float) -> str:
        """Why it did not end well by ``deadline`` (``time.monotonic``), in its own words; empty if it did."""
        try:
            code = self._process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            return "a client did not end"
        said = self._process.stderr.read().decode(errors="replace").strip() if self._process.stderr and code else ""
        return f"a client left with exit code {code}: {(said.splitlines() or ['no word'])[-1]}" if code else ""

    def kill(self) -> None:
        """Last resort; its container is removed by label."""
        self._process.kill()
        self._process.wait()

    def _write(self, words: bytes, last: bool = False) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(words)
            self._process.stdin.flush()
            if last:
                self._process.stdin.close()
        except OSError:
            pass  # It has ended before its time: trouble() tells.

    def _listen(self, line: bytes, answers: "queue.SimpleQueue[bytes]") -> None:
        assert self._process.stdout is not None
        for heard in self._process.stdout:
            if heard == line:
                answers.put(line)


def prove(engine: DockerClient, compose: Compose, probe: Container, model: str) -> Proof:
    """Let three clients talk to the server at once, look, let them leave, look again. ``probe`` is its container.

    Raises:
        LabError: the probe or compose failed.
    """
    promise = _PROMISES.get(model, _ANY_MODEL)
    token = secrets.token_hex(6)
    answers: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    talkers: list[Talker] = []
    try:
        for number in range(1, CLIENTS + 1):
            talkers.append(Talker(compose, token, b"client %d\n" % number, answers))
        answered = _await_answers(promise.answered, talkers, answers)
        seen, ours, wrong = _watch(engine, probe, token, promise.judge)
        for talker in talkers:
            talker.leave()
        deadline = time.monotonic() + _LEAVE_SECONDS
        troubles = [trouble for talker in talkers if (trouble := talker.trouble(deadline))]
        after, left = _watch_after(probe, seen, ours, promise)
    finally:
        _end(engine, token, talkers)

    verdict, reason = verdicts.PASS, ""
    if len(ours) == CLIENTS and answered < promise.answered:
        verdict = verdicts.INCONCLUSIVE
        reason = (
            f"only {answered} of {CLIENTS} clients were answered within {_SERVE_SECONDS:.0f} s; "
            "another client, a cap (--max-connections) or a stopped process keeps them waiting: ./lab ps"
        )
    elif problems := [*troubles, *filter(None, (wrong, left))]:
        verdict, reason = verdicts.FAIL, problems[0]
    return Proof(
        model=model,
        verdict=verdict,
        reason=reason,
        server=seen.server,
        clients=tuple(_evidence(seen, row) for row in ours),
        answered=answered,
        connections_after=len(_still_open(after, ours)),
        processes_after=len(after.processes),
        zombies_after=len(after.zombies()),
    )


def _await_answers(expected: int, talkers: list[Talker], answers: "queue.SimpleQueue[bytes]") -> int:
    """How many clients were answered, as soon as it is ``expected`` or the time is over."""
    deadline = time.monotonic() + _SERVE_SECONDS
    answered = 0
    while answered < expected and time.monotonic() < deadline and not all(talker.over() for talker in talkers):
        try:
            answers.get(timeout=_POLL_SECONDS)
            answered += 1
        except queue.Empty:
            pass
    return answered


def _watch(engine: DockerClient, probe: Container, token: str, judge: Judge) -> tuple[Snapshot, list[Socket], str]:
    """Look until the kernel shows what the model promises, or the grace is over: all seen, ours, what is wrong.

    A server may answer before it has closed its own copy of a connection, so one look is not enough for a verdict.
    """
    deadline = time.monotonic() + _GRACE_SECONDS
    while True:
        addresses = _addresses(engine, token)
        seen = observe.snapshot(probe)
        ours = [row for row in seen.established() if row.remote_address in addresses]
        missing = CLIENTS - len(ours)
        wrong = f"{missing} of {CLIENTS} clients not connected" if missing else judge(seen, ours)
        if not wrong or time.monotonic() > deadline:
            return seen, ours, wrong
        time.sleep(_POLL_SECONDS)


def _watch_after(probe: Container, before: Snapshot, ours: list[Socket], promise: _Promise) -> tuple[Snapshot, str]:
    """Look until nothing is left of the clients, or the grace is over: the last look, and what is left."""
    served = {pid for row in ours for pid in row.holders if pid != before.server} if promise.processes_end else set()
    deadline = time.monotonic() + _GRACE_SECONDS
    while True:
        after = observe.snapshot(probe)
        counts = {
            "zombies": len(after.zombies()),
            "connections": len(_still_open(after, ours)),
            "processes": sum(process.pid in served for process in after.processes),
        }
        left = [f"{what} {count}" for what, count in counts.items() if count]
        if not left:
            return after, ""
        if time.monotonic() > deadline:
            return after, f"{_GRACE_SECONDS:.0f} s after the clients left there remain: {', '.join(left)}"
        time.sleep(_POLL_SECONDS)


def _still_open(seen: Snapshot, ours: list[Socket]) -> list[Socket]:
    """TIME_WAIT is no connection any more: it only keeps the address pair from being used anew (RFC 9293, 3.3.2)."""
    peers = {row.remote for row in ours}
    return [row for row in seen.connections() if row.remote in peers and row.state != "TIME_WAIT"]


def _evidence(seen: Snapshot, row: Socket) -> Evidence:
    holders = [held for held in seen.holders(row.inode) if row.inode]
    parents = {process.pid: process.ppid for process in seen.processes}
    return Evidence(
        client=row.remote,
        state=row.state,
        inode=row.inode,
        holders=tuple(Holder(held.pid, parents.get(held.pid), held.fd) for held in holders),
    )


def _containers(engine: DockerClient, token: str) -> list[Container]:
    return engine.containers.list(all=True, filters={"label": f"{_LABEL}={token}"}, ignore_removed=True)


def _addresses(engine: DockerClient, token: str) -> set[str]:
    """The addresses of our clients on the lab's network."""
    networks = [found.attrs["NetworkSettings"]["Networks"] for found in _containers(engine, token)]
    return {end["IPAddress"] for network in networks for end in network.values() if end["IPAddress"]}


def _end(engine: DockerClient, token: str, talkers: list[Talker]) -> None:
    """Nothing of the proof stays, however it ended."""
    if all(talker.over() for talker in talkers):
        return
    for talker in talkers:
        talker.kill()
    for container in _containers(engine, token):
        with contextlib.suppress(NotFound, APIError):  # its own --rm may be at it
            container.remove(force=True)
