"""The child of a client that left is waited for.

One client comes, is served, and leaves. Its child ends, and must not stay a zombie. A server that waits when the next
client comes passes: see the check reap-late.
"""

from examiner._check import Check
from examiner._exam import Exam


def run(exam: Exam) -> str:
    """One client; the state of its child afterwards."""
    subject = exam.start()
    before = set(subject.children())
    (client,) = exam.clients(subject, 1)
    serving = set(subject.children()) - before
    exam.provoked(serving, "a client has a child of its own")
    client.close()
    ended = subject.eventually(lambda: not serving & set(subject.living()))
    exam.provoked(ended, f"the child {sorted(serving)} ends when its client has left")
    if not subject.eventually(lambda: not serving & set(subject.zombies())):
        exam.clients(subject, 1)
        subject.eventually(lambda: not serving & set(subject.zombies()))
    left = sorted(serving & set(subject.zombies()))
    if left:
        exam.note(f"PID {left[0]}, PPid {subject.pid}, state Z; the parent {_doing(subject.sleeps_in(subject.pid))}")
    exam.expect(not left, f"process {left} stays a zombie, also when another client has come")
    exam.note(f"child {sorted(serving)} of {subject.pid} has ended and is gone")
    return "the child was waited for"


def _doing(where: str) -> str:
    return f"sleeps in {where}" if where else "runs"


CHECK = Check(
    requirement="A child that has ended is waited for, so that nothing of it stays.",
    reference="wait(2), signal(7); UNP 5.9; TLPI 26.2",
    expected="no zombie, two seconds after the client left, or once the next one has come",
    cause="Nothing waits for the children: no handler for SIGCHLD, or one that does not call waitpid.",
    mend="Install a handler with sigaction(SIGCHLD, …) that calls waitpid(-1, NULL, WNOHANG) until nothing is left; in "
    "Python: signal.signal(signal.SIGCHLD, …) and os.waitpid(-1, os.WNOHANG).",
    models=("fork",),
    where=r"\b(SIGCHLD|fork\s*\(|wait(pid|3|4|id)?\s*\()",
    follows=("reap-never",),
    run=run,
)
