"""Zombies do not pile up: of five clients that came one after the other, not every child stays.

This tells a server that never waits from one that misses some: see reap-one and reap-burst.
"""

from examiner._check import Check
from examiner._exam import Exam

CLIENTS = 5


def run(exam: Exam) -> str:
    """Five clients, one after the other; whose child is still there?"""
    subject = exam.start()
    served: set[int] = set()
    for _ in range(CLIENTS):
        before = set(subject.children())
        (client,) = exam.clients(subject, 1)
        now = set(subject.children()) - before
        exam.provoked(now, "each client has a child of its own")
        client.close()
        ended = subject.eventually(lambda now=now: not now & set(subject.living()))  # type: ignore[misc]
        exam.provoked(ended, f"the child {sorted(now)} ends when its client has left")
        served |= now
    if not subject.eventually(lambda: not served <= set(subject.zombies())):
        exam.clients(subject, 1)
        subject.eventually(lambda: not served <= set(subject.zombies()))
    left = sorted(served & set(subject.zombies()))
    exam.note(f"{CLIENTS} clients, children {sorted(served)}; zombies now: {left or 'none'}")
    exam.expect(len(left) < len(served), f"all {len(left)} children stay zombies: none is ever waited for")
    return f"{len(served) - len(left)} of {len(served)} children were waited for"


CHECK = Check(
    requirement="Zombies do not pile up: each one keeps a slot in the table of processes until the server ends.",
    reference="wait(2), NOTES; UNP 5.9; TLPI 26.2",
    expected="the children of five clients are waited for",
    cause="The parent never calls wait or waitpid, and does not ignore SIGCHLD either.",
    mend="Install a handler with sigaction(SIGCHLD, …) that calls waitpid(-1, NULL, WNOHANG) until nothing is left; in "
    "Python: signal.signal(signal.SIGCHLD, …) and os.waitpid(-1, os.WNOHANG).",
    models=("fork",),
    where=r"\bfork\s*\(",
    run=run,
)
