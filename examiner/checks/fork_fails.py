"""When fork fails, the server lives on, and serves again as soon as it can.

The limit on processes (RLIMIT_NPROC) is lowered for the running server, so that its next fork fails with EAGAIN; strace
shows that it did. One client is being served then, one comes. Later the limit is lifted.
"""

import resource

from examiner._check import Check
from examiner._exam import Exam, Inconclusive
from examiner._strace import Call, CannotTrace

FORKS = {"fork", "vfork", "clone", "clone3"}
LINE = b"forklab, for whom fork failed\n"
LATER = 12.0
"""Seconds that a server may let pass until it tries again; xinetd lets five."""


def run(exam: Exam) -> str:
    """Let no fork succeed for a while."""
    subject = exam.start()
    (guest,) = exam.clients(subject, 1)
    limited = subject.limit(resource.RLIMIT_NPROC, 1)
    exam.provoked(limited, "the limit on processes is lowered")
    try:
        with subject.traced(calls=",".join(f"?{name}" for name in FORKS), pids=(subject.pid,)) as trace:
            unlucky = exam.connect(subject)
            subject.eventually(lambda: _refused(trace.calls()) or not subject.alive())
    except CannotTrace as error:
        raise Inconclusive(str(error)) from None
    refused = _refused(trace.calls())
    exam.provoked(refused, "fork fails")
    exam.note(refused)
    subject.eventually(lambda: not subject.alive(), 0.3)
    exam.expect(subject.alive(), f"a fork that failed ended the server: {subject.status()}")
    exam.expect(guest.served(), "a fork that failed ended the conversation of a client that was served before")
    if not subject.limit(resource.RLIMIT_NPROC, None):
        raise Inconclusive("the limit on processes cannot be lifted again")
    exam.expect(exam.connect(subject).served(), "processes are allowed again, but a new client is not served")
    unlucky.send(LINE)
    served = subject.eventually(unlucky.more, LATER) and unlucky.receive(len(LINE)) == LINE
    ending = "it is served later" if served else f"its connection ended with {unlucky.await_end() or 'nothing'}"
    exam.note(f"the client for whom fork failed: {ending}")
    exam.expect(served or unlucky.ended, "the client for whom fork failed is neither served nor told")
    return f"the server lives on; the client for whom fork failed: {ending}"


def _refused(calls: list[Call]) -> str:
    return next((str(call) for call in calls if call.name in FORKS and call.error in ("EAGAIN", "ENOMEM")), "")


CHECK = Check(
    requirement="A fork that fails costs at most one client; the server lives on and serves when it can again.",
    reference="fork(2) EAGAIN, getrlimit(2) RLIMIT_NPROC; TLPI 24.2",
    expected="the server lives, clients that have a child are served on, new ones again when fork succeeds again",
    cause="The value -1 of fork() is not looked at, or ends the server; or the connection of that client is forgotten "
    "and stays open without anybody to serve it.",
    mend='if (pid == -1) { perror("fork"); close(connection); continue; }, best after a pause; in Python: except '
    "OSError around os.fork(), then connection.close().",
    group="high",
    models=("fork",),
    where=r"\bfork\s*\(",
    run=run,
)
