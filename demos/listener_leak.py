"""A child that keeps the listener keeps the port: the server cannot be started again.

Question: Why can the restarted server not bind?

Theory: The child has a copy of the listening socket. When the parent ends, that copy keeps the socket in LISTEN, and
bind fails with EADDRINUSE, SO_REUSEADDR or not: it helps against old connections in TIME_WAIT, not against a listener.
Clients that connect are even accepted by the kernel, and nobody serves them.

Source: bind(2), socket(7); UNP 4.8 and 7.5; TLPI 60.3 and 61.10
"""

import errno
import os
import socket

from demos._kernel import state, tcp_state, until
from demos._show import Show


def main(show: Show) -> str:
    """End a server while its child lives, and start it again on its port."""
    results = {}
    for closes in (False, True):
        port, child, number, gate = server_with_child(closes=closes)
        what = "closed" if closes else "kept"
        show(f"the server has ended; its child {child} ({what} the listener) holds: {held(child, number)}")
        results[what] = bind(port)
        show(f"bind to port {port} again: {results[what]}")
        if not closes:
            # The kernel completes the handshake by itself, as long as the backlog has room (listen(2)).
            with socket.create_connection(("127.0.0.1", port)) as client:
                show(f"a client connects to port {port}: {tcp_state(client)}, and nobody will ever accept it")
        os.close(gate)
        until(lambda: state(child) in ("", "Z"), "the child ends")
        if not closes:
            results["after"] = bind(port)
            show(f"bind after the end of the child: {results['after']}")
    show.measure(**results)
    show.expect(results["kept"] == "EADDRINUSE", "a child that kept the listener keeps the port taken")
    show.expect(results["after"] == "ok", "with the child's end the port is free")
    show.expect(results["closed"] == "ok", "the port is free if the child closed the listener")
    return "EADDRINUSE as long as a child held the listener"


def server_with_child(*, closes: bool) -> tuple[int, int, int, int]:
    """Start a server that forks a child and ends; port, the child, the listener's number, what to close to end it."""
    told, tell = os.pipe()
    go_on, gate = os.pipe()
    server = os.fork()
    if server == 0:
        os.close(gate)
        listener = socket.create_server(("127.0.0.1", 0))  # sets SO_REUSEADDR
        child = os.fork()
        if child == 0:
            if closes:
                listener.close()
            os.write(tell, b" ready")
            os.read(go_on, 1)  # serves its client, so to say
            os._exit(0)
        os.write(tell, f" {listener.getsockname()[1]} {child} {listener.fileno()}".encode())
        os._exit(0)  # a server that was killed, or is to be restarted
    os.waitpid(server, 0)
    os.close(tell)
    said = b""
    while b"ready" not in said or len(said.split()) < 4:
        said += os.read(told, 100)
    port, child, number = (int(word) for word in said.split() if word != b"ready")
    return port, child, number, gate


def held(pid: int, number: int) -> str:
    """What a descriptor of a process leads to."""
    try:
        return os.readlink(f"/proc/{pid}/fd/{number}")
    except FileNotFoundError:
        return "nothing"


def bind(port: int) -> str:
    """Try to open a listener on the port, as the restarted server would."""
    try:
        socket.create_server(("127.0.0.1", port)).close()
        return "ok"
    except OSError as error:
        return errno.errorcode[error.errno or 0]
