"""Tries to keep the examiner waiting: accepts, reads nothing, says nothing, stays."""

import socket
import sys

with socket.create_server(("", int(sys.argv[1]))) as listener:
    kept = []
    while True:
        kept.append(listener.accept())
