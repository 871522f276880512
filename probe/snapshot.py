"""One look at the server: its processes, what they hold, and the connections, joined on the socket's inode."""

import os
import time
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from probe.processes import DETAILS, PROC, Found, Pins, look, server_tree
from probe.sockets import LISTEN, table

DEFAULT = frozenset(DETAILS) - {"memory"}
"""Memory costs more than all the rest together."""


def snapshot(details: frozenset[str] = DEFAULT, pins: Pins | None = None) -> dict[str, Any]:
    """Processes, descriptors and sockets of the server, and whether anything moved while they were read.

    Keys: time (CLOCK_MONOTONIC), server (PID of the main process), processes, descriptors, holders (of each socket and
    pipe, by its name such as ``socket:[4711]``: the pairs of PID and descriptor that hold it), sockets (each with its
    own ``holders``, the PIDs), source (of the sockets: sock_diag or proc), consistent.

    ``consistent`` says how far this is one moment. The kernel has no call that reads all at once, so sockets are read
    before and after the processes, and so is the list of processes; what began meanwhile is read too. Its keys: whole
    (nothing moved), seconds (how long it took), began and ended (PIDs), sockets: the ``remote`` of those that came,
    went, changed their state, were accepted, or had an inode and no holder, for they were on the way from one process
    to another, or are held by one that is not the server's. A connection that is not among them is held by all of its
    ``holders`` and by no other process, but for a copy that was closed meanwhile. A join is by inode, which the kernel
    does not give away twice, so also among those that moved no process is named that never held the socket.

    Args:
        details: which of DETAILS to read; without ``descriptors`` the lists descriptors and holders are empty.
        pins: keeps the processes open for the next snapshot.
    """
    pins = pins or Pins()
    begin = time.monotonic()
    _, before = table()
    first = _pids()
    everything = _look_at(first, details, pins)
    # A child that was forked meanwhile may be the only holder by now. It is read before the sockets are read again:
    # so a connection that is the same in both tables was open at every moment in between, in one of those read.
    second = _pids()
    orphans = {pid for pid, found in everything.items() if found.process["ppid"] in first - second}
    everything |= _look_at((second - first) | orphans, details, pins)
    source, after = table()
    last = _pids()
    pins.keep_only(last)
    began, ended = (second | last) - first, first - last
    everything = {pid: found for pid, found in everything.items() if pid in last}

    processes = server_tree(everything)
    held = [row for process in processes for row in everything[process["pid"]].descriptors]
    holders: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for row in held:
        if row["inode"] is not None:
            holders[row["target"]].append((row["pid"], row["fd"]))
    for row in after:
        row["holders"] = list(dict.fromkeys(pid for pid, _ in holders.get(f"socket:[{row['inode']}]", ())))

    moved = {remote for _, remote, _, _ in _identities(before) ^ _identities(after)}
    # accept(2) and close(2) each have a moment in which a socket has an inode and no process a descriptor for it.
    moved |= {row["remote"] for row in after if row["inode"] and not row["holders"] and row["state"] != LISTEN}
    everyone = "descriptors" in details
    return {
        "time": begin,
        "server": min(processes, key=lambda row: (row["start"], row["pid"]))["pid"] if processes else None,
        "processes": processes,
        "descriptors": held if everyone else [],
        "holders": holders if everyone else {},
        "sockets": after,
        "source": source,
        "consistent": {
            "whole": not (began or ended or moved),
            "seconds": time.monotonic() - begin,
            "began": sorted(began),
            "ended": sorted(ended),
            "sockets": sorted(moved),
        },
    }


def _pids() -> set[int]:
    """All but ourselves: of a thousand processes that are kept open we hold three thousand descriptors."""
    return {int(name) for name in os.listdir(PROC) if name.isdigit()} - {os.getpid()}


def _look_at(pids: Iterable[int], details: frozenset[str], pins: Pins) -> dict[int, Found]:
    return {pid: found for pid in pids if (found := look(pid, details, pins))}


def _identities(rows: Iterable[dict[str, Any]]) -> set[tuple[str, str, str, int]]:
    """What makes a socket the same at another moment; its queues may change."""
    return {(row["local"], row["remote"], row["state"], row["inode"]) for row in rows}
