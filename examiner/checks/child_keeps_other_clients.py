"""A child holds the connection of its own client and no other one.

Three clients wait in the backlog while the parent is stopped, so that it finds them together. When the first and the
last of them have gone, and those who served them let go, their connections must be over, although the second stays.
"""

from examiner._check import Check
from examiner._connection import Connection
from examiner._exam import Exam, Inconclusive
from examiner._subject import Subject


def run(exam: Exam) -> str:
    """Have three clients accepted at once, let two go, and see whether the third one's child keeps them."""
    subject = exam.start()
    with subject.frozen((subject.pid,)):
        clients = [exam.connect(subject) for _ in range(3)]
    exam.provoked(all(client.served() for client in clients), "three clients at once are served")
    subject.sleeps()
    inodes = [_inode(subject, client) for client in clients]
    serving = subject.held_by(clients[1]) - {subject.pid}
    exam.provoked(all(inodes) and serving, "children hold the connections of three clients")
    for inode, client in zip(inodes, clients, strict=True):
        exam.note(f"{client.local}: socket inode {inode} is held by {sorted(subject.holders().get(inode, ()))}")
    clients[0].close()
    clients[2].close()

    def left() -> dict[int, set[int]]:
        return {inode: pids for inode, pids in subject.holders().items() if inode in (inodes[0], inodes[2])}

    def parent_keeps() -> bool:
        return any(subject.pid in pids for pids in left().values())

    subject.eventually(lambda: not left())
    if parent_keeps():
        # It may close its copies when it waits, and be late: for a SIGCHLD that comes just before accept(2) sleeps,
        # Python runs no handler until accept returns.
        exam.clients(subject, 1)
        subject.eventually(lambda: not parent_keeps())
    kept = {inode: pids for inode, pids in left().items() if pids}
    if parent_keeps():
        raise Inconclusive("the parent keeps connections, so later children inherit them; see parent-keeps-client-fd")
    wrong = {inode: pids & serving for inode, pids in kept.items() if pids & serving}
    if kept and not wrong:
        raise Inconclusive("a child does not end when its client has gone; see half-close")
    for inode, pids in wrong.items():
        for pid in sorted(pids):
            numbers = {entry["inode"]: entry["fd"] for entry in subject.descriptors(pid)}
            exam.note(
                f"its client has gone, but inode {inode} is descriptor {numbers.get(inode, '?')} of process {pid}, "
                f"which serves {clients[1].local} on descriptor {numbers.get(inodes[1], '?')}"
            )
    exam.expect(not wrong, f"a child holds {len(wrong)} connections of other clients, which are over")
    exam.expect(clients[1].served(), "the client that stays is not served any more")
    return "each child holds its own client's connection only"


def _inode(subject: Subject, client: Connection) -> int:
    return next((row["inode"] for row in subject.sockets() if row["remote"] == client.local), 0)


CHECK = Check(
    requirement="A child holds the connection of its own client, and of no other one.",
    reference="fork(2), close(2); UNP 4.8; TLPI 60.3",
    expected="a connection is over when its client and its own child are, whoever else is served",
    cause="The parent still had other clients' connections open when it forked this child, which inherited them. Their "
    "clients see no end of file before this child ends, too.",
    mend="Close the connection in the parent right after fork(), before the next accept(); what the parent must keep, "
    "the child closes first of all: close(other); in Python: other.close().",
    models=("fork",),
    where=r"\bfork\s*\(|\baccept4?\s*\(",
    follows=("parent-keeps-client-fd",),
    run=run,
)
