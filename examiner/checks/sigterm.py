"""On SIGTERM the server ends, and nothing of it is left.

Two clients are served. After SIGTERM to its first process, and after the clients have gone, every process must have
ended, and the port must be free. Whether it waits for its clients, and for how long, is its own choice.

SIGTERM comes when the server sleeps, as it does nearly always: one that only sets a variable would see it by chance, if
it were just on its way back to accept.
"""

import signal

from examiner._check import Check
from examiner._exam import Exam, Inconclusive
from examiner._subject import GRACE
from probe.sockets import LISTEN


def run(exam: Exam) -> str:
    """Send SIGTERM, let the clients go, and see what is left."""
    subject = exam.start(survives=False)
    clients = exam.clients(subject, exam.at_once(2))
    subject.at_rest(0.05, most=GRACE)  # who polls may never rest, and looks at its variable soon
    exam.provoked(subject.alive(), "the server runs")
    subject.kill(signal.SIGTERM)
    subject.eventually(lambda: not subject.alive(), 0.5)
    exam.note(f"after SIGTERM, with {len(clients)} clients: {subject.status()}")
    for client in clients:
        client.close()

    def left() -> dict[int, str]:
        everyone = subject.tree() if subject.alive() else subject.living()
        return {pid: each["state"] for pid, each in everyone.items()}

    subject.eventually(lambda: not left())
    exam.note(f"after its clients have gone: {subject.status()}")
    for pid, state in left().items():
        exam.note(f"process {pid} is left, state {state}, sleeps in {subject.sleeps_in(pid) or 'nothing'}")
    exam.expect(not subject.alive(), "it does not end on SIGTERM, although no client is left")
    if (rest := set(left())) and any(row["state"] == LISTEN for row in subject.sockets()):
        exam.expect(False, f"its first process ended, but processes {sorted(rest)} still listen on the port")
    if rest and exam.service == "store":
        raise Inconclusive(f"processes {sorted(rest)} are left, which hold no listener; see pipe-ends")
    exam.expect(not rest, f"its first process ended, but processes {sorted(rest)} are left, without any client")
    return f"{subject.status()}, and nothing is left"


CHECK = Check(
    requirement="On SIGTERM the server ends, with all its processes, at the latest when its clients have gone.",
    reference="signal(7), sigaction(2) SA_RESTART; TLPI 20.1, 21.5; systemd.kill(5)",
    expected="no process of it is left, and nobody listens on the port",
    cause="SIGTERM is ignored, or its handler only sets a variable while accept() is started again (SA_RESTART, "
    "signal(), and always in Python): nobody looks at it until the next client comes. Or children are not told.",
    mend="Leave SIGTERM at its default, or install the handler with sigaction without SA_RESTART and look at the "
    "variable when accept() returns -1 with EINTR; in Python: raise SystemExit in the handler, or "
    "signal.set_wakeup_fd. A pool's parent hands it on: kill(child, SIGTERM).",
    group="high",
    where=r"SIGTERM|SIGINT|\bsigaction\b|\bsignal\s*\(|signal\.signal",
    run=run,
)
