"""A server that has nothing to do sleeps.

Looked at three times: without a client, with three that say nothing, and after one of them has gone. A process that was
seen running at every look until it had used a third of a second of the processor does not sleep.
"""

from examiner._check import Check
from examiner._exam import Exam


def run(exam: Exam) -> str:
    """See whether it spins when it should sleep."""
    subject = exam.start()
    exam.provoked(True, "the server runs")
    _look(exam, subject.spinning(), "without a client")
    clients = exam.clients(subject, exam.at_once(3))
    _look(exam, subject.spinning(), "with clients that say nothing")
    clients[0].close()
    _look(exam, subject.spinning(), "after a client has gone")
    return "it sleeps without a client, with silent ones, and after one has gone"


def _look(exam: Exam, spinning: dict[int, float], when: str) -> None:
    for pid, seconds in spinning.items():
        exam.note(f"{when}: process {pid} was in state R at every look and used {seconds:.2f} s of the processor")
    exam.expect(not spinning, f"{when} it never sleeps")
    exam.note(f"{when}: it sleeps")


CHECK = Check(
    requirement="A server that has nothing to do sleeps in the kernel.",
    reference="poll(2), read(2), fcntl(2) O_NONBLOCK; UNP 6.2, 16.1; TLPI 63.1",
    expected="no process that runs at every look, without a client, with silent ones, and after one has gone",
    cause="A non-blocking call is repeated without waiting (EAGAIN), poll has the timeout 0, or a connection at its "
    "end (read returns 0) is not closed and so is ready for ever.",
    mend="Wait in poll, select or epoll_wait without a timeout, or let calls block; close a connection when read "
    "returns 0 or -1. In Python: when recv() returns b'', close() and unregister it.",
    group="breadth",
    where=r"O_NONBLOCK|SOCK_NONBLOCK|setblocking|MSG_DONTWAIT|EAGAIN|BlockingIOError|\bpoll\s*\(|\bselect\s*\(",
    run=run,
)
