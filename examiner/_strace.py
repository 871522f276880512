"""Attaches strace to a subject and reads what it wrote, as far as checks need it (strace(1), ptrace(2))."""

import contextlib
import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from probe.processes import status

_CAP_SYS_PTRACE = 19
"""linux/capability.h"""

_ATTACH_SECONDS = 20.0
_SETTLE_SECONDS = 1.0
_SLEEPS = (
    "read,readv,recvfrom,recvmsg,write,writev,sendto,sendmsg,accept,accept4,poll,ppoll,select,pselect6,epoll_wait,"
    "epoll_pwait,epoll_pwait2,wait4,waitid,futex,nanosleep,clock_nanosleep,restart_syscall,pause,rt_sigsuspend,"
    "rt_sigtimedwait,flock,fcntl"
)
"""Calls in which servers sleep. They are traced, too: a line of the one that was interrupted when strace attached
proves that from now on nothing is missed."""
_RESULT = r"\) += (-?\d+|\?|0x[0-9a-f]+)(?: (E\w+))?.*"
_CALL = re.compile(rf"(\d+) +(\d+\.\d+) (\w+)\((.*?)(?:{_RESULT}| <unfinished \.\.\.>)")
_OPEN = re.compile(r"(\d+) +(\d+\.\d+) (\w+)\((.*?)(?: <detached \.\.\.>)?")
"""The last line of a process that sleeps in this call."""
_RESUMED = re.compile(rf"(\d+) +(\d+\.\d+) <\.\.\. (\w+) resumed>(.*?){_RESULT}")
_SIGNAL = re.compile(r"(\d+) +(\d+\.\d+) --- (SIG\w+) \{.*\} ---")


class CannotTrace(Exception):
    """strace did not attach; the message is its own."""


class Call(NamedTuple):
    """One system call, or a signal that was delivered (``name`` begins with SIG).

    ``value`` is what it returned, None if it has not returned; ``error`` an errno's name, ERESTARTSYS where a signal
    came first. ``time`` is CLOCK_REALTIME in seconds, at its begin.
    """

    pid: int
    time: float
    name: str
    arguments: str = ""
    value: int | None = None
    error: str = ""

    def __str__(self) -> str:
        """As strace writes it, with the PID before it."""
        if self.name.startswith("SIG"):
            return f"{self.pid} --- {self.name} ---"
        result = "?" if self.value is None else str(self.value)
        return f"{self.pid} {self.name}({self.arguments}) = {result} {self.error}".rstrip()


class Trace:
    """A recording; ``tracer`` is the PID of strace."""

    def __init__(self, tracer: int, file: Path, calls: str) -> None:
        self.tracer, self._file = tracer, file
        self._names = {name.lstrip("?") for name in calls.split(",") if name}
        self._text: str | None = None

    def calls(self) -> list[Call]:
        """What was recorded so far, in the order in which it began: the calls that were asked for, and signals."""
        wanted = self._names
        return [call for call in self.all() if not wanted or call.name in wanted or call.name.startswith("SIG")]

    def all(self) -> list[Call]:
        """The same, with the calls in which they sleep."""
        return parse(self._file.read_text(errors="replace") if self._text is None else self._text)

    def sleeping(self) -> dict[int, Call]:
        """The calls that have not returned, by process."""
        last = {call.pid: call for call in self.all() if not call.name.startswith("SIG")}
        return {pid: call for pid, call in last.items() if call.value is None and not call.error}

    def keep(self) -> None:
        """Take the text before the file goes."""
        self._text = self._file.read_text(errors="replace")


