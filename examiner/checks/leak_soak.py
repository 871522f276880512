"""Connections that come and go leave nothing behind: no descriptor, no process, no thread, no memory.

After a warm-up, five rounds of clients are served one after the other. Only what grows in every round, and in step with
the connections, is a leak; what a library allocates once is none.
"""

import itertools

from examiner._check import Check
from examiner._exam import Exam, Inconclusive
from examiner._subject import Subject

ROUNDS, CONNECTIONS = 5, 20
WARM_UP = 40
PAGE_KIB = 4
"""A connection that leaves a page behind leaves more than bookkeeping."""
STACK_KIB = 1024
"""The address space of a thread's stack is 8 MiB; that of an ended thread nobody joined stays (pthread_join(3))."""

LEAST = {
    "descriptors": 0.5,
    "processes": 0.5,
    "threads": 0.5,
    "KiB of memory": PAGE_KIB,
    "KiB of address space": STACK_KIB,
}
"""How much of each a connection must leave behind to count."""


def run(exam: Exam) -> str:
    """Count what the server has after each round."""
    subject = exam.start()
    _serve(exam, subject, WARM_UP)
    counts = [_settled(subject, {})]
    for _ in range(ROUNDS):
        _serve(exam, subject, CONNECTIONS)
        counts.append(_settled(subject, counts[-1]))
    exam.provoked(True, f"{ROUNDS} rounds of clients were served")
    leaks = []
    for name, least in LEAST.items():
        series = [count[name] for count in counts]
        exam.note(f"{name} after each round of {CONNECTIONS} clients: {', '.join(map(str, series))}")
        if all(later - earlier >= least * CONNECTIONS for earlier, later in itertools.pairwise(series)):
            leaks.append(f"{(series[-1] - series[0]) / (ROUNDS * CONNECTIONS):,.1f} {name}")
    exam.expect(not leaks, f"each connection leaves behind {', '.join(leaks)}")
    return f"{ROUNDS * CONNECTIONS} connections leave nothing behind"


def _serve(exam: Exam, subject: Subject, count: int) -> None:
    for number in range(count):
        client = exam.connect(subject)
        if not client.served():
            raise Inconclusive(f"client {number + 1} of {count} in a row is not served; {subject.status()}")
        client.close()


def _settled(subject: Subject, before: dict[str, int]) -> dict[str, int]:
    """The counts, as soon as no more is left than before, or when it has had its time."""

    def settled() -> bool:
        return not any(number > before.get(name, number) for name, number in _count(subject).items())

    subject.eventually(settled, seconds=1.0)
    return _count(subject)


def _count(subject: Subject) -> dict[str, int]:
    return {
        "descriptors": len(subject.descriptors(subject.pid)),
        "processes": len(subject.living()),
        "threads": int(subject.field(subject.pid, "Threads") or 0),
        "KiB of memory": _kib(subject, "VmRSS"),
        "KiB of address space": _kib(subject, "VmSize"),
    }


def _kib(subject: Subject, field: str) -> int:
    return int((subject.field(subject.pid, field) or "0").split()[0])


CHECK = Check(
    requirement="A connection that has ended has left nothing behind in the server.",
    reference="close(2), pthread_detach(3), free(3), proc_pid_fd(5), proc_pid_status(5); UNP 4.8; TLPI 60.3",
    expected="as many descriptors, processes and threads, and as much memory, after each round of clients",
    cause="The connection is not closed on one of the ways out, a thread is neither joined nor detached, or memory of "
    "the connection is not freed.",
    mend="close(fd) and free(buffer) on every way out; pthread_detach(pthread_self()) first in the thread. In Python: "
    "with connection: …, and take it out of every list and dictionary.",
    group="breadth",
    where=r"\b(accept|pthread_create|malloc|calloc|append)\s*\(",
    follows=("parent-keeps-client-fd", "child-keeps-other-clients"),
    run=run,
)
