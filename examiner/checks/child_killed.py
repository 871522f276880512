"""A child that is killed costs its own client only.

One of three children gets SIGKILL, as the kernel's out-of-memory killer sends it. Its client's connection must end; the
parent and the other clients must go on.
"""

import signal

from examiner._check import Check
from examiner._exam import Exam, Inconclusive


def run(exam: Exam) -> str:
    """Kill one child, and ask everybody else."""
    subject = exam.start()
    *others, victim = exam.clients(subject, 3)
    serving = subject.held_by(victim).difference(*map(subject.held_by, others)) - {subject.pid}
    exam.provoked(len(serving) == 1, "one process of its own serves each of three clients")
    (child,) = serving
    subject.kill(signal.SIGKILL, child)
    ended = subject.eventually(lambda: subject.tree().get(child, {"state": "Z"})["state"] in "ZX")
    exam.provoked(ended, f"process {child} is killed")
    exam.note(f"process {child}, which served {victim.local}, is killed by SIGKILL")
    end = victim.await_end()
    subject.eventually(lambda: not subject.alive(), 0.3)
    exam.note(f"its client sees {end or 'no end'}; the server: {subject.status()}")
    exam.expect(subject.alive(), f"the server ended because one child was killed: {subject.status()}")
    exam.expect(all(other.served() for other in others), "other clients' conversations ended, too")
    exam.expect(exam.connect(subject).served(), "no new client is served after one child was killed")
    if not end:
        held = sorted(subject.held_by(victim))
        raise Inconclusive(
            f"the killed child's client sees no end: whoever else holds its connection: {held}; "
            "see parent-keeps-client-fd and child-keeps-other-clients"
        )
    return f"its client saw {end}; the others were served on"


CHECK = Check(
    requirement="A child that is killed costs its own client only.",
    reference="wait(2) WIFSIGNALED, signal(7); TLPI 26.1.3",
    expected="that client's connection ends; the parent, the other clients and new ones go on",
    cause="The parent takes a child that did not exit by itself for its own trouble: it ends, or an error in the "
    "SIGCHLD handler ends it.",
    mend="Wait for the child and go on, whatever its status: WIFSIGNALED(status) is worth a line in the log; in "
    "Python: os.waitstatus_to_exitcode(status) is negative then, and no error.",
    group="high",
    models=("fork", "prefork"),
    follows=("blocking-wait",),
    where=r"\bWIF(EXITED|SIGNALED)|WEXITSTATUS|waitstatus_to_exitcode|\bwait(pid)?\s*\(",
    run=run,
)
