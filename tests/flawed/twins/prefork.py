"""prefork PORT: echoes, by a pool of processes. The good twin of every flaw of a preforked server in Python."""

import errno
import os
import signal
import socket
import sys
import time

WORKERS = 8
PAUSE = 0.02
stopping = False


def stop(*_):
    global stopping
    stopping = True
    listener.shutdown(socket.SHUT_RD)  # the socket is one for all: accept fails in each worker
    signal.alarm(2)


def end_all(*_):
    os.kill(0, signal.SIGTERM)  # who still talks after two seconds


def echo(connection):
    while data := connection.recv(4096):
        connection.sendall(data)


def work():
    while True:
        try:
            connection, _ = listener.accept()
        except OSError as error:
            if error.errno == errno.EINVAL:  # the parent has shut the listener down
                return
            time.sleep(PAUSE)  # EMFILE: the client waits in the backlog; at once again would spin
            continue
        try:
            with connection:
                echo(connection)
        except OSError:  # the client has reset the connection
            pass


def start_worker():
    while not stopping:
        try:
            child = os.fork()
        except BlockingIOError:  # EAGAIN: there is no room for another process
            time.sleep(PAUSE)
            continue
        if child == 0:
            try:
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                signal.signal(signal.SIGALRM, signal.SIG_DFL)
                work()
            finally:
                os._exit(0)
        return


signal.signal(signal.SIGTERM, stop)
signal.signal(signal.SIGALRM, end_all)
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(("", int(sys.argv[1])))
listener.listen(128)
for _ in range(WORKERS):
    start_worker()
while True:
    try:
        os.wait()
    except ChildProcessError:
        break
    start_worker()
