"""CPython's ThreadingTCPServer, as its documentation has it."""

import socketserver
import sys


class Echo(socketserver.StreamRequestHandler):
    def handle(self):
        while data := self.request.recv(4096):
            self.request.sendall(data)


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True


with Server(("", int(sys.argv[1])), Echo) as server:
    server.serve_forever()
