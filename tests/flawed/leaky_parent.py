"""A fork server with one fault: the parent keeps its copy of each connection, so no FIN of a child ever leaves.

The child echoes until its client has closed, or until a line ``bye``, at which it closes first.
"""

import os
import signal
import socket
import sys

signal.signal(signal.SIGCHLD, lambda *_: os.waitpid(-1, os.WNOHANG))

port = next((int(word) for word in sys.argv[1:] if word.isdigit()), 9190)
with socket.create_server(("", port)) as listener:
    kept = []
    while True:
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            while (data := connection.recv(1024)) and not data.endswith(b"bye\n"):
                connection.sendall(data)
            connection.close()
            os._exit(0)
        kept.append(connection)  # the fault: close() is missing
