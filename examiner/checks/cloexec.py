"""Listener and connections are closed when the server executes another program."""

from typing import Any

from examiner._check import Check
from examiner._exam import Exam, Told
from examiner._subject import Subject

STANDARD = 2
"""A server in the manner of inetd gives its program the connection as descriptors 0 to 2, and means to."""


def run(exam: Exam) -> str:
    """Read the flags of its sockets while it serves a client."""
    subject = exam.start()
    exam.clients(subject, 1)
    held = _sockets(subject)
    exam.provoked(held, "the server holds its listener")
    for row in held:
        exam.note(f"process {row['pid']}, descriptor {row['fd']}, {row['target']}: {' '.join(row['flags'] or ())}")
    loose = [row for row in held if "O_CLOEXEC" not in (row["flags"] or ())]
    if loose:
        raise Told(f"{len(loose)} of its {len(held)} sockets would stay open in a program that it executes")
    return f"all of its {len(held)} sockets are closed on exec"


def _sockets(subject: Subject) -> list[dict[str, Any]]:
    ours = {row["inode"] for row in subject.sockets()}
    return [
        row
        for pid in subject.tree()
        for row in subject.descriptors(pid)
        if row["kind"] == "socket" and row["inode"] in ours and row["fd"] > STANDARD
    ]


CHECK = Check(
    requirement="The server's sockets are not passed on to programs that it executes.",
    reference="open(2) (O_CLOEXEC), socket(2) (SOCK_CLOEXEC), accept(2) (accept4), execve(2); TLPI 27.4; PEP 446",
    expected="O_CLOEXEC among the flags in /proc/PID/fdinfo, for the listener and for connections",
    cause="socket and accept without SOCK_CLOEXEC: a program started with system or exec "
    "keeps the port and the clients.",
    mend="socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0); accept4(fd, NULL, NULL, SOCK_CLOEXEC). In Python it is so by "
    "default: leave set_inheritable(True) out.",
    group="advisory",
    where=r"\b(socket|accept4?|set_inheritable)\s*\(",
    run=run,
)
