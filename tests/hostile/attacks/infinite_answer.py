"""Tries to fill the examiner's memory: sends to each client for ever, as fast as it can."""

import socket
import sys
import threading


def pour(connection):
    while True:
        connection.sendall(b"x" * (1 << 20))


with socket.create_server(("", int(sys.argv[1]))) as listener:
    while True:
        threading.Thread(target=pour, args=(listener.accept()[0],), daemon=True).start()
