"""Processes and their descriptors, from /proc (proc(5))."""

import functools
import os
import re
import signal
from collections.abc import Callable, Container, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

PROC = "/proc"
INIT = 1
TICKS = os.sysconf("SC_CLK_TCK")
PAGE_KIB = os.sysconf("SC_PAGE_SIZE") // 1024
ZOMBIE, RUNNING = "Z", "R"
INIT_PROGRAMS = {"docker-init", "tini", "podman-init", "catatonit"}
"""What ``init: true`` puts before the server as PID 1."""

DETAILS = ("descriptors", "flags", "signals", "waits", "memory")
"""What a look may leave out, for each costs the reading of further files of every process."""

KINDS = {"socket": "socket", "pipe": "pipe", "anon_inode": "anon"}
MASKS = {"SigPnd": "pending", "ShdPnd": "pending", "SigBlk": "blocked", "SigIgn": "ignored", "SigCgt": "caught"}
"""SigPnd is what waits for the main thread, ShdPnd what waits for any thread of the process (proc_pid_status(5))."""
LEFT_OUT: dict[str, Any] = {"wait_channel": None, "pss_kib": None, **dict.fromkeys(MASKS.values())}
ACCESS = {os.O_RDONLY: "O_RDONLY", os.O_WRONLY: "O_WRONLY", os.O_RDWR: "O_RDWR"}
ENDS = {"O_RDONLY": "read", "O_WRONLY": "write"}
FLAGS = ("O_APPEND", "O_NONBLOCK", "O_CLOEXEC", "O_DIRECTORY", "O_DIRECT", "O_SYNC", "O_ASYNC", "O_PATH")
PIECE = 1 << 14
ATTEMPTS = 3


Read = TypeVar("Read")


class Found(NamedTuple):
    """A process and what it holds, read together."""

    process: dict[str, Any]
    descriptors: list[dict[str, Any]]


class Kept(NamedTuple):
    """What a process that slept was called and held; only its own running can change that."""

    runs: bytes
    details: frozenset[str]
    command: str
    held: list[dict[str, Any]]


