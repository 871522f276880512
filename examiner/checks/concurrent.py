"""Five clients are connected at once, and are answered in the reverse order of their coming.

The last one is asked first, while the others are connected and say nothing: who serves one after the other does not
answer.
"""

from examiner._check import Check
from examiner._exam import Exam, Skipped, Warned
from examiner._subject import Subject

CLIENTS = 5


def run(exam: Exam) -> str:
    """Connect five, ask the last one first."""
    if exam.demanded == "iterative":
        raise Skipped("it was asked to serve one client after the other")
    subject = exam.start()
    clients = [exam.connect(subject) for _ in range(CLIENTS)]
    exam.provoked(len(clients) == CLIENTS, f"{CLIENTS} clients are connected at once")
    answered = []
    for number in range(CLIENTS, 0, -1):
        done = clients[number - 1].served()
        exam.note(f"client {number} of {CLIENTS}: {'answered' if done else 'not answered'}")
        if done:
            answered.append(number)
        elif not answered and number <= CLIENTS - 2:  # two that wait are proof enough
            break
    if len(answered) < CLIENTS:
        waiting = [row for row in subject.sockets() if row["state"] == "ESTABLISHED" and not row["inode"]]
        exam.note(f"connections that nobody has accepted: {len(waiting)}; process {subject.pid} {_sleep(subject)}")
    words = f"{len(answered)} of {CLIENTS} clients at once are answered"
    if exam.model == "prefork" and 2 <= len(answered) < CLIENTS:
        raise Warned(
            words,
            cause=f"The pool has {len(answered)} processes, and each serves one client.",
            mend="Make the pool larger, or let it grow when all its processes are busy.",
        )
    exam.expect(
        len(answered) == CLIENTS, f"{words}: {answered}" if answered else "the last clients wait for the first one"
    )
    return f"{words}, the last one first"


def _sleep(subject: Subject) -> str:
    where = subject.sleeps_in(subject.pid)
    return f"sleeps in {where}" if where else "runs"


CHECK = Check(
    requirement="A client is served, however many others are connected and say nothing.",
    reference="UNP 4.8, 5.3; TLPI 60.1",
    expected="all of five clients at once are answered, the last one first",
    cause="The server serves one client to its end before it accepts the next one.",
    mend="Serve each client in a process or thread of its own, or wait for all of them at once with poll or epoll.",
    where=r"\b(accept4?|fork|pthread_create|Thread)\s*\(",
    follows=("blocking-wait",),
    run=run,
)
