"""store_fork PORT: echoes lines, one process for each connection, and records them in store.log.

Each child writes to a pipe, a recorder process reads it. The good twin of every flaw of a store in Python.
"""

import errno
import fcntl
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


def write_all(descriptor, data):
    while data:
        data = data[os.write(descriptor, data) :]


def record():
    file = os.open("store.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it ends when the last writer has
    os.close(write_end)
    while data := os.read(read_end, 4096):
        write_all(file, data)
    os._exit(0)


def store(line):
    fcntl.lockf(lock, fcntl.LOCK_EX)  # a write of more than PIPE_BUF bytes is not atomic (pipe(7))
    try:
        write_all(write_end, line if line.endswith(b"\n") else line + b"\n")
    finally:
        fcntl.lockf(lock, fcntl.LOCK_UN)


def echo(connection):
    for line in connection.makefile("rb"):
        store(line)
        connection.sendall(line)


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
        except OSError:  # the client has reset the connection, or the recorder is dead
            pass
        finally:
            os._exit(0)
    connection.close()


def drain():
    listener.close()
    os.close(write_end)  # the recorder sees end of file when the last child has ended, too
    try:
        os.waitpid(recorder, 0)
    except ChildProcessError:
        pass


read_end, write_end = os.pipe()
lock = os.open("store.lock", os.O_RDWR | os.O_CREAT, 0o644)
recorder = os.fork()
if recorder == 0:
    record()
os.close(read_end)
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
