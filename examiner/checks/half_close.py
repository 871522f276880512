"""A client that has sent everything, and says so, still gets its answer.

The server is stopped while a client sends lines and then FIN (shutdown(2) with SHUT_WR): so the server finds data and
end of file together, in every run. It must answer all of it before it closes.
"""

from examiner._check import Check
from examiner._exam import Exam, Inconclusive
from examiner._subject import Subject

LINES = b"".join(b"forklab half %04d %s\n" % (number, b"." * 40) for number in range(256))
"""Less than the receive buffer of a socket at its beginning (tcp(7), tcp_rmem)."""


def run(exam: Exam) -> str:
    """Send all, half-close, and see what comes back, and whether it ends."""
    subject = exam.start()
    (client,) = exam.clients(subject, 1)
    servants = subject.held_by(client)
    with subject.frozen():
        sent = client.send(LINES)
        client.half_close()
        row = next((row for row in subject.sockets() if row["remote"] == client.local), None)
        waiting = bool(sent and row and row["state"] == "CLOSE_WAIT")
    exam.provoked(waiting, "the server finds data and end of file together")
    assert row
    exam.note(f"while it was stopped: {row['local']} to {client.local} is CLOSE_WAIT, {row['rx_queue']} bytes to read")
    came = client.receive(len(LINES))
    exam.note(f"{len(came)} of {len(LINES)} bytes came back after the half-close")
    end = client.await_end()
    exam.note(f"then came {end or 'nothing, no end either'}")
    exam.expect(came == LINES, f"{_amount(came)} came back of {len(LINES)} bytes sent before the half-close")
    if not end:
        _blame(subject, servants, subject.held_by(client))
    exam.expect(end, "all bytes came back, but then the server did not close the connection")
    return f"all {len(LINES)} bytes came back, then {end}"


def _blame(subject: Subject, servants: set[int], held: set[int]) -> None:
    """Whether the one that served has closed its copy, and only others keep the connection open."""
    if held and not held & (servants - {subject.pid}) and servants - {subject.pid}:
        raise Inconclusive("the child has closed the connection, but its parent has not; see parent-keeps-client-fd")


def _amount(came: bytes) -> str:
    return f"only {len(came)}" if LINES.startswith(came) else f"{len(came)} other"


CHECK = Check(
    requirement="After a client's end of file the server answers what it has received, and then closes.",
    reference="shutdown(2), recv(2), RFC 9293 3.6; UNP 6.5-6.6; TLPI 61.2",
    expected="every byte that was sent before shutdown(SHUT_WR) comes back, then end of file",
    cause="End of file is taken for the end of everything: what was received before is thrown away, or the connection "
    "is never closed after read returned 0.",
    mend="Read until 0 comes back, write all that was read, only then close. POLLRDHUP says that the client sends no "
    "more, not that it does not read. In Python: go on until recv() returns b'', sendall() each piece, then close().",
    where=r"POLLRDHUP|EPOLLRDHUP|POLLHUP|\b(read|recv)\s*\(",
    run=run,
)
