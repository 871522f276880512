"""forking_tcpserver.py PORT: socketserver.ForkingTCPServer, what CPython offers for a process a connection.

Set as a user with many clients must set it: the backlog is 5 otherwise, and 40 children the most.
"""

import socketserver
import sys


class Echo(socketserver.BaseRequestHandler):
    """Sends back each byte."""

    def handle(self) -> None:
        """Echo until the client's FIN."""
        while data := self.request.recv(65536):
            self.request.sendall(data)


class Server(socketserver.ForkingTCPServer):
    """For many clients at once."""

    request_queue_size = 4096
    allow_reuse_address = True
    max_children = 100000


with Server(("", int(sys.argv[1])), Echo) as server:
    server.serve_forever()
