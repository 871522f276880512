"""Children are waited for when they end, not only when the next client comes."""

from examiner._check import Check
from examiner._exam import Exam, Skipped, Warned
from examiner._subject import Subject

CLIENTS = 3
ROUNDS = 2
"""Once may be chance: for a SIGCHLD just before accept(2) sleeps, Python runs no handler until accept returns."""


def run(exam: Exam) -> str:
    """End three children, wait, and only then let another client come."""
    subject = exam.start()
    for _ in range(ROUNDS):
        serving = _come_and_go(exam, subject)
        late = sorted(serving & set(subject.zombies()))
        if not late:
            exam.note(f"children {sorted(serving)} ended and were waited for while nobody connected")
            return "they are waited for at once"
        exam.note(f"children {sorted(serving)} ended; still zombies (state Z) of parent {subject.pid}: {late}")
    exam.clients(subject, 1)
    exam.clients(subject, 1)  # the first of them may have been accepted before the parent waited
    if not subject.eventually(lambda: not serving & set(subject.zombies())):
        raise Skipped("they are never waited for; see the checks reap-one and reap-never")
    exam.note("two more clients connect: no zombie of those is left")
    raise Warned(f"{len(late)} children stay zombies until the next client comes")


def _come_and_go(exam: Exam, subject: Subject) -> set[int]:
    """The children of clients that have gone, when each has been waited for, or had time to be."""
    before = set(subject.children())
    clients = exam.clients(subject, CLIENTS)
    serving = set(subject.children()) - before
    exam.provoked(len(serving) == CLIENTS, f"{CLIENTS} clients have {CLIENTS} children")
    for client in clients:
        client.close()
    ended = subject.eventually(lambda: not serving & set(subject.living()))
    exam.provoked(ended, f"all {CLIENTS} children end")
    subject.eventually(lambda: not serving & set(subject.zombies()))
    return serving


CHECK = Check(
    requirement="A child that has ended is waited for soon, also when no client comes.",
    reference="waitpid(2), signal(7) (SIGCHLD); UNP 5.8-5.9; TLPI 26.3",
    expected="no zombie while nobody connects",
    cause="The parent waits in its accept loop only, so a quiet server keeps the zombies of its last busy minute.",
    mend="A SIGCHLD handler that waits in a loop with WNOHANG; or signalfd or a self-pipe beside the listener in poll. "
    "In Python signal.signal(signal.SIGCHLD, reap).",
    group="advisory",
    models=("fork",),
    where=r"\bwait(pid|3|4|id)?\s*\(",
    run=run,
)
