"""shutdown(SHUT_WR) says "that was all" and goes on listening; close() throws the answer away.

Question: What does shutdown(SHUT_WR) promise?

Theory: All bytes written before it arrive, then FIN: the server reads end of file and can still answer, for a
connection has two directions. After close() there is nobody to receive: the kernel meets the answer with RST, and the
server's next write fails with EPIPE.

Source: shutdown(2), close(2); RFC 9293 3.6; UNP 6.6; TLPI 61.2 and 61.6.6
"""

import errno
import socket

from demos._kernel import tcp_pair, tcp_state, unsent, until
from demos._show import Show

QUESTION = b"one\ntwo\nthree\n"
ANSWER = b"3 lines\n"


def main(show: Show) -> str:
    """Ask, end the asking in both ways, and let the server answer after it has read everything."""
    results = {}
    for how in ("close", "shutdown"):
        client, server = tcp_pair()
        client.sendall(QUESTION)
        if how == "close":
            client.close()
        else:
            client.shutdown(socket.SHUT_WR)
        asked = read_to_end(server)
        if how == "shutdown":
            until(lambda: tcp_state(client) == "FIN_WAIT2", "the server's kernel confirms the FIN")
        here = tcp_state(client) if how == "shutdown" else "closed"
        show(f"{how}: the server read {len(asked)} bytes, then end of file; client {here}, server {tcp_state(server)}")
        show.expect(asked == QUESTION, f"what was sent before {how} arrives whole")

        failed = answer(server)
        got = read_to_end(client) if how == "shutdown" else b""
        show(f"{how}: the server's answer: {failed or 'sent'}; the client got {got!r}")
        results[how] = (failed, got)
        client.close()

    show.measure(errors={how: failed for how, (failed, _) in results.items()}, received=results["shutdown"][1].decode())
    show.expect(results["close"][0] == "EPIPE", "after close the answer fails with EPIPE")
    show.expect(results["shutdown"] == ("", ANSWER), "after shutdown(SHUT_WR) the answer comes back whole")
    return "after shutdown(SHUT_WR) the whole answer came back, after close it met RST"


def read_to_end(connection: socket.socket) -> bytes:
    """All that comes until the other side's FIN, or RST."""
    said = b""
    try:
        while piece := connection.recv(4096):
            said += piece
    except ConnectionResetError:
        pass
    return said


def answer(server: socket.socket) -> str:
    """Answer in two pieces and close; the name of the error, if one came."""
    try:
        server.sendall(ANSWER[:1])  # succeeds in any case: the kernel only takes the bytes
        # Sent and confirmed, or answered with RST: then the state is CLOSE.
        until(lambda: tcp_state(server) == "CLOSE" or unsent(server) == 0, "the client's kernel answers")
        server.sendall(ANSWER[1:])
        return ""
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    finally:
        server.close()
