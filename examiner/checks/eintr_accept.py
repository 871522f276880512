"""A signal that interrupts accept does no harm.

A child ends while its parent sleeps and waits for clients: SIGCHLD runs the parent's handler, and unless that was
installed with SA_RESTART, the call returns -1 with EINTR. The parent must go on, and not take -1 for a connection.
"""

import signal

from examiner._check import Check
from examiner._exam import Exam, Skipped
from examiner._strace import Call, CannotTrace
from examiner._subject import Subject

ROUNDS = 3
FORKS = ("fork", "vfork", "clone", "clone3")
CALLS = ",".join(f"?{name}" for name in ("accept", "accept4", "poll", "ppoll", "select", "pselect6", *FORKS))


def run(exam: Exam) -> str:
    """Let children end while the parent sleeps; it must come to rest and serve again."""
    subject = exam.start(greet=False, survives=False)
    if not subject.catches(signal.SIGCHLD):
        raise Skipped("the server has no handler for SIGCHLD, so the end of a child interrupts nothing")
    for number in range(1, ROUNDS + 1):
        _one(exam, subject, number)
    exam.expect(exam.connect(subject).served(), "after children have ended the server serves nobody any more")
    return f"{ROUNDS} times a child ended while the parent slept; it serves on"


def _one(exam: Exam, subject: Subject, number: int) -> None:
    before = set(subject.children())
    client = exam.connect(subject)
    served = client.served()
    exam.expect(served or number == 1, "after a child has ended the server serves nobody any more")
    serving = set(subject.children()) - before
    exam.provoked(served and serving, "a client is served by a child")
    exam.provoked(subject.at_rest(0.05), "the parent sleeps")
    calls: list[Call] = []
    try:
        with subject.traced(calls=CALLS, pids=(subject.pid,)) as trace:
            client.close()
            ended = subject.eventually(lambda: not serving & set(subject.living()))
            exam.provoked(ended, "a child ends when its client has left")
            rests = subject.alive() and subject.at_rest(0.2)
            calls = trace.calls()
    except CannotTrace as error:
        exam.provoked(False, f"the parent is traced: {error}")
    exam.note(f"round {number}: child {sorted(serving)} ended, and SIGCHLD came to {subject.pid} {_where(calls)}")
    _judge(exam, subject, calls, rests=rests)


def _judge(exam: Exam, subject: Subject, calls: list[Call], *, rests: bool) -> None:
    mine = [call for call in calls if call.pid == subject.pid]
    exam.provoked(any(call.name == "SIGCHLD" for call in mine), "SIGCHLD is delivered while the parent sleeps")
    exam.expect(subject.alive(), f"when a child ends the server ends, too: {subject.status()}; {_last(subject)}")
    forks = sum(call.name in FORKS for call in mine)
    exam.expect(not forks, f"no client came, and yet the server forked {forks} times for a signal {_where(calls)}")
    exam.expect(rests, "when a child ends the server never comes to rest again")


def _where(calls: list[Call]) -> str:
    """The call that was interrupted."""
    names = [call.name for call in calls if call.error in ("ERESTARTSYS", "ERESTARTNOHAND", "EINTR")]
    return f"in {names[0]}" if names else "between two calls"


def _last(subject: Subject) -> str:
    said = subject.said()
    return f"it said: {said[-1]}" if said else "it said nothing"


CHECK = Check(
    requirement="A signal that interrupts accept does no harm: the server accepts again.",
    reference="signal(7), accept(2), EINTR; UNP 5.9; TLPI 21.5",
    expected="the server lives on, comes to rest and serves, after children ended while it slept",
    cause="accept returned -1 with EINTR, and that was taken for the end of the server, or for a connection.",
    mend="Look at what accept returns: if (fd < 0 && errno == EINTR) continue; or install the handler with SA_RESTART. "
    "In Python accept is restarted, unless the handler raises an exception (PEP 475).",
    models=("fork",),
    where=r"\baccept4?\s*\(",
    run=run,
)
