"""A worker of the pool that dies is replaced: after each of them was killed once, clients are still served."""

import signal

from examiner._check import Check
from examiner._exam import Exam, Skipped


def run(exam: Exam) -> str:
    """Kill the workers one after the other."""
    subject = exam.start()
    workers = [pid for pid, each in subject.children().items() if each["state"] not in "ZX"]
    if not workers:
        raise Skipped("it has no workers before a client comes")
    exam.note(f"parent {subject.pid}, workers {workers}")
    refilled = True  # wait for the next one only as long as there was one each time
    for pid in workers:
        if pid not in subject.living():
            continue  # it was replaced already
        subject.kill(signal.SIGKILL, pid)
        ended = subject.eventually(lambda pid=pid: pid not in subject.living())  # type: ignore[misc]
        exam.provoked(ended, f"worker {pid} ends")
        refilled = refilled and subject.eventually(lambda: len(subject.living()) >= len(workers))
        exam.expect(subject.alive(), f"when worker {pid} is killed, the whole server ends: {subject.status()}")
    now = sorted(subject.living())
    exam.note(f"each was killed once (SIGKILL); now the workers are {now or 'none'}")
    client = exam.connect(subject)
    served = client.served()
    waiting = (subject.listener() or {}).get("rx_queue", 0)
    exam.expect(served, f"after its {len(workers)} workers were killed, nobody serves: {waiting} clients wait")
    exam.expect(now, "a client is served, but the pool is empty")
    return f"{len(workers)} workers were killed one after the other; there are {len(now)}, and a client is served"


CHECK = Check(
    requirement="The parent of a pool forks a new worker for each that ends.",
    reference="wait(2), fork(2); UNP 30.6-30.8 (preforked servers); TLPI 60.4",
    expected="workers again, and a client that is served, after each worker was killed once",
    cause="The parent forks its workers at the start only: it sleeps in pause or in one wait, and never forks again.",
    mend="Wait in a loop and fork one for each that ended: while ((pid = waitpid(-1, &status, 0)) > 0) start_worker(); "
    "in Python: os.waitpid(-1, 0), then start_worker().",
    group="breadth",
    models=("prefork",),
    where=r"\b(pause|wait|waitpid|join)\s*\(",
    run=run,
)
