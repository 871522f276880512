"""Runs what nobody trusts: as another user, within limits, and leaves nothing of it behind.

The facts are from credentials(7), capabilities(7), setrlimit(2), kill(2) and prctl(2).
"""

import contextlib
import ctypes
import os
import resource
import shutil
import signal
import stat
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from probe.processes import PROC, parse_stat

PR_SET_CHILD_SUBREAPER = 36
"""linux/prctl.h: orphans among our descendants become our children, and not those of PID 1."""

SHARED = (Path("/tmp"), Path("/dev/shm"))
"""Where every user may write, so that two subjects could meet there."""

LIMITS = {
    # Of the user, not of the process: each lane has a user of its own. So many that all spin still leave us a share.
    resource.RLIMIT_NPROC: (512, 512),
    # Address space is not memory: a thread's stack is 8 MiB of it and malloc(3) reserves 64 MiB a thread. What really
    # is used, the container bounds.
    resource.RLIMIT_AS: (16 << 30, 16 << 30),
    # What a shell of a Debian has as its soft limit.
    resource.RLIMIT_NOFILE: (1024, 8192),
    resource.RLIMIT_FSIZE: (64 << 20, 64 << 20),
    resource.RLIMIT_CPU: (30, 40),
    resource.RLIMIT_CORE: (0, 0),
}
"""Soft and hard limit of each process of a subject (setrlimit(2))."""

GONE_SECONDS = 45.0
"""A thousand processes that all spin take their time to die, too."""
_NICE = 19
"""Of a subject (nice(2)): the examiner keeps its share of the processor beside hundreds that spin."""
_HEAD, _TAIL = 8 << 10, 8 << 10
_FLOOD = 1 << 20
_FLOOD_PAUSE = 0.02

ENVIRONMENT = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "LANG": "C.UTF-8",
    # What a Python program said last is in the report, also when it was killed.
    "PYTHONUNBUFFERED": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
}
"""All that a subject inherits, besides HOME and TMPDIR."""

Limits = Mapping[int, tuple[int, int]]


class StillThere(Exception):
    """Processes that SIGKILL did not end."""


