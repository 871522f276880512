"""What an attack hides behind: an honest server that echoes, one thread for each client. Packed beside each attack."""

import os
import socket
import threading
from collections.abc import Callable


def beside(attack: Callable[[], object]) -> None:
    """Attack in a child of its own."""
    if os.fork() == 0:
        try:
            attack()
        finally:
            os._exit(0)


def serve(port: int) -> None:
    """Echo for ever."""
    with socket.create_server(("", port)) as listener:
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=_echo, args=(connection,), daemon=True).start()


def _echo(connection: socket.socket) -> None:
    with connection:
        while data := connection.recv(4096):
            connection.sendall(data)
