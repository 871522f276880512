"""A server that was ended can be started again at once, on the same port.

It is killed while a client is connected; when the client closes, too, the server's end stays in TIME_WAIT for a minute.
As long as a connection of the port is there, only a listener with SO_REUSEADDR can be bound.
"""

import signal

from examiner._check import Check
from examiner._exam import Exam
from examiner._subject import DoesNotListen

STATE = "TIME_WAIT"


def run(exam: Exam) -> str:
    """Kill it under a client, start it again."""
    subject = exam.start(survives=False)
    (client,) = exam.clients(subject, 1)
    subject.kill(signal.SIGKILL)
    subject.end()
    exam.provoked(client.await_end() == "FIN", "the client's connection ends when the server is killed")
    client.close()
    rows = exam.rows(subject.port, STATE)
    exam.provoked(rows, f"the server's end of the connection is in {STATE}")
    exam.note(f"{rows[0]['local']} to {rows[0]['remote']} is in {STATE}, and no process listens")
    try:
        exam.launch(port=subject.port)
    except DoesNotListen as error:
        exam.evidence += error.evidence
        exam.provoked(exam.rows(subject.port, STATE), f"{STATE} is still there when the server starts again")
        exam.expect(False, f"started again, it does not listen: {error}")
    exam.provoked(exam.rows(subject.port, STATE), f"{STATE} is still there when the server listens again")
    return f"it listens again while a connection of its port is in {STATE}"


CHECK = Check(
    requirement="A server can be started again at once, while connections of its port are still in TIME_WAIT.",
    reference="socket(7), SO_REUSEADDR; tcp(7); UNP 7.5; TLPI 61.10",
    expected="it listens on the same port again",
    cause="The listener is bound without SO_REUSEADDR: bind fails with EADDRINUSE.",
    mend="Before bind: int on = 1; setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on); in Python: "
    "listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1), or allow_reuse_address = True of socketserver.",
    group="breadth",
    where=r"\b(bind|setsockopt)\s*\(",
    run=run,
)
