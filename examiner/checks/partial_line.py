"""Half a line holds nobody else up, and the last line is answered also without its newline."""

from examiner._check import Check
from examiner._connection import Connection
from examiner._exam import Exam, Failed
from examiner.checks._bytes import difference, shown

TAIL = b"the last line has no end"


def run(exam: Exam) -> str:
    """Send half a line and ask as somebody else; then end a connection in the middle of a line."""
    subject = exam.start()
    slow, other = exam.connect(subject), exam.connect(subject)
    exam.provoked(slow.served(), "a client is served")
    together = other.served()
    exam.provoked(slow.send(b"half a"), "half a line is sent")
    exam.provoked(subject.eventually(lambda: not subject.unread(slow)), "half a line is read")
    if together:
        exam.note("two clients are served at once; then the first sends half a line, which is read")
        if not other.served():
            for pid, process in subject.tree().items():
                exam.note(f"process {pid} is in state {process['state']}, in {subject.sleeps_in(pid) or 'user code'}")
            raise Failed("while one client has sent half a line, another one gets no answer")
    exam.provoked(slow.send(b" line\n"), "the rest of the line is sent")
    slow.receive(len(b"half a line\n"))  # whether it comes back as it was is for tiny-chunks to say
    slow.close()
    other.close()  # who serves one client after the other has not even accepted it yet
    if exam.service == "echo":
        _last_line(exam, exam.connect(subject))
    return "half a line holds nobody up, and no byte of it is lost"


def _last_line(exam: Exam, client: Connection) -> None:
    exam.provoked(client.served() and client.send(TAIL), "a line without its end is sent")
    client.half_close()
    back = client.receive(len(TAIL))
    exam.note(f"{shown(TAIL)} and FIN are sent; came back: {shown(back)}, then {client.ended or 'nothing'}")
    if back == TAIL:
        return
    raise Failed(
        f"the last line is lost when no newline ends it: {difference(TAIL, back)}",
        cause="Only whole lines are answered; what is in the buffer at the end of input is dropped.",
        mend="When read returns 0, first send what is left in the buffer, then close.",
    )


CHECK = Check(
    requirement="A client that has sent half a line keeps no other one waiting, and nothing of the line is lost.",
    reference="UNP 6.8 (a single byte stops a server that reads lines), 3.9; read(2)",
    expected="another client is answered meanwhile; a last line without newline comes back, too",
    cause="The server blocks until the line is complete (fgets, readline, a loop of reads, MSG_WAITALL), although it "
    "has others to serve.",
    mend="In an event loop read once what is there, keep the part of a line in the client's own buffer and go on; "
    "sockets are non-blocking: fcntl(fd, F_SETFL, O_NONBLOCK), in Python connection.setblocking(False).",
    group="breadth",
    where=r"\b(fgets|getline|readline|MSG_WAITALL|makefile)\b",
    follows=("half-close", "echo-bytes"),
    run=run,
)
