"""A client that resets its connection before it is accepted does no harm.

On Linux accept then returns a connection that is dead already: getpeername(2) fails with ENOTCONN, read with
ECONNRESET. Other systems, and accept(2) by its manual, return ECONNABORTED instead; strace makes that answer.
"""

import signal

from examiner._check import Check
from examiner._exam import Exam, Warned
from examiner._strace import CannotTrace
from examiner._subject import Subject

ABORTED = "accept,accept4:error=ECONNABORTED:when=1"


def run(exam: Exam) -> str:
    """Reset a connection in the backlog; then let accept fail once."""
    subject = exam.start()
    before = set(subject.living())
    exam.provoked(_stopped(subject), "the server stops")
    gone = exam.connect(subject)
    exam.provoked((subject.listener() or {}).get("rx_queue") == 1, "a connection waits in the backlog")
    gone.reset()
    exam.note(f"server stopped; client {gone.local} connected, sent RST, and is the first in the accept queue; SIGCONT")
    _continued(subject)
    taken = subject.eventually(lambda: not subject.alive() or (subject.listener() or {}).get("rx_queue") == 0)
    exam.provoked(taken, "the dead connection is accepted")
    subject.eventually(lambda: not subject.alive(), seconds=0.2)  # it may be about to end
    exam.note(f"afterwards: {subject.status()}; its processes: {sorted(subject.tree())}, before: {sorted(before)}")
    exam.expect(subject.alive(), f"a client that resets before it is accepted ends the server: {subject.status()}")
    exam.expect(
        exam.connect(subject).served(), "after a client that reset before it was accepted, the next one gets no answer"
    )
    return _injected(exam, subject)


def _injected(exam: Exam, subject: Subject) -> str:
    try:
        with subject.traced(calls="accept,accept4", inject=ABORTED) as trace:
            client = exam.connect(subject)
            served = client.served()
            subject.eventually(lambda: any(call.error == "ECONNABORTED" for call in trace.calls()))
    except CannotTrace as error:
        exam.note(f"accept could not be made to fail: {error}")
        return "a client that resets before it is accepted harms nobody"
    calls = [call for call in trace.calls() if call.error == "ECONNABORTED"]
    if not calls:
        exam.note("accept could not be made to fail: it was not called again")
        return "a client that resets before it is accepted harms nobody"
    exam.note(f"{calls[0].name}(…) = -1 ECONNABORTED (injected) in process {calls[0].pid}; then {subject.status()}")
    if not subject.alive() or not (served or client.served()):
        raise Warned(
            "when accept fails with ECONNABORTED the server gives up; on Linux TCP does not say it, other systems do",
            cause="Every error of accept is taken for the end.",
            mend="After ECONNABORTED, EPROTO and EINTR accept again; in Python: except (ConnectionAbortedError, "
            "InterruptedError): continue.",
        )
    return "a client that resets before it is accepted harms nobody, whether accept tells of it or not"


def _stopped(subject: Subject) -> bool:
    """Stop all of it: in a pool, children accept."""
    for pid in subject.living():
        subject.kill(signal.SIGSTOP, pid)
    return subject.stop() and subject.eventually(
        lambda: all(process["state"] in "TZ" for process in subject.tree().values())
    )


def _continued(subject: Subject) -> None:
    for pid in subject.living():
        subject.kill(signal.SIGCONT, pid)
    subject.go_on()


CHECK = Check(
    requirement="A connection that is aborted before it was accepted does not end the server.",
    reference="accept(2) (ECONNABORTED; Error handling), getpeername(2) (ENOTCONN); UNP 5.11",
    expected="the server lives, and serves the next client",
    cause="A call on the fresh connection (getpeername, setsockopt, read) fails, and the server takes that "
    "for its end.",
    mend="After accept an error on the connection concerns this connection only: close it and go on. In Python: "
    "except OSError: connection.close(); continue.",
    group="breadth",
    where=r"\b(accept4?|getpeername)\s*\(",
    follows=("reset-by-client",),
    run=run,
)
