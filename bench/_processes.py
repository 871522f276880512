"""Starts programs, watches them from outside, and leaves none behind. The facts are from /proc (proc(5))."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from bench._entrants import Entrant

LISTEN = "0A"
"""The state of a listener in /proc/net/tcp (net/tcp_states.h)."""

START_SECONDS, REST_SECONDS, END_SECONDS, LEFT_SECONDS = 20.0, 30.0, 3.0, 1.0
"""How long an entrant may take to listen, until the last clients' children have ended, to end after SIGTERM, and how
long its children may outlive it."""


class Failed(Exception):
    """A sample could not be taken; says why."""


def until(true: Callable[[], Any], seconds: float) -> bool:
    """Poll until ``true()`` is, at most for so many seconds; whether it became so."""
    deadline = time.monotonic() + seconds
    pause = 0.001
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
        pause = min(2 * pause, 0.02)
    return True


def listens(port: int) -> bool:
    """Whether somebody listens on a port. Read, not tried: a connection would make a server fork.

    The kernel lists listeners before all other sockets, of which a churn leaves a hundred thousand in TIME_WAIT. Those
    are not read.
    """
    wanted = f":{port:04X}"
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        if table.exists():
            with table.open() as rows:
                next(rows)  # the heading
                for _, local, _, state, *_ in map(str.split, rows):
                    if state != LISTEN:
                        break
                    if local.endswith(wanted):
                        return True
    return False


def session(leader: int) -> dict[int, str]:
    """PIDs and states of the processes that belong to the session of ``leader``."""
    return {pid: state for pid, (state, _, _, sid) in _table() if int(sid) == leader}


def end_children() -> None:
    """SIGKILL all children of this process, and the sessions they lead.

    A signal handler that raises may do so between fork(2) and the line that would have made the child known.
    """
    for child in [pid for pid, (_, ppid, _, _) in _table() if int(ppid) == os.getpid()]:
        for pid in (child, *session(child)):
            _kill(pid)


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _table() -> Iterator[tuple[int, list[str]]]:
    """Each process, with its state, parent, group and session as text (proc(5))."""
    for entry in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError):  # it has just ended
            yield int(entry), Path("/proc", entry, "stat").read_text().rpartition(")")[2].split()[:4]


def pss(pid: int) -> int:
    """The proportional set size in kB: a page shared by n processes counts 1/n for each. 0 when it has ended."""
    try:
        rollup = Path("/proc", str(pid), "smaps_rollup").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")), 0)


class Running:
    """An entrant that listens: its port, its main process, and the errors that were found with it."""

    def __init__(self, process: "subprocess.Popen[bytes]", port: int, pool: int) -> None:
        self._process, self._pool = process, pool
        self.port, self.pid = port, process.pid
        self.errors: dict[str, int] = {}

    def children(self) -> dict[int, str]:
        """PIDs and states of all its processes but the main one."""
        return {pid: state for pid, state in session(self.pid).items() if pid != self.pid}

    def alive(self) -> bool:
        """Whether the main process has not ended."""
        return self._process.poll() is None

    def come_to_rest(self) -> None:
        """Wait until no more children are left than without clients; zombies that stay are counted as errors."""
        if not until(lambda: self._at_rest() or not self.alive(), REST_SECONDS):
            zombies = list(self.children().values()).count("Z")
            if zombies:
                self.errors["zombies"] = zombies
        if not self.alive():
            self.errors["died"] = 1

    def _at_rest(self) -> bool:
        children = self.children()
        return len(children) <= self._pool and "Z" not in children.values()

    def end(self) -> None:
        """SIGTERM, SIGKILL after a while, for the main process and whatever is left of its session."""
        self._process.terminate()
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if not until(lambda: not self._left(), LEFT_SECONDS):
            left = self._left()
            self.errors["left"] = len(left)
            for pid in left:
                _kill(pid)
            until(lambda: not self._left(), END_SECONDS)

    def _left(self) -> list[int]:
        """Who outlives the main process. Zombies do not: init waits for them in its own time."""
        return [pid for pid, state in self.children().items() if state != "Z"]


@contextmanager
def running(entrant: Entrant, port: int, log: Path) -> Iterator[Running]:
    """Start an entrant in a session of its own, wait until it listens, and end it, whatever happens.

    Raises:
        Failed: it did not start, or does not listen.
    """
    said = log.with_suffix(".err")
    output: int | IO[bytes] = log.open("wb") if entrant.log else subprocess.DEVNULL
    try:
        with said.open("wb") as trouble:
            try:
                process = subprocess.Popen(
                    entrant.words(port),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=trouble,
                    start_new_session=True,
                )
            except OSError as error:
                raise Failed(f"cannot start {entrant.command[0]}: {error.strerror}") from None
        server = Running(process, port, entrant.pool)
        try:
            if not until(lambda: listens(port) or not server.alive(), START_SECONDS) or not server.alive():
                last = said.read_text(errors="replace").strip().splitlines()[-1:] or ["it said nothing"]
                raise Failed(f"{entrant.id} does not listen: {last[0]}")
            yield server
        finally:
            try:
                server.end()
            except BaseException:  # a signal, in the middle of it; there will be no second one
                server.end()
                raise
    finally:
        if not isinstance(output, int):
            output.close()
            log.unlink()
        said.unlink(missing_ok=True)
