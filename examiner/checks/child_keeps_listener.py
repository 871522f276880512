"""A child does not hold the listener.

The LISTEN socket's inode is looked for among the descriptors of the processes that serve clients. Then the parent is
killed: a port that still listens afterwards belongs to a child, and nobody will ever accept from it.
"""

import signal

from examiner._check import Check
from examiner._exam import Exam, Warned
from probe.sockets import LISTEN

CLIENTS = 2


def run(exam: Exam) -> str:
    """Look at the children's descriptors, then at the port after the parent's end."""
    subject = exam.start(survives=False)
    listener = subject.listener()
    clients = exam.clients(subject, CLIENTS)
    servants = {pid for client in clients for pid in subject.held_by(client)} - {subject.pid}
    exam.provoked(listener and servants, "children serve clients")
    assert listener

    def keepers() -> set[int]:
        return servants & subject.holders().get(listener["inode"], set())

    if subject.eventually(lambda: not keepers()):
        exam.note(f"the listener, inode {listener['inode']}, is held by {sorted(subject.holders()[listener['inode']])}")
        return f"none of the children {sorted(servants)} holds the listener"
    for pid in sorted({subject.pid, *keepers()}):
        for entry in subject.descriptors(pid):
            if entry["inode"] == listener["inode"]:
                who = "parent" if pid == subject.pid else "child"
                exam.note(f"{who} {pid}: descriptor {entry['fd']} is {entry['target']}, the listener")
    subject.kill(signal.SIGKILL)
    exam.provoked(subject.eventually(lambda: not subject.alive()), "the parent is killed")
    subject.eventually(lambda: not _listening(subject.sockets()))
    row = _listening(subject.sockets())
    if not row:
        raise Warned("children hold the listener while the parent lives; when it has gone, the port is free")
    exam.note(f"parent {subject.pid} is killed, and {row['local']} is still in LISTEN, held by {sorted(keepers())}")
    exam.expect(not row, "the children hold the listener: the port still listens after the parent has gone")
    return ""


def _listening(rows: list[dict[str, object]]) -> dict[str, object] | None:
    return next((row for row in rows if row["state"] == LISTEN), None)


CHECK = Check(
    requirement="A child closes the listener, which only the parent needs.",
    reference="fork(2), close(2); UNP 4.8, figure 4.13; TLPI 60.3",
    expected="the listener's socket inode is not among the descriptors of a child that serves",
    cause="The child does not close the listener after fork(). When the parent ends, the port stays taken by children: "
    "clients connect and nobody accepts them, and a new server cannot bind (EADDRINUSE).",
    mend="First thing in the child: close(listener); in Python: listener.close().",
    models=("fork",),
    where=r"\bfork\s*\(",
    run=run,
)
