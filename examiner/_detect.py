"""Tells how a server serves, before anything is asked of it: from its processes, threads and calls, while it serves.

Three clients are connected at once and each is asked something. Who answers is seen from who holds the connections, and
whether that process was there before. What one process alone does between its clients, only its calls tell apart.
"""

from examiner._connection import Connection
from examiner._exam import Exam
from examiner._strace import CannotTrace
from examiner._subject import Subject

CLIENTS = 3
UNKNOWN = "unknown"
LOOPS = {
    "epoll_wait": "epoll",
    "epoll_pwait": "epoll",
    "epoll_pwait2": "epoll",
    "poll": "poll",
    "ppoll": "poll",
    "select": "select",
    "pselect6": "select",
}
"""The calls in which an event loop sleeps, and the models they make; which one the C library uses differs."""


def detect(exam: Exam) -> str:
    """The model of the subject, one of the catalogue's ids or ``unknown``; what it was told from is in the evidence.

    Raises:
        Inconclusive: the subject does not listen.
    """
    # Without a client before: some servers do not outlive their first one, and are still of a model.
    subject = exam.start(greet=False)
    subject.at_rest(0.1)
    before = set(subject.living())
    threads = subject.tree()[subject.pid]["threads"]
    clients = [exam.connect(subject) for _ in range(CLIENTS)]
    served = [client for client in clients if client.served()]
    exam.note(f"{len(served)} of {CLIENTS} clients at once are answered")
    if not served:
        return UNKNOWN
    servants = set().union(*(_servants(subject, client) for client in served))
    exam.note(f"process {subject.pid}; their connections are held by {sorted(servants) or 'no other'}")
    if servants:
        return "fork" if not servants & before else "prefork"
    now = subject.tree()[subject.pid]["threads"]
    exam.note(f"threads: {threads} without a client, {now} with {len(served)} of them")
    if now > threads or (now > 1 and len(served) > 1 and not _loop(exam, subject, served)):
        return "thread"
    return _loop(exam, subject, served) or ("iterative" if len(served) == 1 else UNKNOWN)


def _servants(subject: Subject, client: Connection) -> set[int]:
    """Who holds a client's connection, besides the first process: a parent may have kept a copy."""
    subject.eventually(lambda: subject.held_by(client) - {subject.pid}, seconds=0.2)
    return subject.held_by(client) - {subject.pid}


def _loop(exam: Exam, subject: Subject, clients: list[Connection]) -> str:
    """The model of a loop in the first process; empty when it waits for one descriptor only."""
    try:
        with subject.traced(calls=",".join(f"?{name}" for name in LOOPS), pids=(subject.pid,)) as trace:
            for client in clients:
                client.served()
    except CannotTrace as error:
        exam.note(str(error))
        return ""
    calls = [call.name for call in trace.calls() if call.name in LOOPS]
    if not calls:
        exam.note("between two clients it calls none of select, poll and epoll_wait")
        return ""
    exam.note(f"between two clients it calls {calls[-1]}")
    return LOOPS[calls[-1]]
