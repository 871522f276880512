"""fork PORT: echoes, one process for each connection. The good twin of every flaw of a fork server in Python."""

import errno
import os
import signal
import socket
import sys
import time

PAUSE = 0.02
stopping = False


def reap(*_):
    try:
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass
    except ChildProcessError:
        pass


def stop(*_):
    global stopping
    stopping = True
    listener.shutdown(socket.SHUT_RD)  # accept fails from now on, also one that is about to begin


def echo(connection):
    while data := connection.recv(4096):
        connection.sendall(data)


def serve(connection):
    while not stopping:
        try:
            child = os.fork()
            break
        except BlockingIOError:  # EAGAIN: there is no room until a child has ended
            time.sleep(PAUSE)
    else:
        connection.close()
        return
    if child == 0:
        try:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            listener.close()
            echo(connection)
            connection.close()
        except OSError:  # the client has reset the connection
            pass
        finally:
            os._exit(0)
    connection.close()


def drain():
    listener.close()
    try:
        for _ in range(100):
            if os.waitpid(-1, os.WNOHANG) == (0, 0):
                time.sleep(PAUSE)
    except ChildProcessError:
        pass
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.kill(0, signal.SIGTERM)  # who still talks after two seconds


signal.signal(signal.SIGCHLD, reap)
signal.signal(signal.SIGTERM, stop)
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(("", int(sys.argv[1])))
listener.listen(128)
while not stopping:
    try:
        connection, _ = listener.accept()
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
            time.sleep(PAUSE)  # the client waits in the backlog; at once again would spin
        continue
    serve(connection)
drain()
