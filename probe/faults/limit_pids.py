"""Leave the server room for a few more processes, or for none: fork(2) and new threads then fail with EAGAIN.

The limit itself is the one the container has (pids_limit, the pids controller of cgroups(7)). All places but ``room``
are taken by threads that sleep, in a process beside the server, so the kernel's refusal is a true one. A process of
the server that ends makes room for another.

While no place is left the container's health check cannot run either, so docker may call it unhealthy.

Sources: cgroups(7); Documentation/admin-guide/cgroup-v2.rst, PID; fork(2), EAGAIN.
"""

import os
import select
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from probe.faults._effect import Effect
from probe.faults._who import send

PARAMETERS = {
    "room": {
        "unit": "count",
        "default": "0",
        "least": "0",
        "most": "1000",
        "help": "how many more processes the server may have",
    }
}
TARGETS = ("server",)
PLACE = "server"
PATIENCE = 5.0


@contextmanager
def hold(room: int, inside: dict[str, Any]) -> Iterator[Effect]:
    """Hold the process that has taken the places, which ``inside`` tells about."""
    did = f"{inside['taken']} of {inside['limit']} places for processes are taken, {room} are free"
    handle = os.pidfd_open(inside["pid"])
    gone = False

    def watch() -> None:
        nonlocal gone
        gone = True

    try:
        yield Effect("pids controller", did, lambda: inside, {handle: watch}, over=lambda: gone)
    finally:
        if send(inside["pid"], signal.SIGTERM):
            select.select([handle], [], [], PATIENCE)
        os.close(handle)
