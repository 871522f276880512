"""Tries to be two: another process listens on the same port, with SO_REUSEPORT, and leaves."""

import os
import socket
import sys
import threading


def echo(connection):
    with connection:
        while data := connection.recv(4096):
            connection.sendall(data)


def serve():
    with socket.create_server(("", int(sys.argv[1])), reuse_port=True) as listener:
        while True:
            threading.Thread(target=echo, args=(listener.accept()[0],), daemon=True).start()


if os.fork() == 0:
    os.setsid()
    serve()
serve()
