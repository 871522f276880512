"""fork copies every descriptor, and TCP says FIN only when the last copy is closed.

Question: What does fork copy, and why must each side close?

Theory: Parent and child have descriptors of the same number that lead to the same socket. close takes one of them away;
the connection ends, and FIN is sent, when the last one is gone. So a parent that keeps its copy keeps the client
waiting, though the child that served it has long ended.

Source: fork(2), close(2), tcp(7); UNP 4.8; TLPI 24.2.1 and 60.3
"""

import os
import socket

from demos._kernel import row, tcp_pair, tcp_state, until
from demos._show import Show


def main(show: Show) -> str:
    """Serve one client with each kind of parent, and look at the client's end after the child has ended."""
    leaky, _ = serve(show, closes=False)
    correct, closed_first = serve(show, closes=True)
    show.measure(client_state_leaky=leaky, client_state_correct=correct)
    show.expect(leaky == "ESTABLISHED", "while the parent keeps its copy, the client gets no FIN")
    show.expect(closed_first == "ESTABLISHED", "the parent's close does not end the connection that the child serves")
    show.expect(correct == "CLOSE_WAIT", "when the last copy is closed, the client gets FIN")
    return "FIN came with the last close: CLOSE_WAIT where the parent had closed its copy, ESTABLISHED where not"


def serve(show: Show, *, closes: bool) -> tuple[str, str]:
    """Fork a child for a connection; the client's TCP state after the child's end, and while it still served."""
    client, connection = tcp_pair()
    go_on, gate = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(gate)
        client.close()  # in this program the client is in the same process; its copy goes as well
        serve_child(connection, go_on)

    until(lambda: client.recv(1, socket.MSG_PEEK) == b"b", "the child answers")
    number = connection.fileno()
    for pid in (os.getpid(), child):
        show(f"/proc/{pid}/fd/{number} -> {os.readlink(f'/proc/{pid}/fd/{number}')}")
    if closes:
        connection.close()  # the child has its own copy
    serving = tcp_state(client)

    os.close(gate)
    os.waitpid(child, 0)
    show(f"{row(child)}; the parent {'has closed' if closes else 'keeps'} its copy")
    if closes:
        until(lambda: tcp_state(client) == "CLOSE_WAIT", "FIN comes to the client when the child ends")
    state = tcp_state(client)
    show(f"the client's end of the connection: {state}")
    client.close()
    connection.close()
    return state, serving


def serve_child(connection: socket.socket, go_on: int) -> None:
    """Answer, stay until the parent has looked, and close."""
    connection.sendall(b"bye")
    os.read(go_on, 1)
    connection.close()
    os._exit(0)
