"""Five children that end at once are all waited for.

Signals of one kind do not queue: while the parent is stopped, five ends leave one pending SIGCHLD. A handler that waits
once for it leaves four zombies, in every run. That it is stopped makes sure of what else happens by chance.
"""

import signal

from examiner._check import Check
from examiner._exam import Exam

CLIENTS = 5


def run(exam: Exam) -> str:
    """Stop the parent, end five children, let the parent go on, count what stays."""
    subject = exam.start()
    before = set(subject.children())
    clients = exam.clients(subject, CLIENTS)
    serving = set(subject.children()) - before
    exam.provoked(len(serving) == CLIENTS, f"{CLIENTS} clients have {CLIENTS} children")
    exam.provoked(subject.stop(), "the parent stops")
    for client in clients:
        client.close()
    ended = subject.eventually(lambda: serving <= set(subject.zombies()))
    exam.provoked(ended, f"all {CLIENTS} children end while the parent is stopped")
    exam.note(f"parent {subject.pid} stopped, {CLIENTS} children ended, all zombies: {sorted(serving)}")
    exam.note(
        f"signals pending for the parent: {subject.field(subject.pid, 'ShdPnd')} (a mask, bit {signal.SIGCHLD - 1})"
    )
    subject.go_on()
    if not subject.eventually(lambda: not serving & set(subject.zombies())):
        # Some servers wait only when the next client comes: allowed, and the check reap-late tells of it.
        exam.clients(subject, 1)
        subject.eventually(lambda: not serving & set(subject.zombies()))
    left = sorted(serving & set(subject.zombies()))
    exam.note(f"zombies after SIGCONT, and one more client: {left}" if left else "no zombie is left after SIGCONT")
    exam.expect(not left, f"{len(left)} of {CLIENTS} children stay zombies")
    return f"all {CLIENTS} are waited for"


CHECK = Check(
    requirement="However many children end together, the parent waits for each of them.",
    reference="signal(7), waitpid(2); UNP 5.10; TLPI 26.3.1",
    expected="no zombie, after five children ended while the parent was stopped",
    cause="The SIGCHLD handler waits once. Signals do not queue: one SIGCHLD may stand for many children.",
    mend="Wait in a loop until nothing is left: while (waitpid(-1, NULL, WNOHANG) > 0); in Python: loop over "
    "os.waitpid(-1, os.WNOHANG) until it gives (0, 0) or raises ChildProcessError.",
    models=("fork",),
    where=r"\bwait(pid|3|4|id)?\s*\(",
    follows=("reap-never",),
    run=run,
)
