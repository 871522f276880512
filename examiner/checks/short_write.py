"""Every byte is sent, also when the kernel takes a part of them.

A client sends and does not read, until the server sleeps in its write. A process that sleeps there is stopped and let
go (SIGSTOP, SIGCONT): the call then returns what it has taken so far, without any signal handler (signal(7)). strace
shows the short count. What comes back must be what was sent.
"""

import re

from examiner._check import Check
from examiner._connection import Connection
from examiner._exam import Exam, Failed, Inconclusive, Told
from examiner._strace import Call, CannotTrace, Trace
from examiner._subject import Subject

WRITES = ("write", "sendto", "send", "sendmsg", "writev")
MOST = 8 << 20
ROUNDS = 6
LATE = 2
"""Rounds after which whoever has not slept in a write never will; in the first it may still read, if slowly."""
PIECE = 256 << 10
_LENGTH = re.compile(r'^\d+, (?:"(?:[^"\\]|\\.)*"(?:\.\.\.)?|0x[0-9a-f]+), (\d+)')


def run(exam: Exam) -> str:
    """Fill all buffers, bring about a short count, then read everything."""
    subject = exam.start()
    client = exam.connect(subject, small=True)
    exam.provoked(client.served(), "a client is served")
    servants = tuple(subject.held_by(client))
    exam.provoked(servants, "the server holds the connection")
    sent, came, slept = b"", b"", False
    try:
        with subject.traced(calls=",".join(f"?{name}" for name in WRITES), pids=servants) as trace:
            for number in range(1, ROUNDS + 1):
                sent += client.stuff(MOST)
                slept |= _interrupt(subject, trace)
                came += client.receive(PIECE)
                if _short(trace.calls()) or client.ended or (number == LATE and not slept):
                    break
            sent += b"\n" if client.send(b"\n") else b""  # who answers whole lines, answers the last one, too
            came += client.receive(len(sent) - len(came))
    except CannotTrace as error:
        raise Inconclusive(str(error)) from None
    exam.note(f"{len(sent):,} bytes were sent, {len(came):,} came back")
    short = _short(trace.calls())
    if not short and not slept and came == sent:
        raise Told("all bytes came back; the server asks for room before it writes, and every count was full")
    exam.provoked(short, "the kernel takes only a part of what the server writes")
    exam.note(str(short))
    if came != sent:
        raise Failed(_difference(sent, came, client))
    return f"the kernel took a part, and all {len(sent):,} bytes came back"


def _interrupt(subject: Subject, trace: Trace) -> bool:
    """Stop who sleeps in a write, and let it go on; whether somebody did."""

    def writing() -> list[int]:
        return [thread for thread, call in trace.sleeping().items() if call.name in WRITES]

    subject.eventually(writing, 0.5)
    asleep = {int(subject.field(thread, "Tgid") or 0) for thread in writing()} & set(subject.tree())
    if asleep:
        with subject.frozen(asleep):
            pass
    return bool(asleep)


def _short(calls: list[Call]) -> Call | None:
    """A write of which less was taken than given, or nothing at once (EAGAIN)."""
    for call in calls:
        if call.error == "EAGAIN" and call.name in WRITES:
            return call
        length = _LENGTH.match(call.arguments) if call.name in WRITES else None
        if length and call.value is not None and 0 <= call.value < int(length[1]):
            return call
    return None


def _difference(sent: bytes, came: bytes, client: Connection) -> str:
    same = next((at for at, (one, other) in enumerate(zip(sent, came, strict=False)) if one != other), len(came))
    missing = len(sent) - len(came)
    end = f"; then came {client.ended}" if client.ended else ""
    return f"the answer is right up to byte {same:,}, then bytes are missing; {missing:,} of {len(sent):,} in all{end}"


CHECK = Check(
    requirement="The server sends everything, also when write takes only a part.",
    reference="write(2), send(2), signal(7) stop signals; UNP 3.9 (writen); TLPI 61.1",
    expected="after a write that took a part, the rest comes, too: every byte, once, in order",
    cause="What write or send returned is not looked at: the rest that the kernel did not take is never sent.",
    mend="Write in a loop until everything is taken (writen of UNP 3.9); when a non-blocking socket takes nothing, "
    "keep the rest until poll says POLLOUT. In Python: sendall(), not send().",
    where=r"\b(write|send|sendto|writev|sendmsg)\s*\(",
    run=run,
)
