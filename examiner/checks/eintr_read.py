"""A signal that interrupts a call does not end a conversation.

Whoever serves a client sleeps in read, or in poll and its like. It gets SIGCHLD if it handles that, and is stopped and
let go on in any case, after which epoll_wait and others say EINTR even without a handler (signal(7)). strace shows the
call that was interrupted. The same connection must be served on.
"""

import signal

from examiner._check import Check
from examiner._exam import Exam, Failed, Inconclusive
from examiner._strace import Call, CannotTrace, Trace
from examiner._subject import Subject

ROUNDS = 3
INTERRUPTED = ("EINTR", "ERESTARTSYS", "ERESTARTNOINTR", "ERESTARTNOHAND", "ERESTART_RESTARTBLOCK")


def run(exam: Exam) -> str:
    """Interrupt whoever serves a client, and go on with the same conversation."""
    subject = exam.start()
    (client,) = exam.clients(subject, 1)
    servants = tuple(subject.held_by(client))
    exam.provoked(servants, "the server holds the connection")
    handles = [pid for pid in servants if int(subject.field(pid, "SigCgt") or "0", 16) >> (signal.SIGCHLD - 1) & 1]
    try:
        with subject.traced(pids=servants) as trace:
            _sleep(subject, servants, trace)
            for pid in handles:
                subject.kill(signal.SIGCHLD, pid)
                subject.eventually(lambda: _handled(trace.calls()))
            served = client.served()
            for _ in range(ROUNDS):
                if not served or _interrupted(trace):
                    break
                _sleep(subject, servants, trace)
                with subject.frozen(servants):
                    pass
                _sleep(subject, servants, trace)
                served = client.served()
    except CannotTrace as error:
        raise Inconclusive(str(error)) from None
    calls = _interrupted(trace)
    exam.provoked(calls, "a signal interrupts a call of whoever serves a client")
    for call in calls[:5]:
        exam.note(str(call))
    if not served:
        end = client.await_end()
        exam.note(f"the client then sees {end or 'no answer, no end either'}; the server: {subject.status()}")
        raise Failed(f"a signal that interrupted {calls[-1].name} ended the conversation of a client")
    return f"{calls[0].name} was interrupted, and the same client was served on"


def _sleep(subject: Subject, servants: tuple[int, ...], trace: Trace) -> None:
    """Let them come to rest, in a call that strace has seen begin."""
    subject.eventually(lambda: subject.at_rest(0.1) and set(servants) <= set(trace.sleeping()))


def _interrupted(trace: Trace) -> list[Call]:
    return [call for call in trace.calls() if call.error in INTERRUPTED and not call.name.startswith("rt_sig")]


def _handled(calls: list[Call]) -> bool:
    """A handler has returned."""
    return any(call.name == "rt_sigreturn" for call in calls)


CHECK = Check(
    requirement="A call that a signal interrupts is tried again: EINTR is no error of the connection.",
    reference="signal(7), read(2) EINTR, sigaction(2) SA_RESTART; UNP 5.9; TLPI 21.5",
    expected="the client whose server was interrupted gets its next answer on the same connection",
    cause="read, or the call that waits for the next event, returned -1 with EINTR, and that was taken for its end.",
    mend="Try again: if (n < 0 && errno == EINTR) continue; poll, select and epoll_wait are never restarted by "
    "SA_RESTART. Python tries again by itself, unless the handler raises an exception.",
    group="breadth",
    where=r"\b(read|recv|poll|select|epoll_wait)\s*\(|\bsigaction\b|\bsignal\s*\(",
    run=run,
)
