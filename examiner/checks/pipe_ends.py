"""Each process closes the end of the pipe that it does not use.

Who serves must not hold the read end: it would wait for ever, not get EPIPE, when the recorder is dead. Who records
must not hold the write end: when all others have been killed, it must see end of file and end, too.
"""

import contextlib
import signal

from examiner import _store
from examiner._check import Check
from examiner._exam import Exam, Inconclusive, Skipped
from examiner._subject import Subject


def run(exam: Exam) -> str:
    """Look at who holds which end, then end all writers."""
    subject = exam.start(survives=False)
    clients = exam.clients(subject, exam.at_once(2))
    found = _store.recording(exam, subject, clients)
    if not found:
        raise Skipped("no process of it reads a pipe and writes a file: there is no recorder")
    exam.provoked(True, "there is a recorder")
    serving = {pid for client in clients for pid in subject.held_by(client)}
    readers = [pid for pid in sorted(serving) if _ends(exam, subject, pid, found.pipe, "read", "which serves clients")]
    exam.expect(not readers, f"processes {readers}, which serve clients, hold the read end of the recorder's pipe")
    for client in clients:
        client.close()
    for pid in subject.tree().keys() - found.recorders:
        with contextlib.suppress(ProcessLookupError):  # it ended with its client
            subject.kill(signal.SIGKILL, pid)
    over = subject.eventually(lambda: not found.recorders & set(subject.living()) and not subject.alive())
    left = sorted(found.recorders & set(subject.living()))
    exam.note(f"all others are killed; recorder {sorted(found.recorders)}: {'has ended' if over else 'is there'}")
    keeping = [pid for pid in left if _ends(exam, subject, pid, found.pipe, "write", "the recorder itself")]
    exam.expect(not keeping, f"the recorder {keeping} holds the write end of its own pipe, and never sees end of file")
    if left:
        raise Inconclusive(f"the recorder {left} does not end, although nobody holds the write end")
    return "who serves holds no read end, and the recorder ended when the last writer had"


def _ends(exam: Exam, subject: Subject, pid: int, pipe: int, end: str, who: str) -> bool:
    """Whether a process holds an end of the pipe."""
    held = [each for each in subject.descriptors(pid) if each["inode"] == pipe and each["end"] == end]
    for each in held:
        exam.note(f"process {pid}, {who}: descriptor {each['fd']} is the {end} end of {each['target']}")
    return bool(held)


CHECK = Check(
    requirement="Each process holds the end of the pipe that it uses, and not the other one.",
    reference="pipe(7), pipe(2); TLPI 44.2; UNP vol. 2, 4.3; APUE 15.2",
    expected="who serves holds no read end, who records no write end: it ends after the last writer",
    cause="After fork() a process keeps the end of the pipe that it does not use. A recorder with a write end waits "
    "for itself; a server with a read end never gets EPIPE.",
    mend="In the recorder, first of all: close(ends[1]); in the server, after it has forked the recorder: "
    "close(ends[0]); in Python: os.close().",
    group="high",
    services=("store",),
    where=r"\bpipe2?\s*\(|\bfork\s*\(",
    run=run,
)
