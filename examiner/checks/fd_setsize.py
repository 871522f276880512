"""A server with select survives more clients than an fd_set has room for.

The server may open thousands of files, and gets more than FD_SETSIZE (1024) clients. FD_SET beyond that writes into
other memory, and Python's select raises ValueError. It must refuse, or leave in the backlog, whom it cannot serve.
"""

import resource
from functools import partial

from examiner._check import Check
from examiner._exam import Exam, Failed
from examiner._subject import Subject

FD_SETSIZE = 1024
OVER = 40
SAMPLE, BATCH = 5, 32


def run(exam: Exam) -> str:
    """Connect more clients than the set holds, and ask some on both sides of the wall."""
    subject = exam.start(limits={resource.RLIMIT_NOFILE: (4096, 8192)})
    clients = exam.clients(subject, SAMPLE)
    most = 0
    while len(clients) < FD_SETSIZE + OVER and subject.alive():
        try:
            clients += [exam.connect(subject) for _ in range(BATCH)]
        except Failed:  # refused: the server has just ended, or listens no more while it is full
            break
        subject.eventually(partial(_accepted, exam, subject, len(clients)), 0.3)
        most = max(most, _held(exam, subject))
    exam.note(f"{len(clients)} clients connected; the server held at most {most} of their connections")
    exam.provoked(most >= FD_SETSIZE - 2 * BATCH, f"the server's descriptors come near {FD_SETSIZE}")
    subject.eventually(lambda: not subject.alive(), 0.3)
    exam.expect(subject.alive(), f"more than {FD_SETSIZE} descriptors ended the server: {subject.status()}")
    for client in clients[:SAMPLE]:
        exam.expect(client.served(), "a client that was served before is not served any more, beyond the wall")
    held = {row["remote"] for row in subject.sockets() if row["inode"]}
    for client in clients[-SAMPLE:]:
        if not client.served() and not client.ended and client.local in held:
            exam.note(f"{client.local} was accepted, and is neither served nor closed")
            exam.expect(False, f"clients beyond descriptor {FD_SETSIZE} are accepted and not served")
    exam.expect(subject.alive(), f"more than {FD_SETSIZE} descriptors ended the server: {subject.status()}")
    return f"with {len(clients)} clients it serves those it can, and refuses the others or lets them wait"


def _accepted(exam: Exam, subject: Subject, count: int) -> bool:
    """Whether so many clients are accepted, or will never be."""
    return _held(exam, subject) >= count or not subject.alive()


def _held(exam: Exam, subject: Subject) -> int:
    return sum(bool(row["inode"]) for row in exam.rows(subject.port, "ESTABLISHED"))


CHECK = Check(
    requirement="A server with select refuses descriptors beyond FD_SETSIZE, and goes on with the others.",
    reference="select(2) BUGS; UNP 6.3; TLPI 63.2.1",
    expected="the server lives, serves its clients, and refuses or leaves in the backlog those beyond 1024 descriptors",
    cause="A descriptor of 1024 or more goes into an fd_set, which writes beyond its end, or ends the server.",
    mend="After accept: if (fd >= FD_SETSIZE) { close(fd); continue; }, or use poll or epoll; in Python: compare "
    "connection.fileno() with 1024, or use selectors.DefaultSelector.",
    group="high",
    models=("select",),
    where=r"FD_SET\s*\(|\bselect\s*\(|FD_SETSIZE",
    run=run,
)
