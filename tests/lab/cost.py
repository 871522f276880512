"""Runs in the probe: holds conversations with the server beside it, one after the other, and counts what they cost."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

COUNT = 100


def talk():
    """Connect, 32 bytes, their echo, close, and wait for the server's FIN."""
    with socket.create_connection(("127.0.0.1", 9190), timeout=30) as connection:
        connection.sendall(bytes(32))
        heard = 0
        while heard < 32:
            heard += len(connection.recv(32))
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1) == b""


def stat(pid):
    """Fields of proc_pid_stat(5), from field 3, the state, on."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def pids():
    """The processes that the server has beside its first one, zombies among them."""
    return Path(f"/proc/{server}/task/{server}/children").read_text().split()


def settle():
    """Until the number of children is again what it was before the first client."""
    deadline = time.monotonic() + 30
    while len(pids()) != resting:
        assert time.monotonic() < deadline, "a child stays"
        time.sleep(0.01)


def faults():
    """Page faults of the server and of the children it has waited for: fields 10 and 11."""
    fields = stat(server)
    return int(fields[7]) + int(fields[8])


def calls():
    """System calls for COUNT connections, by name, seen by strace(1)."""
    names: dict[str, int] = {}
    lines = os.memfd_create("calls")  # nothing here can be written but memory; a pipe nobody reads would stop strace
    traced = [word for pid in [server, *pids()] for word in ("-p", pid)]
    tracer = subprocess.Popen(["strace", "-f", "-qq", *traced], stderr=lines)
    while Path(f"/proc/{server}/status").read_text().find("TracerPid:\t0") >= 0:
        time.sleep(0.01)
    for _ in range(COUNT):
        talk()
    settle()
    tracer.send_signal(signal.SIGINT)
    tracer.wait()
    for line in Path(f"/proc/self/fd/{lines}").read_text().splitlines():
        if found := re.match(r"(?:\[pid +\d+\] )?(\w+)\(", line):
            names[found[1]] = names.get(found[1], 0) + 1
    return names


server = sys.argv[1]
resting = len(pids())
for _ in range(COUNT):
    talk()
settle()
before = faults()
for _ in range(COUNT):
    talk()
settle()
print(
    json.dumps(
        {
            "faults": (faults() - before) / COUNT,
            "mappings": len(Path(f"/proc/{server}/maps").read_text().splitlines()),
            "calls": {name: count / COUNT for name, count in calls().items()},
        }
    )
)
