"""A client that resets its connection ends its own conversation and nothing else.

Its RST makes the server's next read fail with ECONNRESET. strace shows what the server does then: it must not write to
that connection, for -1 is no number of bytes, and must let go of the socket. Two other clients must notice nothing.
"""

import re

from examiner._check import Check
from examiner._exam import Exam, Failed, Inconclusive
from examiner._strace import Call, CannotTrace

READS = {"read", "recvfrom", "recvmsg", "readv"}
WRITES = {"write", "sendto", "sendmsg", "writev"}
CLOSES = {"close", "dup2", "dup3"}
ENDS = CLOSES | {"exit", "exit_group"}
DEATHS = {"SIGSEGV", "SIGBUS", "SIGABRT", "SIGFPE", "SIGILL"}
_TRACED = ",".join(f"?{name}" for name in sorted(READS | WRITES | ENDS))


def run(exam: Exam) -> str:
    """Reset a connection, and look at the calls that follow."""
    subject = exam.start()
    *others, client = exam.clients(subject, exam.at_once(3))
    inodes = {row["inode"] for row in subject.sockets() if row["remote"] == client.local}
    servants = tuple(subject.held_by(client))

    def held() -> list[int]:
        return sorted(pid for inode in inodes for pid in subject.holders().get(inode, ()))

    exam.provoked(inodes and servants, "the server holds the connection")
    try:
        with subject.traced(calls=_TRACED, pids=servants) as trace:
            client.reset()
            # Only when all that it did is recorded: who ends without close(2) is seen to end.
            subject.eventually(lambda: any(call.name in ENDS for call in trace.calls()) and not held())
            gone = not any(row["remote"] == client.local for row in subject.sockets())
    except CannotTrace as error:
        raise Inconclusive(str(error)) from None
    exam.provoked(gone, "the connection is reset")
    calls = trace.calls()
    read = next(
        (number for number, call in enumerate(calls) if call.name in READS and call.error == "ECONNRESET"), None
    )
    exam.note(f"{client.local} sent RST" if read is None else str(calls[read]))
    if not subject.alive():
        raise Failed(f"one client's reset ended the server: {subject.status()}", cause=_UNCAUGHT)
    wrong = None if read is None else _wrong(calls[read], calls[read + 1 :])
    if wrong:
        exam.note(str(wrong))
        deed = f"is ended by {wrong.name}" if wrong.name in DEATHS else f"calls {wrong.name} on the same connection"
        raise Failed(f"after read has failed with ECONNRESET, process {wrong.pid} {deed}")
    if set(held()) == {subject.pid} != set(servants):
        raise Inconclusive("the child has let go of the connection, but its parent has not; see parent-keeps-client-fd")
    exam.expect(not held(), f"the connection is reset, but process {held()} still holds its socket")
    exam.expect(all(other.served() for other in others), "one client's reset ended other clients' conversations")
    return "the server closed the connection, and served the others on"


def _wrong(read: Call, calls: list[Call]) -> Call | None:
    """What its process did to the connection after a failed read, although nothing can be done any more."""
    descriptor = _descriptor(read)
    for call in (call for call in calls if call.pid == read.pid):
        if call.name in CLOSES and _descriptor(call) == descriptor:
            return None
        if call.name in DEATHS or (call.name in WRITES and _descriptor(call) == descriptor):
            return call
    return None


def _descriptor(call: Call) -> str:
    found = re.match(r"\d+", call.arguments)
    return found[0] if found else ""


_UNCAUGHT = "The error of read is not handled where it comes up, and so ends the whole server."

CHECK = Check(
    requirement="When a read fails, that conversation is over: nothing is written any more, and its socket is closed.",
    reference="read(2), recv(2), tcp(7) ECONNRESET; UNP 5.13 and 6.4; TLPI 4.4",
    expected="after a client's RST the server closes this connection, writes nothing to it, and serves the others",
    cause="What read returned is used without a look at whether it is -1: only 0 is taken for the end, and -1 for a "
    "number of bytes.",
    mend="End at 0 and at -1: while ((n = read(fd, buffer, sizeof buffer)) > 0), with EINTR tried again; in Python: "
    "except OSError around recv() ends this conversation, and only this one.",
    group="high",
    where=r"\b(read|recv)\s*\(",
    run=run,
)
