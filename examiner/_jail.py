"""Runs what nobody trusts: as another user, within limits, and leaves nothing of it behind.

The facts are from credentials(7), capabilities(7), setrlimit(2), kill(2) and prctl(2).
"""

import contextlib
import ctypes
import os
import resource
import select
import shutil
import signal
import stat
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from probe.processes import PROC, Pin, Pins, status

_LIBC = ctypes.CDLL(None, use_errno=True)

PR_SET_CHILD_SUBREAPER = 36
"""linux/prctl.h: orphans among our descendants become our children, and not those of PID 1."""

OURS = Path("/")

SHARED = (Path("/tmp"), Path("/dev/shm"), Path("/dev/mqueue"))
"""Where every user may write, so that two subjects could meet there."""

APART, GUARD = 10, 20
"""Whoever cleans up with a user's rights, or watches it, has a real user of its own, so many numbers above: by that,
kill(2) and ptrace(2) tell who may do something to it. Lanes' users stand next to each other."""
_IPC = {"shm": "shmid", "msg": "msqid", "sem": "semid"}
"""The tables of /proc/sysvipc, and their columns of ids (sysvipc(7))."""
_IPC_RMID = 0

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
_FUSE = "request_wait_answer"
"""The kernel's function (fs/fuse/dev.c) in which who waits for FUSE sleeps, in state S and not in D. Images lie on such
file systems in an engine without root, and shared folders in Docker Desktop."""
_PINS = Pins(128)
"""Most of the processes that are there now, as ``table`` reads them all the time."""
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
    """Whom a subject runs as, and in which file system.

    Attributes:
        uid: a number without a name; None is ourselves, where we are not root (tests).
        root: the root of its file system, as we reach it: another one than ours where an image was submitted.
    """

    uid: int | None
    root: Path = OURS

    def become(self, apart: int = 0) -> None:
        """Be this user, in that file system, with no other rights; ``apart``: the user has none over this process.

        There is no way back, so only in a process of its own.
        """
        if self.root != OURS:
            os.chroot(self.root)
            os.chdir("/")
        if self.uid is not None:
            real = self.uid + apart
            os.setgroups([])
            os.setresgid(self.uid, self.uid, self.uid)
            os.setresuid(real, self.uid, real)

    def reach(self, path: Path) -> Path:
        """A path of its file system, as it is for us. Only what nobody but us can move is safe to go through."""
        return self.root / path.relative_to("/")

    def run(self, deed: Callable[[], object], *, apart: bool = True, start: Path | None = None) -> bool:
        """Do something with this user's rights and no others, in a process of its own; whether it went well.

        Processes of the user can neither stop nor end nor trace that one, as long as it stays ``apart``. It begins in
        the folder ``start``, which is one of ours.
        """
        child = os.fork()
        if child == 0:
            code = os.EX_SOFTWARE
            try:
                if start:
                    os.chdir(start)
                self.become(APART if apart else 0)
                deed()
                code = os.EX_OK
            finally:
                os._exit(code)
        return os.waitpid(child, 0)[1] == 0

    @contextmanager
    def eyes(self) -> Iterator[None]:
        """Read /proc/PID/fd and the like of this user's processes for the time of the block.

        Without CAP_SYS_PTRACE, which not every place grants that the examiner runs in, not even root may: the ids for
        the file system must be those of the process (ptrace(2), PTRACE_MODE_FSCREDS; setfsuid(2), of a thread each).
        """
        if self.uid is None:
            yield
            return
        _LIBC.setfsgid(self.uid)
        _LIBC.setfsuid(self.uid)
        try:
            yield
        finally:
            _LIBC.setfsuid(os.geteuid())
            _LIBC.setfsgid(os.getegid())

    def make_folder(self, path: Path, copy_of: Path | None = None) -> None:
        """Make a folder that belongs to this user, with a copy of another one's content; replaces what was there.

        Raises:
            OSError: it cannot be made: there is no room left, or files cannot be read.
        """
        self.remove(path)
        parent = self.reach(path.parent)
        parent.mkdir(parents=True, exist_ok=True)
        parent.chmod(0o1777)

        if not self.run(lambda: self._fill(path, copy_of)):
            raise OSError(f"cannot make {path}: is the submission too large, or may its files not be read?")

    def _fill(self, path: Path, copy_of: Path | None) -> None:
        os.umask(0o022)
        if copy_of is None:
            path.mkdir()
        elif self.root == OURS:
            _copy(copy_of, path)
        else:  # no program of an image is trusted with it, and what is copied is small
            shutil.copytree(copy_of, path, symlinks=True)

    def remove(self, path: Path) -> None:
        """Remove a file or folder of this user; with its own rights, for we have none to write there.

        Our programs do it, from within the folder above, which is ours: so what is in an image has no say.
        """
        if not os.path.lexists(self.reach(path)):
            return
        us, start, name = User(self.uid), self.reach(path.parent), f"./{path.name}"
        if not us.run(lambda: _tool("rm", "-rf", name), start=start):
            # It may have taken the permissions away from itself.
            us.run(lambda: _tool("chmod", "-R", "u+rwX", name), start=start)
            us.run(lambda: _tool("rm", "-rf", name), start=start)

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
                raise StillThere(f"processes {sorted(self.processes())} of user {self.uid} do not end")
            time.sleep(0.002)
        for place in SHARED:
            self.clear(place)
        if any(map(self._ipc, _IPC)):
            self.run(self._remove_ipc)

    def clear(self, place: Path) -> None:
        """Remove what this user has in a folder where others may write, too; all at once, for it may be thousands."""
        if self.uid is None or not self.left_in(place):
            return
        find = ("find", ".", "-mindepth", "1", "-maxdepth", "1", "-user", str(self.uid), "-exec")
        us, start = User(self.uid), self.reach(place)
        if not us.run(lambda: _tool(*find, "rm", "-rf", "--", "{}", "+"), start=start):
            us.run(lambda: _tool(*find, "chmod", "-R", "u+rwX", "--", "{}", "+"), start=start)
            us.run(lambda: _tool(*find, "rm", "-rf", "--", "{}", "+"), start=start)

    def processes(self) -> dict[int, str]:
        """The states of all that run as this user, by PID; without zombies, which are their parent's."""
        found = {}
        for pid in _pids():
            with contextlib.suppress(OSError):  # it has just ended
                fields = status(pid)
                state = fields["State"].split()[0]
                if int(fields["Uid"].split()[0]) == self._number and state != "Z":
                    found[pid] = state
        return found

    def runs(self) -> bool:
        """Whether a process of this user runs, is about to, or waits for a disk."""
        there = self.processes()
        return bool(set(there.values()) & {"R", "D"}) or self.waits_for_files(there)

    def waits_for_files(self, pids: Iterable[int]) -> bool:
        """Whether one of these processes of this user waits for a file system that a process serves: as for a disk."""
        with self.eyes():
            return any(_wait_channel(pid) == _FUSE for pid in pids)

    @property
    def _number(self) -> int:
        return os.getuid() if self.uid is None else self.uid

    def left_in(self, place: Path) -> list[Path]:
        """The files of this user in a place that all share."""
        with contextlib.suppress(OSError), os.scandir(self.reach(place)) as entries:
            return [place / each.name for each in entries if each.stat(follow_symlinks=False).st_uid == self.uid]
        return []

    def _ipc(self, kind: str) -> list[int]:
        """The System V objects that this user has made, which outlive it (sysvipc(7))."""
        try:
            head, *rows = Path(PROC, "sysvipc", kind).read_text().splitlines()
        except (OSError, ValueError):
            return []
        found = [dict(zip(head.split(), row.split(), strict=False)) for row in rows]
        return [int(row[_IPC[kind]]) for row in found if int(row["cuid"]) == self.uid]

    def _remove_ipc(self) -> None:
        libc = ctypes.CDLL(None)
        for number in self._ipc("shm"):
            libc.shmctl(number, _IPC_RMID, None)
        for number in self._ipc("msg"):
            libc.msgctl(number, _IPC_RMID, None)
        for number in self._ipc("sem"):
            libc.semctl(number, 0, _IPC_RMID)


