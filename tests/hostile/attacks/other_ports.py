"""Tries to fill the report: listens on a thousand ports, and not on the one that it was given."""

import socket
import sys
import time

kept = [socket.create_server(("", port)) for port in range(21_000, 22_000) if port != int(sys.argv[1])]
time.sleep(1000)
