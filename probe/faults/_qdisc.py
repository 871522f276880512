"""The queueing disciplines of the target's devices (tc(8)): one chain for all faults that use one.

A device has one root discipline. netem and tbf each have one class, :1, that another discipline can be put into, so
faults stand in a chain: the first is the root, the next its child. When one comes or goes the chain is made anew,
because a discipline takes its children with it. What waits in it at that moment is lost, as tc(8) always does.
"""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from probe.faults import _desk
from probe.faults._effect import Refused
from probe.faults._system import devices, tool

HANDLES = {
    "corrupt": "f0d1:",
    "duplicate": "f0d2:",
    "reorder": "f0d3:",
    "jitter": "f0d4:",
    "delay": "f0d5:",
    "rate": "f0d6:",
}
"""Which discipline is whose, in the order of the chain."""


class Taken(Refused):
    """A device has a root discipline that somebody else has put there."""


@contextmanager
def discipline(fault: str, *words: str) -> Iterator[None]:
    """Hold a discipline, such as ``netem delay 50ms``, on all devices of the target.

    Raises:
        Taken: somebody else's discipline is there; it stays.
        Refused: tc does not take the words; nothing has changed.
    """
    with _chain() as chain:
        _check(devices())
        try:
            _make({**chain, fault: list(words)})
        except Refused:
            _make(chain)
            raise
        chain[fault] = list(words)
    try:
        yield
    finally:
        with _chain() as chain:
            chain.pop(fault, None)
            _make(chain)


def sweep(held: set[str]) -> None:
    """Remove the disciplines of faults that are not ``held`` any more."""
    with _chain() as chain:
        for fault in set(chain) - held:
            del chain[fault]
        _make(chain)


def present() -> set[str]:
    """The faults whose disciplines are there, with or without somebody who holds them."""
    faults = {handle: fault for fault, handle in HANDLES.items()}
    return {faults[row["handle"]] for device in devices() for row in _show(device) if row["handle"] in faults}


def _check(names: list[str]) -> None:
    for device in names:
        for row in _show(device):
            # Handle 0: is what the kernel itself has put there.
            if row.get("root") and row["handle"] not in ("0:", *HANDLES.values()):
                raise Taken(
                    f"{device} has the queueing discipline {row['kind']} {row['handle']} which is not forklab's; "
                    f"remove it: tc qdisc del dev {device} root"
                )


def _show(device: str) -> list[dict[str, str]]:
    found: list[dict[str, str]] = json.loads(tool("tc", "-j", "qdisc", "show", "dev", device))
    return found


def _make(chain: dict[str, list[str]]) -> None:
    for device in devices():
        if any(row.get("root") and row["handle"] in HANDLES.values() for row in _show(device)):
            tool("tc", "qdisc", "del", "dev", device, "root")
        place = ["root"]
        for fault in sorted(chain, key=list(HANDLES).index):
            tool("tc", "qdisc", "add", "dev", device, *place, "handle", HANDLES[fault], *chain[fault])
            place = ["parent", f"{HANDLES[fault]}1"]


@contextmanager
def _chain() -> Iterator[dict[str, list[str]]]:
    """The disciplines of this network namespace, for one process at a time; what is changed in the block is kept."""
    namespace = os.stat("/proc/self/ns/net").st_ino
    with _open(_desk.folder() / f"chain-{namespace}") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        chain: dict[str, list[str]] = json.loads(file.read() or "{}")
        yield chain
        file.seek(0)
        file.truncate()
        file.write(json.dumps(chain))


def _open(path: Path) -> IO[str]:
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+")