def keep(source: Path, target: Path) -> bool:
    """Copy a folder, so that it is our own and everybody may read it; whether that went well."""
    us = User(None)
    return us.run(lambda: _copy(source, target)) and us.run(lambda: _tool("chmod", "-R", "a+rX", target))


def _copy(source: Path, target: Path) -> NoReturn:
    """Links stay links, and pipes stay pipes."""
    os.umask(0o022)
    _tool("cp", "-R", source, target)


def _tool(name: str, *words: "str | Path") -> NoReturn:
    """Become a program of coreutils, which can go as deep as folders can, and longer than a path may be."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    os.execvp(name, [name, *map(str, words)])


def _kill_all() -> None:
    os.kill(-1, signal.SIGKILL)


def go_first() -> None:
    """From now on this is what the kernel ends when memory ends, and not us (proc_pid_oom_score_adj(5))."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def become_reaper() -> None:
    """From now on orphans among our descendants are our children (PR_SET_CHILD_SUBREAPER)."""
    _LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


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


class Spared:
    """The canaries: as long as nothing happens at their pipe they live, so nobody else has their numbers.

    They are most of what is there, and no look needs to read them. Once one has gone, every number is read.
    """

    def __init__(self) -> None:
        self.none()

    def none(self) -> None:
        """There are none, or none any more."""
        self._names: frozenset[str] = frozenset()
        self._pipe = select.poll()

    def these(self, pids: Iterable[int], pipe: int) -> None:
        """They have these numbers, and the pipe ends with the first that goes."""
        self.none()
        self._names = frozenset(map(str, pids))
        self._pipe.register(pipe, select.POLLIN)

    def names(self) -> frozenset[str]:
        """Entries of /proc that need not be read now."""
        return frozenset() if self._pipe.poll(0) else self._names