def parse(text: str) -> list[Call]:
    """The lines that ``strace -f -ttt`` wrote; a call in two halves is one, where its first half stands."""
    found: list[Call] = []
    open_: dict[int, int] = {}
    for line in text.splitlines():
        if match := _SIGNAL.fullmatch(line):
            found.append(Call(int(match[1]), float(match[2]), match[3]))
        elif match := _RESUMED.fullmatch(line):
            begun = open_.pop(int(match[1]), None)
            if begun is not None:
                call = found[begun]
                found[begun] = call._replace(
                    arguments=call.arguments + match[4], value=_number(match[5]), error=match[6] or ""
                )
        elif match := _CALL.fullmatch(line):
            pid = int(match[1])
            if match[5] is None:
                open_[pid] = len(found)
            found.append(Call(pid, float(match[2]), match[3], match[4], _number(match[5]), match[6] or ""))
        elif match := _OPEN.fullmatch(line):
            found.append(Call(int(match[1]), float(match[2]), match[3], match[4]))
    return found


def _number(text: str | None) -> int | None:
    return None if text in (None, "?") else int(str(text), 0)


@contextmanager
def attached(pids: tuple[int, ...], calls: str, inject: str = "", uid: int | None = None) -> Iterator[Trace]:
    """Attach strace to these processes and to what they fork, until the end of the block.

    Args:
        pids: of whom.
        calls: which to record; empty: all.
        inject: what becomes of some of them, as ``strace -e inject=`` takes it.
        uid: whose processes they are. Without CAP_SYS_PTRACE only this user may trace them (ptrace(2)), so strace runs
            as that; then they can do to it what they like, and the check is inconclusive.

    Raises:
        CannotTrace: it did not attach.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "trace"
        file.touch()
        identity: dict[str, Any] = {}
        if uid is not None and not _may_trace():
            identity = {"user": uid, "group": uid, "extra_groups": []}
            file.chmod(0o622)  # it comes to the file by the descriptor only: the folder is closed to it
        descriptor = os.open(file, os.O_WRONLY)
        words = ["strace", "-f", "-ttt", "-q", "-s", "64", "-o", f"/proc/self/fd/{descriptor}"]
        words += ["-e", f"trace={calls},?{_SLEEPS.replace(',', ',?')}"] if calls else []
        words += ["-e", f"inject={inject}"] if inject else []
        words += [word for pid in pids for word in ("-p", str(pid))]
        try:
            nothing = subprocess.DEVNULL
            process = subprocess.Popen(
                words, stdin=nothing, stdout=nothing, stderr=subprocess.PIPE, pass_fds=(descriptor,), **identity
            )
        except OSError as error:
            raise CannotTrace(f"strace cannot be started: {error.strerror}") from None
        finally:
            os.close(descriptor)
        try:
            deadline = time.monotonic() + _ATTACH_SECONDS
            while not _holds(process.pid, pids):
                if process.poll() is not None or time.monotonic() > deadline:
                    assert process.stderr
                    process.kill()
                    said = process.stderr.read().decode(errors="replace").strip()
                    raise CannotTrace(f"strace did not attach: {said}")
                time.sleep(0.002)
            trace = Trace(process.pid, file, calls)
            deadline = time.monotonic() + _SETTLE_SECONDS  # who runs without a call for so long, calls later
            left = {pid for pid in pids if _tracer(pid)}
            while not left <= {call.pid for call in trace.all()} and time.monotonic() < deadline:
                time.sleep(0.002)
            yield trace
            process.send_signal(signal.SIGINT)  # it lets its tracees go and writes what it has (strace(1))
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_ATTACH_SECONDS)
            trace.keep()
        finally:
            process.kill()
            process.wait()
            assert process.stderr
            process.stderr.close()


def _may_trace() -> bool:
    """Whether we have CAP_SYS_PTRACE (proc_pid_status(5), CapEff)."""
    return bool(int(status(os.getpid())["CapEff"], 16) >> _CAP_SYS_PTRACE & 1)


def _holds(tracer: int, pids: tuple[int, ...]) -> bool:
    """Whether it has attached to one of them and to all others that have not ended meanwhile."""
    tracers = [_tracer(pid) for pid in pids]
    return tracer in tracers and set(tracers) <= {tracer, None}


def _tracer(pid: int) -> int | None:
    """Who traces a process: 0 for nobody; None when it has ended, for a zombie has nothing to be traced."""
    try:
        said = status(pid)
    except OSError:
        return None
    return None if said["State"][0] in "ZX" else int(said["TracerPid"])
