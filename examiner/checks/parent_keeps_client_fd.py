"""The parent closes its copy of each connection.

Three clients are served and go. When no child holds a connection any more, nobody may: TCP ends it when the last
descriptor of its socket is closed, so a copy in the parent keeps it in CLOSE_WAIT, and a client would wait for a FIN.
A parent that closes its copy only after it has waited for the child passes.
"""

from examiner._check import Check
from examiner._exam import Exam
from examiner._subject import Subject

CLIENTS = 3
ROUNDS = 2
"""A parent that has not waited for its children yet gets another chance, as clients come: for a SIGCHLD just before
accept(2) sleeps, Python runs no handler until accept returns."""


def run(exam: Exam) -> str:
    """Let clients come and go, and see who still holds their connections."""
    subject = exam.start()
    for _ in range(ROUNDS):
        servants, left = _come_and_go(exam, subject)
        if not left or not servants & set(subject.zombies()):
            break
    for row in subject.sockets():
        if row["inode"] in left:
            exam.note(f"{row['local']} to {row['remote']} is in {row['state']}, socket inode {row['inode']}")
    for entry in subject.descriptors(subject.pid):
        if entry["inode"] in left:
            exam.note(f"parent {subject.pid}: descriptor {entry['fd']} is {entry['target']}; no child holds it")
    exam.expect(not left, f"the parent still holds {len(left)} of {CLIENTS} connections that are over")
    return f"nobody holds one of the {CLIENTS} connections after they are over"


def _come_and_go(exam: Exam, subject: Subject) -> tuple[set[int], set[int]]:
    """Who served the clients, and the inodes of the connections that the parent holds when they have gone."""
    clients = exam.clients(subject, CLIENTS)
    inodes = {row["inode"] for row in subject.sockets() if row["remote"] in {client.local for client in clients}}
    servants = {pid for inode in inodes for pid in subject.holders().get(inode, ())} - {subject.pid}
    exam.provoked(len(inodes) == CLIENTS and servants, f"children hold the connections of {CLIENTS} clients")
    exam.note(f"{CLIENTS} clients are served by processes {sorted(servants)}, children of {subject.pid}")
    for client in clients:
        client.close()

    def held() -> dict[int, set[int]]:
        return {inode: pids for inode, pids in subject.holders().items() if inode in inodes}

    subject.eventually(lambda: not held())
    left = held()
    others = {pid for pids in left.values() for pid in pids} - {subject.pid}
    exam.provoked(not others, "the children let go of connections that their clients have closed")
    return servants, set(left)


CHECK = Check(
    requirement="When a client and its child are through with a connection, the parent does not hold it open.",
    reference="fork(2), close(2); UNP 4.8, figure 4.13; TLPI 60.3",
    expected="no process holds a connection after its client has closed it and its child has ended",
    cause="The parent does not close the connection after fork(). The child's close() then ends nothing: the parent's "
    "copy keeps the connection open, the client never sees its end, and descriptors run out.",
    mend="Close it in the parent, after fork() in every case: close(connection); in Python: connection.close().",
    models=("fork",),
    where=r"\bfork\s*\(|\baccept4?\s*\(",
    run=run,
)
