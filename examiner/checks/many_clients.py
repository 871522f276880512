"""A hundred clients at once are served; or as many as the server allows, and the others afterwards."""

from examiner._check import Check
from examiner._exam import Exam
from examiner.checks._crowd import CROWD, gather


def run(exam: Exam) -> str:
    """Let them come, ask them all again, last one first; let those who were served leave, if some were not."""
    subject = exam.start()
    served, left_out = gather(exam, subject)
    exam.provoked(served, "a client is served")
    if left_out:
        subject.eventually(lambda: not subject.alive(), seconds=0.5)
    exam.note(f"{len(served)} clients served at once, {len(left_out)} not; {subject.status()}")
    exam.expect(subject.alive(), f"with {len(served)} clients the server ends: {subject.status()}")
    lost = [client.local for client in reversed(served) if not client.served()]
    exam.note(f"asked again, last one first: {len(lost)} get no answer any more")
    exam.expect(not lost, f"of {len(served)} clients that were served, {len(lost)} get no answer any more")
    for client in served:
        client.close()
    waiting = [client for client in left_out if not client.ended]
    dropped = len(left_out) - len(waiting)
    answered = all(client.receive(1) for client in waiting)  # to the line that each of them sent when it came
    exam.expect(answered, f"beyond {len(served)} clients, some never get an answer")
    exam.expect(exam.connect(subject).served(), f"after {len(served)} clients at once no other one is served")
    if not left_out:
        return f"{CROWD} clients at once are served"
    return f"{len(served)} clients at once are served, {len(waiting)} more afterwards, {dropped} are turned away"


CHECK = Check(
    requirement="The server serves a hundred clients at once, or has a bound and keeps order at it.",
    reference="accept(2), setrlimit(2); UNP 30.2; TLPI 60.3",
    expected="each of them is answered, also when all are asked again; or those beyond the bound are, later",
    cause="A table of connections, children or threads has a fixed size that nobody looks at: what is written beyond "
    "its end breaks the server.",
    mend="Look at the bound before you accept, and do not watch the listener while it is reached; or let the table "
    "grow (realloc; in Python a dictionary or a set).",
    group="breadth",
    models=("fork", "thread", "select", "poll", "epoll"),
    where=r"\[\s*(MAX\w*|[0-9]+)\s*\]",
    follows=("concurrent",),
    run=run,
)