SPARED = Spared()


def _wait_channel(pid: int) -> str:
    try:
        return Path(PROC, str(pid), "wchan").read_text()
    except OSError:  # it has just ended
        return ""


def _pids() -> set[int]:
    """Of every process but those that are spared."""
    there = set(os.listdir(PROC)) - SPARED.names()  # in this order: a number is spared only if nobody else had it
    return {int(name) for name in there if name.isdigit()}


def table() -> dict[int, dict[str, Any]]:
    """What /proc/PID/stat says of every process, but of those that are spared."""
    pids = _pids()
    _PINS.keep_only(pids)
    rows = {pid: _PINS.read(pid, Pin.stat) for pid in pids}
    return {pid: row for pid, row in rows.items() if row}  # some have just ended


def start(
    words: list[str],
    folder: Path,
    user: User,
    limits: Limits | None = None,
    *,
    home: Path | None = None,
    environment: Mapping[str, str] | None = None,
    stdin: int = subprocess.DEVNULL,
    stderr: int = subprocess.STDOUT,
) -> "subprocess.Popen[bytes]":
    """Start a program in a folder: in a session of its own, with no input, all its output in one pipe.

    Args:
        words: the program and its arguments.
        folder: where.
        user: as whom.
        limits: other soft and hard limits than ``LIMITS``.
        home: the folder that is its own, if that is another one.
        environment: variables besides ``ENVIRONMENT``, or instead of some.
        stdin: subprocess.PIPE for a program that is typed to.
        stderr: subprocess.PIPE to have its errors apart.

    Raises:
        OSError: there is no such program, or it cannot be executed.
    """
    chosen = {**LIMITS, **(limits or {})}

    def restrict() -> None:  # between fork and exec
        user.become()
        os.chdir(folder)
        for name, (soft, hard) in chosen.items():
            most = resource.getrlimit(name)[1]
            hard = hard if most == resource.RLIM_INFINITY else min(hard, most)
            resource.setrlimit(name, (min(soft, hard), hard))
        os.umask(0o022)
        # Only against us: containers share the processor by their groups, whatever is nice in them (cgroups(7)).
        os.nice(_NICE)
        go_first()

    own = str(home or folder)
    return subprocess.Popen(
        words,
        env={**ENVIRONMENT, **(environment or {}), "HOME": own, "TMPDIR": own},
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=stderr,
        start_new_session=True,
        preexec_fn=restrict,
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
