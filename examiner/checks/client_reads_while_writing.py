"""The client reads while it has nothing to write, writes while it has nothing to read, and reads while it cannot write.

Whether it reads, its receive queue tells: what its own standard output holds back does not matter.
"""

from examiner._check import Check
from examiner._client import Client
from examiner._exam import Exam, Failed, Warned

NEWS = b"news from the server\n"
LINES = b"".join(b"line %d\n" % number for number in range(5))
PIECE = b"typed faster than it is read\n" * 2000
MOST = 32 << 20
"""More than the buffers of a connection can hold (tcp_wmem and tcp_rmem of tcp(7))."""


def run(exam: Exam) -> str:
    """A server that speaks first, one that is silent, one that does not read."""
    client = exam.meet()
    _reads(exam, client, "while nothing is typed")
    for line in LINES.splitlines(keepends=True):
        exam.provoked(client.type(line), "lines are typed")
    arrived = client.wire.receive(len(LINES))
    count = len(arrived.splitlines())
    exam.note(f"{len(LINES.splitlines())} lines are typed, the server says nothing: {count} arrive")
    exam.expect(
        arrived == LINES,
        f"{count} of 5 lines arrive while the server says nothing: it waits for an answer",
    )
    _cannot_write(exam, client)
    _reads(exam, client, "while it cannot write, for the server does not read")
    if not client.prints(NEWS):
        raise Warned(
            "it reads at once, but what it has read stays in the buffer of its standard output",
            cause="stdio and print buffer whole blocks when standard output is no terminal (setbuf(3)).",
            mend="write(1, …) at once, or fflush(stdout) after each piece; in Python print(…, flush=True).",
        )
    return "it reads and writes whenever there is something, whatever the other direction does"


def _reads(exam: Exam, client: Client, when: str) -> None:
    exam.provoked(client.wire.send(NEWS), "the server sends a line")
    read = client.reads_all()
    exam.note(f"the server sends a line {when}: {client.unread(client.wire)} bytes of it stay unread")
    if read:
        return
    for pid, process in client.tree().items():
        exam.note(f"process {pid}, state {process['state']}, sleeps in {client.sleeps_in(pid) or 'no function'}")
    raise Failed(f"it does not read {when}")


def _cannot_write(exam: Exam, client: Client) -> None:
    """Type, and leave what arrives alone, until the client takes no more."""
    client.wire.paused = True
    before = client.typed
    while client.type(PIECE) and client.typed - before < MOST:
        pass
    took = client.typed - before
    exam.provoked(took < MOST, "the client can write no more")
    exam.note(f"{took} bytes are typed, of which the server reads none; then the client takes no more")


CHECK = Check(
    requirement="The client reads from the server at any time, whatever its user types, and sends at any time.",
    reference="UNP 6.2-6.4, 16.2 (a client in two processes); TLPI 61.4; fork(2), select(2)",
    expected="its receive queue is read empty in all three cases, and five lines arrive without an answer",
    cause="One process does both in turn: while it sleeps in a read of standard input it does not see the socket, "
    "and the other way round.",
    mend="One process for each direction: after connect fork; the child copies standard input to the socket, the "
    "parent the socket to standard output. Or one process with select or poll over both, that never blocks in write.",
    group="client",
    where=r"\b(fgets|getline|scanf|read|recv|input|readline)\s*\(",
    follows=("client-bytes",),
    run=run,
)
