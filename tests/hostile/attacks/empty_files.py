"""Tries to fill memory with files that have no content, wherever it may write."""

import os
import sys

from honest import serve

for place in (".", "/tmp", "/dev/shm", "/run/subject/lane0"):
    number = 0
    try:
        while number < 400_000:
            os.close(os.open(f"{place}/{number}", os.O_CREAT | os.O_WRONLY))
            number += 1
    except OSError as error:
        print(place, number, error.strerror)
serve(int(sys.argv[1]))
