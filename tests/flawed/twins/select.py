"""select PORT: echoes, all clients in one process. The good twin of every flaw of a server with select in Python."""

import errno
import select
import socket
import sys
import time

PAUSE = 0.02
FD_SETSIZE = 1024
waiting = {}  # connections, and what was read from them and not yet sent


def begin():
    try:
        connection, _ = listener.accept()
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
            time.sleep(PAUSE)  # the client waits in the backlog; at once again would spin
        return
    if connection.fileno() >= FD_SETSIZE:  # select has no room for it
        connection.close()
        return
    connection.setblocking(False)
    waiting[connection] = b""


def end(connection):
    connection.close()
    del waiting[connection]


def receive(connection):
    try:
        waiting[connection] = connection.recv(4096)
    except BlockingIOError:
        return
    except OSError:  # the client has reset the connection
        end(connection)
        return
    if not waiting[connection]:
        end(connection)


def answer(connection):
    try:
        sent = connection.send(waiting[connection])
    except BlockingIOError:
        return
    except OSError:  # the client has gone
        end(connection)
        return
    waiting[connection] = waiting[connection][sent:]


listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(("", int(sys.argv[1])))
listener.listen(1024)
listener.setblocking(False)
while True:
    reading = [connection for connection, data in waiting.items() if not data]
    writing = [connection for connection, data in waiting.items() if data]
    readable, writable, _ = select.select([listener, *reading], writing, [])
    for connection in readable:
        if connection is listener:
            begin()
        else:
            receive(connection)
    for connection in writable:
        answer(connection)