class Pin:
    """The open directory of a process in /proc, and those files in it that are read at each look.

    It belongs to the process and not to its number: when the process has gone and another one has its PID, the kernel
    answers ESRCH or ENOENT, and never with the files of the other.

    Raises:
        OSError: there is no such process, or it may not be read.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.folder = os.open(f"{PROC}/{pid}", os.O_PATH | os.O_DIRECTORY)
        self._stat = self._links = self._runs = -1
        self._line, self._parsed = b"", dict[str, Any]()
        self.kept: Kept | None = None

    def stat(self) -> dict[str, Any]:
        """What /proc/PID/stat says now."""
        if self._stat < 0:
            self._stat = os.open("stat", os.O_RDONLY, dir_fd=self.folder)
        if (line := os.pread(self._stat, PIECE, 0)) != self._line:  # most sleep, and their lines stay the same
            self._line, self._parsed = line, parse_stat(line)
        return self._parsed

    def runs(self) -> bytes:
        """/proc/PID/schedstat: how long it has run, and how often; nothing where the kernel does not count that."""
        try:
            if self._runs < 0:
                self._runs = os.open("schedstat", os.O_RDONLY, dir_fd=self.folder)
            return os.pread(self._runs, PIECE, 0)
        except FileNotFoundError:  # CONFIG_SCHED_INFO
            return b""

    def links(self) -> int:
        """A descriptor of /proc/PID/fd."""
        if self._links < 0:
            self._links = os.open("fd", os.O_RDONLY | os.O_DIRECTORY, dir_fd=self.folder)
        return self._links

    def close(self) -> None:
        """Let go of the process."""
        for descriptor in (self.folder, self._stat, self._links, self._runs):
            if descriptor >= 0:
                os.close(descriptor)


class Pins:
    """Keeps up to ``most`` processes open from one look to the next: to open files costs as much as to read them."""

    FILES = 4

    def __init__(self, most: int = 0) -> None:
        self._most = most
        self._kept: dict[int, Pin] = {}

    def read(self, pid: int, how: Callable[[Pin], Read]) -> Read | None:
        """What ``how`` reads of the process that has this number, or None when it has gone meanwhile."""
        for _ in range(2):  # the first may have been kept of a process that has gone; then another may have the number
            try:
                pin = self._kept.pop(pid, None) or Pin(pid)
            except OSError:
                return None
            try:
                found = how(pin)
            except OSError:  # ESRCH: it was waited for
                pin.close()
            else:
                self._keep(pin)
                return found
        return None

    def _keep(self, pin: Pin) -> None:
        if len(self._kept) < self._most:
            self._kept[pin.pid] = pin
        else:
            pin.close()

    def keep_only(self, pids: Container[int]) -> None:
        """Let go of the processes that have gone."""
        for pid in [pid for pid in self._kept if pid not in pids]:
            self._kept.pop(pid).close()


def look(pid: int, details: frozenset[str] = frozenset(DETAILS), pins: Pins | None = None) -> Found | None:
    """One process and its descriptors, all of the same one, or None when it has gone meanwhile.

    Keys of a process: pid, ppid, state (a letter of proc_pid_stat(5)), name, command, start (seconds since boot),
    threads, cpu (seconds of user and system time), waited (True once it has waited for a child that had run), rss_kib.
    With ``waits``: wait_channel, the kernel function in which it sleeps. With ``signals``: pending, blocked, ignored,
    caught. With ``memory``: pss_kib. These are None where they were left out, do not apply (a zombie has no memory)
    or may not be read. For the keys of a descriptor see :func:`descriptors`.

    Args:
        pid: its PID, as this /proc names it.
        details: which of DETAILS to read. Its sockets are always read.
        pins: where to keep it open for the next look.
    """
    return (pins or Pins()).read(pid, lambda pin: _look(pin, details))


def _look(pin: Pin, details: frozenset[str]) -> Found:
    runs = pin.runs()  # first: if it runs while the rest is read, the next look finds another count
    process = pin.stat()
    kept, pin.kept = pin.kept, None
    if not kept or (kept.runs, kept.details) != (runs, details):
        held = descriptors(pin, details) if process["state"] != ZOMBIE else []
        if not held:  # neither memory nor descriptors are left of a process that ends: see whether it has meanwhile
            process = pin.stat()
        command = _read("cmdline", pin.folder).rstrip(b"\0").replace(b"\0", b" ").decode(errors="replace")
        kept = Kept(runs, details, command, held)
    if runs and kept.held and _is_alone_and_asleep(process) and "flags" not in details:
        pin.kept = kept
    return Found(process | {"command": kept.command} | _details(pin.folder, details), kept.held)


def _is_alone_and_asleep(process: Mapping[str, Any]) -> bool:
    """Whether nobody but itself can change what it holds, and it must be given a processor before it can.

    Threads share their descriptors. The flags of one are not its own: whoever holds a copy may set O_NONBLOCK.
    """
    return bool(process["threads"] == 1 and process["state"] != RUNNING)


def descriptors(pin: Pin, details: frozenset[str]) -> list[dict[str, Any]]:
    """What a process holds.

    Keys: pid, fd, kind (socket, pipe, anon, file), target (what the link in /proc/PID/fd says), inode (of sockets and
    pipes: the same in all who hold it), flags (names of open(2), None without the detail ``flags``), end (of a pipe:
    read or write, known from the flags). Without the detail ``descriptors`` only sockets are listed.
    """
    infos = -1
    try:
        links = pin.links()
        numbers = sorted(os.listdir(links), key=int)
        if "flags" in details:
            infos = os.open("fdinfo", os.O_RDONLY | os.O_DIRECTORY, dir_fd=pin.folder)
        everything = "descriptors" in details
        rows = [_descriptor(number, links, infos, pin.pid, everything) for number in numbers]
        return [row for row in rows if row]
    except OSError:  # it has ended, or it may not be read
        return []
    finally:
        if infos >= 0:
            os.close(infos)


def server_tree(everything: Mapping[int, Found]) -> list[dict[str, Any]]:
    """Those of all processes that are the server's own, in order of PID.

    Its own are the descendants of PID 1 in the control group of PID 1. That leaves out the init itself, the health
    check and everything of the probe: those entered the namespace from outside (PPid 0), and an orphan of theirs that
    PID 1 has inherited is still in another group.
    """
    children: dict[int, list[int]] = {}
    for pid, found in everything.items():
        children.setdefault(found.process["ppid"], []).append(pid)
    group = _group(INIT)
    # A process is in its parent's group unless somebody moved it; only PID 1 has children that are not its own.
    own = [pid for pid in children.get(INIT, []) if _belongs(everything[pid].process, group)]
    for pid in own:
        own += children.get(pid, [])
    if INIT in everything and everything[INIT].process["name"] not in INIT_PROGRAMS:
        own.append(INIT)
    return [everything[pid].process for pid in sorted(own)]


def parse_stat(text: bytes) -> dict[str, Any]:
    """The line of /proc/PID/stat (proc_pid_stat(5))."""
    # The name stands in brackets and may hold brackets and blanks itself: the last one closes it.
    opened, closed = text.index(b"("), text.rindex(b")")
    fields = text[closed + 2 :].split()  # fields[0] is field 3, the state
    state = fields[0].decode()
    return {
        "pid": int(text[:opened]),
        "ppid": int(fields[1]),
        "state": state,
        "name": text[opened + 1 : closed].decode(errors="replace"),
        "start": int(fields[19]) / TICKS,
        "threads": int(fields[17]),
        "cpu": (int(fields[11]) + int(fields[12])) / TICKS,
        # cminflt: page faults of children that were waited for. Whoever has run has had some.
        "waited": fields[8] != b"0",
        "rss_kib": int(fields[21]) * PAGE_KIB if state != ZOMBIE else None,
    }


def parse_signals(text: str) -> dict[str, tuple[str, ...]]:
    """The masks of /proc/PID/status as names: pending, blocked, ignored, caught."""
    begin = text.index("\nSigPnd:") + 1  # in the process's name the kernel escapes the line's end, and nothing else
    return _signals(text[begin : text.index("\n", text.index("SigCgt:", begin))])


@functools.lru_cache(maxsize=1024)
def _signals(lines: str) -> dict[str, tuple[str, ...]]:
    """The same for those lines alone, which most processes of a server have in common."""
    masks = dict.fromkeys(MASKS.values(), 0)
    for line in lines.splitlines():
        field, mask = line.split(":")
        masks[MASKS[field]] |= int(mask, 16)
    return {word: signal_names(mask) for word, mask in masks.items()}


@functools.lru_cache(maxsize=1024)
def signal_names(mask: int) -> tuple[str, ...]:
    """The names of the signals in a mask; bit 0 is signal 1."""
    return tuple(_signal_name(bit + 1) for bit in range(mask.bit_length()) if mask >> bit & 1)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal, or one of the two below SIGRTMIN that the C library keeps for itself
        return f"SIGRTMIN{number - signal.SIGRTMIN:+d}"


@functools.lru_cache(maxsize=1024)
def flag_names(flags: int) -> tuple[str, ...]:
    """The names of the flags of open(2) in ``flags``, as this processor numbers them; first the access mode."""
    named = [name for name in FLAGS if flags & (value := getattr(os, name)) == value]
    return (ACCESS.get(flags & os.O_ACCMODE, "O_ACCMODE"), *named)


def _descriptor(number: str, links: int, infos: int, pid: int, everything: bool) -> dict[str, Any] | None:
    """One descriptor; None when it was closed meanwhile, or when only sockets are wanted and it is none."""
    for _ in range(ATTEMPTS):
        try:
            target = os.readlink(number, dir_fd=links)
            kind, _, rest = target.partition(":")
            if not everything and kind != "socket":
                return None
            inode = int(rest[1:-1]) if kind in ("socket", "pipe") else None
            info = _read(number, infos) if infos >= 0 else b""
            # Between the two the number may have been closed and given to something else: then read both again.
            if info and inode is not None and not _is_of(info, inode) and os.readlink(number, dir_fd=links) != target:
                continue
        except OSError:
            return None
        flags = flag_names(int(info[info.index(b"flags:") + 6 :].split(None, 1)[0], 8)) if info else None
        return {
            "pid": pid,
            "fd": int(number),
            "kind": KINDS.get(kind, "file"),
            "target": target,
            "inode": inode,
            "flags": flags,
            "end": ENDS.get(flags[0]) if flags and kind == "pipe" else None,
        }
    return None


def status(pid: int) -> dict[str, str]:
    """The fields of /proc/PID/status (proc_pid_status(5)).

    Raises:
        OSError: the process has gone.
    """
    # Bytes, and no other ends of lines than the kernel's: a process may give itself any name (PR_SET_NAME of prctl(2)).
    lines = Path(PROC, str(pid), "status").read_bytes().decode(errors="replace").split("\n")
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _is_of(info: bytes, inode: int) -> bool:
    """Whether a file of /proc/PID/fdinfo is of that inode; kernels before 5.14 do not tell, and then it is False."""
    return b"ino:\t%d\n" % inode in info


def _details(folder: int, details: frozenset[str]) -> dict[str, Any]:
    """The files that are read only when asked for."""
    found = dict(LEFT_OUT)
    if "signals" in details:
        found |= parse_signals(_read("status", folder).decode(errors="replace"))
    if "waits" in details:
        found["wait_channel"] = _wait_channel(folder)
    if "memory" in details:
        found |= _memory(folder)
    return found


def _wait_channel(folder: int) -> str | None:
    """Where it sleeps; the kernel says 0 for a process that runs, or when it does not tell (proc_pid_wchan(5))."""
    try:
        said = _read("wchan", folder).decode().strip()
    except PermissionError:
        return None
    return said if said not in ("", "0") else None


def _memory(folder: int) -> dict[str, int]:
    """Resident and proportional memory; more exact than in stat, whose count lags behind, but dear: it walks pages."""
    try:
        text = _read("smaps_rollup", folder).decode()
    except OSError:  # ESRCH: a zombie has no memory; ENOENT: gone, or a kernel before 4.14
        return {}
    sizes = dict(re.findall(r"^(Rss|Pss): +(\d+) kB", text, re.MULTILINE))
    return {key: int(sizes[field]) for field, key in (("Rss", "rss_kib"), ("Pss", "pss_kib")) if field in sizes}


def _belongs(process: Mapping[str, Any], group: str) -> bool:
    """Whether a process is in a control group, as /proc/PID/cgroup writes it.

    A zombie has left its own in the first hierarchies of cgroups(7), where its lines name the root; the second one
    remembers it, and many machines have both. Where no line is left its parent, which is alive, speaks for it.
    """
    lines = _group(process["pid"]).splitlines()
    if process["state"] == ZOMBIE:
        if kept := [line for line in lines if not line.endswith(":/")]:
            return set(kept) <= set(group.splitlines())
        lines = _group(process["ppid"]).splitlines()
    return lines == group.splitlines()


def _group(pid: int) -> str:
    try:
        folder = os.open(f"{PROC}/{pid}", os.O_PATH | os.O_DIRECTORY)
    except OSError:
        return ""
    try:
        return _read("cgroup", folder).decode()
    except OSError:
        return ""
    finally:
        os.close(folder)


def _read(file: str, folder: int) -> bytes:
    """The whole of a small file below ``folder``."""
    descriptor = os.open(file, os.O_RDONLY, dir_fd=folder)
    try:
        said = os.read(descriptor, PIECE)
        while len(said) % PIECE == 0 and (more := os.read(descriptor, PIECE)):  # longer than most
            said += more
        return said
    finally:
        os.close(descriptor)
