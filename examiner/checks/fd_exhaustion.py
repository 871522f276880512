"""Without a free descriptor the server neither ends nor spins, and serves again when there is one.

A fork server's parent holds few descriptors: the limit (RLIMIT_NOFILE) of whoever holds the listener is lowered below
the next free number, and lifted later. Every other server starts with a small limit and gets more clients than that,
and later they go. strace shows accept fail with EMFILE.
"""

import contextlib
import resource

from examiner._check import Check
from examiner._connection import Connection
from examiner._exam import Exam, Failed, Inconclusive
from examiner._strace import CannotTrace, Trace
from examiner._subject import Subject

SMALL = 48
"""Descriptors: more than a Python program with an event loop needs for itself."""
CLIENTS = 64
LATER = 12.0
"""Seconds for which a server may close its listener meanwhile; xinetd does for ten."""
ACCEPTS = "?accept,?accept4"
ONE_EACH = ("fork", "prefork", "iterative")


def run(exam: Exam) -> str:
    """Exhaust the descriptors, see what the server does meanwhile, then free some."""
    if exam.model in ONE_EACH:
        subject = exam.start()
        clients = exam.clients(subject, 1) if exam.model == "fork" else []
        lower = _holders(subject)
    else:
        subject = exam.start(limits={resource.RLIMIT_NOFILE: (SMALL, 8192)})
        clients, lower = [], set()
    try:
        crowd, waiting, refused = _exhaust(exam, subject, lower)
    except CannotTrace as error:
        raise Inconclusive(str(error)) from None
    exam.provoked(refused, "accept fails for want of a descriptor")
    exam.note(refused)
    subject.eventually(lambda: not subject.alive(), 0.3)
    exam.expect(subject.alive(), f"an accept that failed with EMFILE ended the server: {subject.status()}")
    for pid, seconds in subject.spinning(_holders(subject)).items():
        exam.note(f"process {pid} was in state R at every look and used {seconds:.2f} s of the processor meanwhile")
        exam.expect(False, "without a free descriptor it calls accept again and again, and uses a whole processor")
    for client in clients:
        exam.expect(client.served(), "a client that was served before is not served any more")
    if not all(subject.limit(resource.RLIMIT_NOFILE, None, pid) for pid in lower):
        raise Inconclusive("the limit on descriptors cannot be lifted again")
    _leave(crowd[:-4])
    subject.eventually(subject.listens, LATER)
    late = [exam.connect(subject), *waiting]
    for client in late if exam.model != "iterative" else late[:0]:
        over = client.served() or client.ended
        exam.expect(over, "descriptors are free again, but clients that came are not served")
    return "it waited without spinning, and served again when descriptors were free"


def _exhaust(exam: Exam, subject: Subject, lower: set[int]) -> tuple[list[Connection], list[Connection], str]:
    """Let clients come until accept fails; the clients, those that come then, and the call that failed."""
    crowd: list[Connection] = []
    waiting: list[Connection] = []
    with subject.traced(calls=ACCEPTS) as trace:
        lowered = [subject.limit(resource.RLIMIT_NOFILE, _free(subject, pid), pid) for pid in lower]
        exam.provoked(all(lowered), "the limit on descriptors is lowered")
        # One after the other: a short backlog would be full before accept fails.
        while not lower and len(crowd) < CLIENTS and not _refused(trace) and subject.alive():
            crowd.append(exam.connect(subject))
            crowd[-1].send(b"forklab\n")
            subject.eventually(lambda: crowd[-1].more() or _refused(trace) or not subject.alive())
        with contextlib.suppress(Failed, Inconclusive):  # it may turn them away
            waiting += [exam.connect(subject)]
            waiting += [exam.connect(subject)]
        subject.eventually(lambda: _refused(trace) or not subject.alive())
        if lower and not _refused(trace) and subject.alive():
            # Who sleeps in accept has its descriptor already: its next call fails, when it has served whom it got.
            _leave([client for client in waiting if client.served()])
            waiting = [client for client in waiting if client.fileno() >= 0]
            subject.eventually(lambda: _refused(trace) or not subject.alive())
    return crowd, waiting, _refused(trace)


def _leave(clients: list[Connection]) -> None:
    for client in clients:
        client.close()


def _holders(subject: Subject) -> set[int]:
    """Who holds the listener, and may call accept."""
    listener = subject.listener()
    return subject.holders().get(listener["inode"], set()) if listener else set()


def _free(subject: Subject, pid: int) -> int:
    """The lowest number that is no descriptor of a process: the next accept would get it."""
    used = {entry["fd"] for entry in subject.descriptors(pid)}
    return next(number for number in range(len(used) + 1) if number not in used)


def _refused(trace: Trace) -> str:
    return next((str(call) for call in trace.calls() if call.error == "EMFILE"), "")


CHECK = Check(
    requirement="Without a free descriptor the server lives on, waits without spinning, and serves again later.",
    reference="accept(2) EMFILE, getrlimit(2) RLIMIT_NOFILE; TLPI 36.3; libev(3), the special problem of accept()ing",
    expected="while accept fails with EMFILE the server sleeps between attempts; afterwards clients are served",
    cause="The error of accept ends the server, or accept is tried again at once: the client stays in the backlog, so "
    "poll says that the listener is ready, again and again.",
    mend="On EMFILE, ENFILE, ENOBUFS and ENOMEM wait a little, or leave the listener out of poll until a connection "
    "has been closed; in Python: except OSError around accept(), then time.sleep(0.05) or unregister the listener.",
    group="high",
    where=r"\baccept4?\s*\(",
    follows=("busy-loop",),
    run=run,
)
