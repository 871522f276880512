"""The parent never sleeps in wait while a client could be accepted.

First a client waits beside another one that says nothing: who waits for each child after its fork does not accept it.
Then one of two clients leaves and a third one comes: a SIGCHLD handler that waits without WNOHANG sleeps until the
second one has left, too. The parent is seen asleep in the kernel's do_wait.
"""

from examiner._check import Check
from examiner._connection import Connection
from examiner._exam import Exam, Inconclusive
from examiner._subject import Subject

WAITING = "do_wait"


def run(exam: Exam) -> str:
    """A second client beside the first; a third one after the first has left."""
    subject = exam.start()
    before = set(subject.children())
    (first,) = exam.clients(subject, 1)
    serving = set(subject.children()) - before
    second = exam.connect(subject)
    _look(exam, subject, second, "a client beside another one that says nothing")
    first.close()
    # Not before its child has ended: until SIGCHLD comes, the parent still accepts.
    ended = subject.eventually(lambda: not serving & set(subject.living()))
    exam.provoked(serving and ended, "the child of one of two clients ends")
    exam.provoked(subject.at_rest(0.05), "the parent comes to rest")
    _look(exam, subject, exam.connect(subject), "a client that comes after one of two has left")
    return "the parent accepts at once, whoever has left and whoever stays"


def _look(exam: Exam, subject: Subject, client: Connection, who: str) -> None:
    """Expect it to be served."""
    if client.served():
        exam.note(f"{who} is served")
        return
    where = subject.sleeps_in(subject.pid)
    exam.note(f"{who} is not served; process {subject.pid} sleeps in {where or 'no function that the kernel tells'}")
    if WAITING not in where:
        raise Inconclusive(f"{who} is not served, but the parent does not sleep in wait; see the check concurrent")
    exam.provoked(True, "a client waits")
    exam.expect(False, f"{who} waits while the parent sleeps in wait for a child")


CHECK = Check(
    requirement="The parent accepts at any time: it never blocks in wait while children live.",
    reference="waitpid(2), WNOHANG; UNP 5.9-5.10; TLPI 26.1.2",
    expected="two more clients are served while an earlier one stays",
    cause="wait, or waitpid without WNOHANG, is called while children serve: after a fork, or in the SIGCHLD handler.",
    mend="Wait only for children that have ended: waitpid(-1, NULL, WNOHANG) in a SIGCHLD handler; in Python: "
    "os.waitpid(-1, os.WNOHANG).",
    models=("fork",),
    where=r"\bwait(pid|3|4|id)?\s*\(",
    run=run,
)
