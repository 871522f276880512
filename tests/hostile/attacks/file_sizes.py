"""Tries to write a file without end, one with a hole of a terabyte, and a core dump."""

import os
import resource
import signal
import sys

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
said = []
try:
    with open("long", "wb") as file:
        while True:
            file.write(bytes(1 << 20))
except OSError as error:
    said.append(f"{os.path.getsize('long') >> 20} MiB, then {error.strerror}")
try:
    os.truncate("long", 1 << 40)
except OSError as error:
    said.append(error.strerror)
try:
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
except (OSError, ValueError) as error:
    said.append(str(error))
try:
    resource.setrlimit(resource.RLIMIT_CORE, (1 << 30,) * 2)
except (OSError, ValueError) as error:
    said.append(str(error))
print("; ".join(said))
sys.exit(3)
