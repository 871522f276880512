"""One look at the server: its processes, what they hold, and the connections, joined on the socket's inode."""

import time
from collections import defaultdict
from typing import Any

from probe.processes import descriptors, server_tree
from probe.sockets import sockets


def snapshot() -> dict[str, Any]:
    """Keys: time (CLOCK_MONOTONIC), server (PID of the main process), processes, descriptors, sockets.

    Each socket carries ``holders``, the PIDs that have a descriptor for it.
    """
    now = time.monotonic()
    server, processes = server_tree()
    held = [descriptor for process in processes for descriptor in descriptors(process["pid"])]
    holders: dict[int, list[int]] = defaultdict(list)
    for descriptor in held:
        if descriptor["kind"] == "socket" and descriptor["pid"] not in holders[descriptor["inode"]]:
            holders[descriptor["inode"]].append(descriptor["pid"])
    connections = [row | {"holders": holders.get(row["inode"], [])} for row in sockets()]
    return {"time": now, "server": server, "processes": processes, "descriptors": held, "sockets": connections}
