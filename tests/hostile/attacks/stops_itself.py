"""Tries to look idle for ever: listens, and stops itself."""

import os
import signal
import socket
import sys

with socket.create_server(("", int(sys.argv[1]))):
    while True:
        os.kill(os.getpid(), signal.SIGSTOP)
