"""thread PORT: echoes, one thread for each connection. The good twin of every flaw of a threaded server in Python."""

import errno
import signal
import socket
import sys
import threading
import time

PAUSE = 0.02
stopping = False


def stop(*_):
    global stopping
    stopping = True
    listener.shutdown(socket.SHUT_RD)  # accept fails from now on, also one that is about to begin


def echo(connection):
    try:
        while data := connection.recv(4096):
            connection.sendall(data)
    except OSError:  # the client has reset the connection
        pass
    finally:
        connection.close()


def serve(connection):
    while not stopping:
        try:
            threading.Thread(target=echo, args=(connection,), daemon=True).start()
            return
        except RuntimeError:  # there is no room until a thread has ended
            time.sleep(PAUSE)
    connection.close()


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
