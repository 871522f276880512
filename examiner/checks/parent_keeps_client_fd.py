"""The parent closes its copy of each connection.

Three clients are served and go. When no child holds a connection any more, nobody may: TCP ends it when the last
descriptor of its socket is closed, so a copy in the parent keeps it in CLOSE_WAIT, and a client would wait for a FIN.
A parent that closes its copy only after it has waited for the child passes.
"""

from examiner._check import Check
from examiner._exam import Exam

CLIENTS = 3


def run(exam: Exam) -> str:
    """Let clients come and go, and see who still holds their connections."""
    subject = exam.start()
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
    for row in subject.sockets():
        if row["inode"] in left:
            exam.note(f"{row['local']} to {row['remote']} is in {row['state']}, socket inode {row['inode']}")
    for entry in subject.descriptors(subject.pid):
        if entry["inode"] in left:
            exam.note(f"parent {subject.pid}: descriptor {entry['fd']} is {entry['target']}; no child holds it")
    exam.expect(not left, f"the parent still holds {len(left)} of {CLIENTS} connections that are over")
    return f"nobody holds one of the {CLIENTS} connections after they are over"


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
