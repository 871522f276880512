"""Tries to take the ports that the checks use: listens on as many of 20000 to 29999 as there are descriptors for."""

import contextlib
import os
import resource
import socket
import sys
import time

from honest import beside, serve

PROCESSES = 4


def take(first):
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    held = []
    for port in range(first, 30_000, PROCESSES):
        if port != int(sys.argv[1]):
            with contextlib.suppress(OSError):
                held.append(socket.create_server(("", port)))
    os.write(writer, b"x")
    time.sleep(1000)


reader, writer = os.pipe()
for first in range(PROCESSES):
    beside(lambda first=first: take(20_000 + first))
for _ in range(PROCESSES):
    os.read(reader, 1)
serve(int(sys.argv[1]))
