"""Tries to fill each place where it may write, and leaves it so."""

import os
import sys

from honest import serve

for place in (".", "/tmp", "/dev/shm", "/dev/mqueue", f"{os.getcwd()}/.."):
    for number in range(100):
        try:
            with open(f"{place}/full{number}", "wb") as file:
                while True:
                    file.write(bytes(1 << 20))
        except OSError:
            continue
serve(int(sys.argv[1]))
