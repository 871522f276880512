"""The client's parent ends last, and has waited for its child.

A child that nobody waited for becomes the examiner's when its parent ends, for the examiner is the subreaper of all its
descendants (prctl(2)): as a zombie, or alive. So no moment can be missed.
"""

from examiner._check import Check
from examiner._exam import Exam, Inconclusive, Skipped
from examiner._subject import Process


def run(exam: Exam) -> str:
    """End the input, then the connection; see whose the child is when the parent has ended."""
    client = exam.meet()
    children = sorted(client.children())
    if not children:
        raise Skipped("it has no child")
    exam.note(f"parent {client.pid}, children {children}")
    exam.provoked(client.type(b"the last line\n"), "a line is typed")
    client.end_input()
    exam.provoked(client.wire.await_end() == "FIN", "the writer ends its side; see the check client-half-close")
    client.at_rest()
    early = [pid for pid in children if pid in client.adopted]
    exam.note(f"end of input: {', '.join(_state(client.tree(), pid) for pid in [client.pid, *children])}")
    exam.expect(client.alive(), f"the parent ends while the server still may send; orphans: {early or 'none'}")
    client.wire.close()
    if not client.eventually(lambda: not client.alive()):
        raise Inconclusive("its parent does not end after the server's FIN; see the check client-server-gone")
    client.eventually(lambda: not client.living())
    left = sorted(client.adopted & set(children))
    exam.note(
        f"the parent {client.status().removeprefix('it ')}; children that became the examiner's: {left or 'none'}"
    )
    exam.expect(not left, f"the parent ends without having waited for {left}")
    return f"the parent waits for {children}, and ends last"


def _state(tree: dict[int, Process], pid: int) -> str:
    return f"{pid} is {tree[pid]['state']}" if pid in tree else f"{pid} has gone"


CHECK = Check(
    requirement="The client's parent waits for its child before it ends.",
    reference="waitpid(2), _exit(2) (Notes, on orphans), prctl(2); UNP 5.9; TLPI 25.2, 26.1-26.2",
    expected="no child becomes an orphan when the parent ends, alive or as a zombie",
    cause="The parent returns from main when the socket ends, without wait.",
    mend="waitpid(child, &status, 0) after the socket's end, before the parent exits; in Python os.waitpid(child, 0).",
    group="client",
    where=r"\b(fork|wait|waitpid|exit|_exit)\s*\(",
    follows=("client-server-gone", "client-half-close"),
    run=run,
)
