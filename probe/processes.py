"""The server's processes and their descriptors, from /proc (proc(5))."""

import os
import re
from pathlib import Path
from typing import Any

PROC = Path("/proc")
INIT = 1
TICKS = os.sysconf("SC_CLK_TCK")
INIT_PROGRAMS = {"docker-init", "tini", "podman-init", "catatonit"}
"""What ``init: true`` puts before the server as PID 1."""

KINDS = {"socket": "socket", "pipe": "pipe", "anon_inode": "anon"}


def process(pid: int) -> dict[str, Any] | None:
    """One process, or None when it has gone meanwhile.

    Keys: pid, ppid, state (a letter of proc_pid_stat(5)), name, command, start (seconds since boot), threads,
    rss_kib and pss_kib (None where it has no memory any more: a zombie).
    """
    folder = PROC / str(pid)
    try:
        stat = (folder / "stat").read_text()
        argv = (folder / "cmdline").read_bytes()
    except OSError:
        return None
    # The name stands in brackets and may hold brackets and blanks itself: the last one closes it.
    name = stat[stat.index("(") + 1 : stat.rindex(")")]
    fields = stat[stat.rindex(")") + 2 :].split()  # fields[0] is field 3 of proc_pid_stat(5), the state
    memory = _memory(folder)
    return {
        "pid": pid,
        "ppid": int(fields[1]),
        "state": fields[0],
        "name": name,
        "command": argv.rstrip(b"\0").replace(b"\0", b" ").decode(errors="replace"),
        "start": int(fields[19]) / TICKS,
        "threads": int(fields[17]),
        "rss_kib": memory.get("Rss"),
        "pss_kib": memory.get("Pss"),
    }


def _memory(folder: Path) -> dict[str, int]:
    try:
        text = (folder / "smaps_rollup").read_text()
    except OSError:  # ESRCH: a zombie has no memory; ENOENT: gone, or a kernel before 4.14
        return {}
    return {key: int(kib) for key, kib in re.findall(r"^(\w+): +(\d+) kB", text, re.MULTILINE)}


def descriptors(pid: int) -> list[dict[str, Any]]:
    """What a process holds: pid, fd, kind, target and, for sockets and pipes, the inode that is the same in all."""
    held = []
    try:
        numbers = os.listdir(PROC / str(pid) / "fd")
    except OSError:
        return []
    for fd in sorted(map(int, numbers)):
        try:
            target = os.readlink(PROC / str(pid) / "fd" / str(fd))
        except OSError:  # closed meanwhile
            continue
        kind, _, rest = target.partition(":")
        inode = int(rest[1:-1]) if kind in ("socket", "pipe") else None
        held.append({"pid": pid, "fd": fd, "kind": KINDS.get(kind, "file"), "target": target, "inode": inode})
    return held


def server_tree() -> tuple[int | None, list[dict[str, Any]]]:
    """The server's main process and all of its processes.

    Its own are the descendants of PID 1 in the control group of PID 1. That leaves out the init itself, the health
    check and everything of the probe: those entered the namespace from outside (PPid 0), and an orphan of theirs that
    PID 1 has inherited is still in another group.
    """
    everything = {
        pid: found for pid in map(int, filter(str.isdigit, os.listdir(PROC))) if (found := process(pid)) is not None
    }
    group = _group(INIT)
    tree = [
        found
        for pid, found in sorted(everything.items())
        if _descends(pid, everything) and _group(_living(found)) == group and not _is_init(found)
    ]
    main = min(tree, key=lambda found: (found["start"], found["pid"]), default=None)
    return (main["pid"] if main else None), tree


def _descends(pid: int, everything: dict[int, dict[str, Any]]) -> bool:
    while pid != INIT and pid in everything:
        pid = everything[pid]["ppid"]
    return pid == INIT


def _living(found: dict[str, Any]) -> int:
    """Whose control group to ask for: a zombie has left its own (cgroups(7)), its parent is alive and still has one."""
    return int(found["ppid"] if found["state"] == "Z" else found["pid"])


def _is_init(found: dict[str, Any]) -> bool:
    return found["pid"] == INIT and found["name"] in INIT_PROGRAMS


def _group(pid: int) -> str:
    try:
        return (PROC / str(pid) / "cgroup").read_text()
    except OSError:
        return ""
