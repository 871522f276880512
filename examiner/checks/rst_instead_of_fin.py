"""The server ends a connection with FIN, not with RST, which may take the last bytes away from its client."""

from examiner._check import Check
from examiner._exam import Exam, Skipped, Warned

CLIENTS = 3


def run(exam: Exam) -> str:
    """Three clients that have everything, and half-close."""
    subject = exam.start()
    endings = []
    for number in range(1, CLIENTS + 1):
        client = exam.connect(subject)
        exam.provoked(client.served(), "a client is served")
        client.half_close()
        endings.append(client.await_end() or "nothing")
        exam.note(f"client {number} has all its bytes and sends FIN; the server answers with {endings[-1]}")
    if "RST" in endings:
        raise Warned(f"of {CLIENTS} connections that their clients had ended properly it reset {endings.count('RST')}")
    if "nothing" in endings:
        raise Skipped("it does not end the connection at all; see the check half-close")
    return "it ends its connections with FIN"


CHECK = Check(
    requirement="The server ends a connection in order, with FIN.",
    reference="RFC 9293, 3.6; RFC 1122, 4.2.2.13; socket(7) (SO_LINGER); UNP 7.5 (SO_LINGER), 5.13; TLPI 61.2",
    expected="FIN after the client's FIN, from a connection with nothing unread in it",
    cause="SO_LINGER with a time of 0, or close with bytes still unread: both send RST, and what was "
    "on its way is lost.",
    mend="Leave SO_LINGER alone; read until read returns 0, then close.",
    group="advisory",
    where=r"SO_LINGER|\bclose\s*\(",
    run=run,
)
