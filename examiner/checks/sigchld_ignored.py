"""SIGCHLD is handled, and not ignored: who ignores it never learns how a child ended."""

import signal

from examiner._check import Check
from examiner._exam import Exam, Told


def run(exam: Exam) -> str:
    """Read the mask of ignored signals while a child serves."""
    subject = exam.start()
    exam.clients(subject, 1)
    children = sorted(subject.children())
    exam.provoked(children, "a child serves a client")
    ignored = int(subject.field(subject.pid, "SigIgn") or "0", 16)
    exam.note(
        f"process {subject.pid} with children {children}: SigIgn {ignored:016x}; SIGCHLD is bit {signal.SIGCHLD - 1}"
    )
    if not ignored >> (signal.SIGCHLD - 1) & 1:
        return "SIGCHLD is not ignored"
    raise Told("SIGCHLD is ignored: no zombies, but wait, system and popen do not tell how a child ended")


CHECK = Check(
    requirement="The server learns how its children end.",
    reference="wait(2) (Notes, on SIGCHLD and SIG_IGN), sigaction(2) (SA_NOCLDWAIT), execve(2); TLPI 26.3.3",
    expected="SIGCHLD is not in SigIgn of /proc/PID/status",
    cause="signal(SIGCHLD, SIG_IGN) makes the kernel throw the exit status away; programs that are "
    "executed inherit it.",
    mend="Handle SIGCHLD and wait in a loop with WNOHANG, if the status matters.",
    group="advisory",
    models=("fork", "prefork"),
    where=r"SIG_IGN",
    run=run,
)
