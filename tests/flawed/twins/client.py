"""client HOST PORT: the parent copies the socket to standard output, the child standard input to the socket.

The good twin of every flaw of a client in Python.
"""

import os
import signal
import socket
import sys


def write_out():
    try:
        while data := connection.recv(4096):
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
    except OSError:
        return 1
    return 0


def send_in():
    try:
        while data := os.read(0, 4096):
            connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)  # FIN now, although the parent has the socket, too
    except OSError:
        return 1
    return 0


if len(sys.argv) != 3:
    sys.exit(f"usage: {sys.argv[0]} HOST PORT")
try:
    connection = socket.create_connection((sys.argv[1], int(sys.argv[2])))
except OSError as error:
    sys.exit(f"client: {sys.argv[1]} port {sys.argv[2]}: {error.strerror}")
child = os.fork()
if child == 0:
    code = 1
    try:
        code = send_in()
    finally:
        os._exit(code)
ended = write_out()
os.kill(child, signal.SIGTERM)  # it may sleep in a read of standard input; does nothing if it has ended
_, status = os.waitpid(child, 0)
if ended or status:
    sys.exit("client: the server has closed the connection")
