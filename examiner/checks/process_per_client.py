"""Each of three clients is served by a process of its own.

Which process holds a connection is read from /proc. Of those that hold it, the one that was forked first serves it: a
later one can only have inherited its copy.
"""

from examiner._check import Check
from examiner._exam import Exam, Skipped

CLIENTS = 3
MODELS = ("fork", "prefork")


def run(exam: Exam) -> str:
    """Serve three at once and see who holds what."""
    if exam.demanded not in MODELS and exam.model not in MODELS:
        raise Skipped(f"it applies to the model fork or prefork; this server is {exam.model}")
    subject = exam.start()
    clients = exam.clients(subject, CLIENTS)
    exam.provoked(True, f"{CLIENTS} clients are served at once")
    servants: list[int] = []
    for number, client in enumerate(clients, 1):
        # The child may answer before its parent has let go of its copy.
        subject.eventually(lambda client=client: subject.pid not in subject.held_by(client), seconds=0.3)  # type: ignore[misc]
        held = subject.held_by(client)
        exam.note(f"client {number}, {client.local}: held by {sorted(held)}, parent {subject.pid}")
        children = held - {subject.pid}
        tree = subject.tree()
        servants += sorted(children, key=lambda pid: (tree[pid]["start"], pid) if pid in tree else (0.0, pid))[:1]
    exam.expect(len(servants) == CLIENTS, f"only {len(servants)} of {CLIENTS} connections are held by a child")
    exam.expect(
        len(set(servants)) == CLIENTS, f"{CLIENTS} clients are served by {len(set(servants))} processes: {servants}"
    )
    return f"{CLIENTS} clients are served by the processes {servants}"


CHECK = Check(
    requirement="Each client is served by a process of its own, and not by the parent.",
    reference="fork(2); UNP 4.7-4.8; TLPI 60.3",
    expected="three connections, each held by another child",
    cause="There is no fork for each accepted connection, or the parent serves the client itself.",
    mend="Fork after each accept: the child serves the connection and ends, the parent closes its copy and goes on.",
    where=r"\b(fork|accept4?)\s*\(",
    run=run,
)
