"""A client that has gone before its answer does not take the server along.

While the server is stopped, a client sends a line, FIN and RST. The server's write then fails with EPIPE, and SIGPIPE
ends a process that neither ignores nor handles it. In a child that costs one client; in the process of all, everybody.
"""

from examiner._check import Check
from examiner._exam import Exam, Inconclusive
from examiner._strace import CannotTrace

TRACED = "?write,?writev,?sendto,?sendmsg,?send"
SIGPIPE_BIT = 12


def run(exam: Exam) -> str:
    """Have the server write to a connection that is reset."""
    subject = exam.start()
    *others, client = exam.clients(subject, exam.at_once(3))
    servants = tuple(subject.held_by(client))
    exam.provoked(servants, "the server holds the connection")
    immune = all(_immune(subject.field(pid, "SigIgn"), subject.field(pid, "SigCgt")) for pid in servants)
    try:
        with subject.traced(calls=TRACED, pids=servants) as trace:
            with subject.frozen(servants):
                sent = client.send(b"forklab gone\n")
                client.half_close()
                client.reset()
            exam.provoked(sent, "a client sends a line and is gone")
            subject.eventually(lambda: any(call.error == "EPIPE" or call.name == "SIGPIPE" for call in trace.calls()))
            # SIGPIPE must have done its work before strace lets go, or it might take the signal along.
            subject.eventually(lambda: not subject.alive(), 0.3)
    except CannotTrace as error:
        raise Inconclusive(str(error)) from None
    calls = [call for call in trace.calls() if call.error == "EPIPE" or call.name == "SIGPIPE"]
    for call in calls:
        exam.note(str(call))
    exam.expect(subject.alive(), f"a client that has gone ended the server: {subject.status()}")
    for other in others:
        exam.expect(other.served(), "a client that has gone ended the conversations of other clients")
    if not calls and not immune:
        raise Inconclusive("the server did not write to the connection that was reset, and does not ignore SIGPIPE")
    return "the server wrote to a connection that was reset, and lives" if calls else "it ignores or handles SIGPIPE"


def _immune(*masks: str) -> bool:
    """Whether SIGPIPE is in one of the masks of /proc/PID/status."""
    return any(int(mask or "0", 16) >> SIGPIPE_BIT & 1 for mask in masks)


CHECK = Check(
    requirement="A write to a connection whose client has gone does not end the server.",
    reference="write(2) EPIPE, signal(7) SIGPIPE, send(2) MSG_NOSIGNAL; UNP 5.13; TLPI 44.2, 61.1",
    expected="the server lives, and other clients are served on",
    cause="SIGPIPE has its default action, the end of the process, and the process that wrote serves everybody.",
    mend="signal(SIGPIPE, SIG_IGN) at the start, or MSG_NOSIGNAL in each send, and treat EPIPE as the end of that "
    "conversation. Python ignores SIGPIPE by itself: do not restore SIG_DFL, and catch BrokenPipeError.",
    where=r"SIGPIPE|\b(write|send|writev|sendall)\s*\(",
    run=run,
)