@dataclass(frozen=True)
class User:
    """Whom a subject runs as: a number without a name. ``uid`` None is ourselves, where we are not root (tests)."""

    uid: int | None

    def run(self, deed: Callable[[], None]) -> bool:
        """Do something with this user's rights and no others, in a process of its own; whether it went well."""
        child = os.fork()
        if child == 0:
            code = os.EX_SOFTWARE
            try:
                if self.uid is not None:
                    os.setgroups([])
                    os.setresgid(self.uid, self.uid, self.uid)
                    os.setresuid(self.uid, self.uid, self.uid)
                deed()
                code = os.EX_OK
            finally:
                os._exit(code)
        return os.waitpid(child, 0)[1] == 0

    def make_folder(self, path: Path, copy_of: Path | None = None) -> None:
        """Make a folder that belongs to this user, with a copy of another one's content; replaces what was there.

        Raises:
            OSError: it cannot be made: there is no room left, or files cannot be read.
        """
        self.remove(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.parent.chmod(0o1777)

        def make() -> None:
            os.umask(0o022)
            if copy_of is None:
                path.mkdir()
            else:
                shutil.copytree(copy_of, path, symlinks=True)

        if not self.run(make):
            raise OSError(f"cannot make {path}: is the submission too large, or may its files not be read?")

    def remove(self, path: Path) -> None:
        """Remove a folder of this user; with its own rights, for we have none to write there."""
        if path.exists():
            self.run(lambda: shutil.rmtree(path, ignore_errors=True))

    def sweep(self) -> None:
        """End every process of this user, and remove what it has left where others may write, too.

        kill(2) of -1 meets all that the sender may signal, in one pass under a lock that fork(2) needs as well: so no
        process gets away by forking.

        Raises:
            StillThere: some do not end.
        """
        if self.uid is None:
            return
        deadline = time.monotonic() + GONE_SECONDS
        while self.processes():
            self.run(_kill_all)
            if time.monotonic() > deadline:
                raise StillThere(f"processes {self.processes()} of user {self.uid} do not end")
            time.sleep(0.002)
        for place in SHARED:
            for left in self.left_in(place):
                self.run(lambda left=left: shutil.rmtree(left) if left.is_dir() else left.unlink())  # type: ignore[misc]

    def processes(self) -> list[int]:
        """The PIDs of all that run as this user; without zombies, which are their parent's."""
        found = []
        for name in filter(str.isdigit, os.listdir(PROC)):
            with contextlib.suppress(OSError):  # it has just ended
                fields = dict(line.split(":", 1) for line in Path(PROC, name, "status").read_text().splitlines())
                if int(fields["Uid"].split()[0]) == self.uid and fields["State"].split()[0] != "Z":
                    found.append(int(name))
        return found

    def left_in(self, place: Path) -> list[Path]:
        """The files of this user in a place that all share."""
        with contextlib.suppress(OSError):
            return [path for path in place.iterdir() if path.lstat().st_uid == self.uid]
        return []


def _kill_all() -> None:
    os.kill(-1, signal.SIGKILL)


def become_reaper() -> None:
    """From now on orphans among our descendants are our children (PR_SET_CHILD_SUBREAPER)."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def kill_orphans(but: frozenset[int] = frozenset()) -> None:
    """End all children of ours, ``but`` some, and all their descendants, which become our children one after the other.

    Raises:
        StillThere: some do not end.
    """
    deadline = time.monotonic() + GONE_SECONDS
    while orphans := [pid for pid in children_of(os.getpid()) if pid not in but]:
        for pid in orphans:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        if time.monotonic() > deadline:
            raise StillThere(f"processes {orphans} do not end")
        time.sleep(0.002)


def children_of(parent: int) -> list[int]:
    """PIDs of a process's children, from the parents that all processes name."""
    return [pid for pid, process in table().items() if process["ppid"] == parent]


def table() -> dict[int, dict[str, Any]]:
    """What /proc/PID/stat says of every process."""
    found = {}
    for name in filter(str.isdigit, os.listdir(PROC)):
        with contextlib.suppress(OSError):  # it has just ended
            found[int(name)] = parse_stat(Path(PROC, name, "stat").read_bytes())
    return found


def start(
    words: list[str],
    folder: Path,
    user: User,
    limits: Limits | None = None,
    *,
    stdin: int = subprocess.DEVNULL,
    stderr: int = subprocess.STDOUT,
) -> "subprocess.Popen[bytes]":
    """Start a program in a folder: in a session of its own, with no input, all its output in one pipe.

    Args:
        words: the program and its arguments.
        folder: where.
        user: as whom.
        limits: other soft and hard limits than ``LIMITS``.
        stdin: subprocess.PIPE for a program that is typed to.
        stderr: subprocess.PIPE to have its errors apart.

    Raises:
        OSError: there is no such program, or it cannot be executed.
    """
    chosen = {**LIMITS, **(limits or {})}

    def restrict() -> None:  # between fork and exec, as the user already
        for name, (soft, hard) in chosen.items():
            most = resource.getrlimit(name)[1]
            hard = hard if most == resource.RLIM_INFINITY else min(hard, most)
            resource.setrlimit(name, (min(soft, hard), hard))
        os.umask(0o022)
        # Only against us: containers share the processor by their groups, whatever is nice in them (cgroups(7)).
        os.nice(_NICE)
        with contextlib.suppress(OSError):  # when memory ends, the kernel ends the subject and not us (proc(5))
            Path("/proc/self/oom_score_adj").write_text("1000")

    identity = {} if user.uid is None else {"user": user.uid, "group": user.uid, "extra_groups": []}
    return subprocess.Popen(  # type: ignore[call-overload, no-any-return]
        words,
        cwd=folder,
        env=ENVIRONMENT | {"HOME": str(folder), "TMPDIR": str(folder)},
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=stderr,
        start_new_session=True,
        preexec_fn=restrict,
        **identity,
    )


class Output:
    """What a program says: its first and its last bytes are kept, the rest is read and forgotten.

    It is read all the time, for a full pipe would stop the program; a flood is read slowly, for it would stop us.
    """

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe
        self._head, self._tail, self._count = b"", b"", 0
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with contextlib.suppress(OSError):
            while data := os.read(self._pipe, 1 << 16):
                room = _HEAD - len(self._head)
                self._head += data[:room]
                self._tail = (self._tail + data[room:])[-_TAIL:]
                self._count += len(data)
                if self._count > _FLOOD:
                    time.sleep(_FLOOD_PAUSE)

    def text(self, *, ended: bool = False) -> str:
        """What was said so far; after the program has ``ended``, all of it."""
        if ended:
            self._thread.join(1.0)
        left_out = self._count - len(self._head) - len(self._tail)
        middle = f"\n[{left_out:,} bytes are left out]\n".encode() if left_out > 0 else b""
        return (self._head + middle + self._tail).decode(errors="replace")


def is_program(path: Path) -> bool:
    """Whether a file is one that the kernel can execute: ELF, or a script with #! (execve(2))."""
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            return False
        with path.open("rb") as file:
            start = file.read(4)
    except OSError:
        return False
    return start == b"\x7fELF" or start.startswith(b"#!")
