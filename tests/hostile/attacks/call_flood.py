"""Tries to drown whoever traces it: a thread calls the kernel without end."""

import select
import sys
import threading

from honest import serve


def call():
    while True:
        select.select([], [], [], 0)


threading.Thread(target=call, daemon=True).start()
serve(int(sys.argv[1]))
