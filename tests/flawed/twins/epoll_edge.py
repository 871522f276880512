"""epoll_edge PORT: echoes, one process for all connections, edge-triggered. The good twin of such a server's flaws."""

import errno
import os
import select
import signal
import socket
import sys

SIZE = 4096
MOST = 64  # clients at once; the others wait in the backlog
EVENTS = select.EPOLLIN | select.EPOLLOUT | select.EPOLLET
stopping = False
accepting = False
clients: dict[int, tuple[socket.socket, bytearray]] = {}


def stop(*_):
    global stopping
    stopping = True
    listener.shutdown(socket.SHUT_RD)  # makes the listener ready, also for a wait that is about to begin
    signal.alarm(2)


def give_up(*_):
    os._exit(0)  # who still talks after two seconds ends with us


def accept_again():
    global accepting
    loop.register(listener, select.EPOLLIN)
    accepting = True


def pause():
    global accepting
    loop.unregister(listener)  # it would be ready again at once
    accepting = False


def accept_one():
    try:
        connection, _ = listener.accept()
    except OSError as error:
        if stopping or error.errno in (errno.EMFILE, errno.ENFILE):
            pause()
        return
    connection.setblocking(False)
    clients[connection.fileno()] = connection, bytearray()
    loop.register(connection, EVENTS)
    if len(clients) == MOST:
        pause()


def leave(connection):
    del clients[connection.fileno()]
    connection.close()
    if not accepting and not stopping:
        accept_again()


def pump(connection, unsent):
    """Reads only what it could send: whoever does not read is not read from, and costs one buffer."""
    try:
        while True:
            while unsent:
                del unsent[: connection.send(unsent)]
            data = connection.recv(SIZE)
            if not data:
                break
            unsent += data
    except BlockingIOError:
        return
    except OSError:  # the client has reset the connection
        pass
    leave(connection)


signal.signal(signal.SIGTERM, stop)
signal.signal(signal.SIGALRM, give_up)
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(("", int(sys.argv[1])))
listener.listen(128)
listener.setblocking(False)
loop = select.epoll()
accept_again()
while not stopping or clients:
    for fd, _ in loop.poll():
        if fd == listener.fileno():
            accept_one()
        elif fd in clients:
            pump(*clients[fd])
