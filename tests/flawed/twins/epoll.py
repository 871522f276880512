"""epoll PORT: echoes, one process for all connections. The good twin of every flaw of an epoll server in Python."""

import errno
import select
import signal
import socket
import sys
import time

ROOM = 4096
PAUSE = 0.02
stopping = False
clients = {}
left = {}  # what was read of a connection and not yet written back; while there is some, nothing more is read


def stop(*_):
    global stopping
    stopping = True


def take():
    try:
        connection, _ = listener.accept()
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
            time.sleep(PAUSE)  # the client waits in the backlog; at once again would spin
        return
    connection.setblocking(False)
    clients[connection.fileno()], left[connection.fileno()] = connection, b""
    poller.register(connection, select.EPOLLIN)


def drop(fd):
    clients.pop(fd).close()
    del left[fd]


def talk(fd):
    try:
        data = left[fd] or clients[fd].recv(ROOM)
        if not data:
            return drop(fd)
        left[fd] = data
        left[fd] = data[clients[fd].send(data) :]
    except BlockingIOError:
        pass
    except OSError:  # the client has reset the connection
        return drop(fd)
    poller.modify(fd, select.EPOLLOUT if left[fd] else select.EPOLLIN)


signal.signal(signal.SIGTERM, stop)
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.setblocking(False)
listener.bind(("", int(sys.argv[1])))
listener.listen(128)
poller = select.epoll()
poller.register(listener, select.EPOLLIN)
while not stopping:
    for fd, _ in poller.poll(1):
        if fd == listener.fileno():
            take()
        elif fd in clients:
            talk(fd)
