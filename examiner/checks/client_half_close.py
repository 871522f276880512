"""At the end of its input the client sends FIN, goes on reading, and prints everything until the server's FIN."""

from examiner._check import Check
from examiner._exam import Exam, Failed

LAST = b"".join(b"what the server says after the end of input, line %d\n" % number for number in range(4000))


def run(exam: Exam) -> str:
    """End the input, wait for FIN, let it come to rest, send the rest, close."""
    client = exam.meet()
    exam.provoked(client.type(b"the last line\n"), "a line is typed")
    exam.provoked(client.wire.receive(14) == b"the last line\n", "the last line arrives")
    client.end_input()
    ended = client.wire.await_end()
    holders = client.holders_of_its_end()
    exam.note(f"end of input; the server sees {ended or 'no end'}; the client's end is held by {holders or 'nobody'}")
    exam.expect(ended != "RST", "at the end of its input it resets the connection (RST)")
    if not ended:
        raise Failed(
            f"at the end of its input it sends no FIN; processes {holders} still hold the connection",
            cause="close sends FIN only when nobody else holds the socket; the other process has a copy of it.",
            mend="shutdown(fd, SHUT_WR) in the process that writes; in Python connection.shutdown(socket.SHUT_WR).",
        )
    client.at_rest()
    before = len(client.printed)
    sent = client.wire.send(LAST)
    client.wire.close()
    printed = client.prints(LAST)
    got = len(client.printed) - before
    exam.note(f"{len(LAST)} bytes are sent after its FIN, then FIN: {got} are printed; {client.status()}")
    exam.expect(sent and printed, f"of {len(LAST)} bytes that the server sends after its FIN {got} are printed")
    exam.expect(client.ends(), "it does not end after both sides have sent FIN; see also client-server-gone")
    return f"it sends FIN, prints {len(LAST)} more bytes, and ends; {client.status()}"


CHECK = Check(
    requirement="At the end of its input the client half-closes, and reads until the server closes.",
    reference="shutdown(2); RFC 9293, 3.6; UNP 6.6; TLPI 61.2",
    expected="FIN at the server, then everything that it still sends on standard output",
    cause="The client closes or exits when its input ends; what is on its way then is answered with RST.",
    mend="shutdown(fd, SHUT_WR) when read of standard input returns 0, and go on reading the socket until it returns "
    "0, too; in Python connection.shutdown(socket.SHUT_WR).",
    group="client",
    where=r"\b(shutdown|close|exit|_exit)\s*\(",
    follows=("client-reads-while-writing",),
    run=run,
)
