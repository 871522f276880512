"""The server has a bound on the clients that it serves at once."""

from examiner._check import Check
from examiner._exam import Exam, Told
from examiner.checks._crowd import CROWD, gather


def run(exam: Exam) -> str:
    """Let a hundred come and stay; see whether it stops to accept, or to answer."""
    subject = exam.start()
    served, left_out = gather(exam, subject)
    exam.provoked(served, "a client is served")
    processes, threads = len(subject.living()), int(subject.field(subject.pid, "Threads") or 1)
    exam.note(f"{len(served)} clients served at once, with {processes} more processes and {threads} threads")
    exam.note(f"{len(left_out)} were not served; {(subject.listener() or {}).get('rx_queue', 0)} wait to be accepted")
    if left_out:
        return f"it serves {len(served)} clients at once and no more"
    raise Told(f"no bound is seen: {CROWD} clients at once are served, each with what it costs the server")


CHECK = Check(
    requirement="The server bounds how many clients it serves at once.",
    reference="setrlimit(2) (RLIMIT_NPROC), fork(2) (EAGAIN); TLPI 60.3; UNP 30.5",
    expected="a number beyond which clients wait or are turned away",
    cause="Each connection is accepted and given a process, a thread or a buffer, until the system has none left.",
    mend="Count the clients; at the bound do not accept until one has left: the others wait in the backlog.",
    group="advisory",
    models=("fork", "thread", "select", "poll", "epoll"),
    where=r"\baccept4?\s*\(",
    follows=("many-clients",),
    run=run,
)
