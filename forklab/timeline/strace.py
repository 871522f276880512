"""Reads what ``strace -f -yy --absolute-timestamps --syscall-times -o`` wrote (strace(1)). Never raises for its text.

A call that another task interrupted is written in two halves, ``unfinished`` and ``resumed``; they are joined here. A
call whose second half never came (its process was killed, the tracer was, or the recording ends there) stays open.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

NANO = 1_000_000_000


@dataclass
class Call:
    """One system call: ``args`` as strace spells them, ``value`` what it returned, None if it never did.

    ``begin`` and ``end`` are CLOCK_REALTIME in nanoseconds, ``end`` None for a call that never came back. ``error`` is
    an errno's name, or one of the kernel's own (ERESTARTSYS: a signal came first). ``made`` is what the returned
    descriptor leads to. ``first`` and ``last`` are line numbers.
    """

    pid: int
    name: str
    begin: int
    first: int
    text: str = ""
    args: list[str] = field(default_factory=list)
    end: int | None = None
    value: int | None = None
    error: str | None = None
    made: str = ""
    last: int = 0


@dataclass
class Signal:
    """A signal that was delivered; ``sender`` is a PID, None where the kernel sent it for no process."""

    pid: int
    time: int
    first: int
    name: str
    text: str
    sender: int | None


@dataclass
class Stopped:
    """A process that a signal has stopped (group-stop, ptrace(2))."""

    pid: int
    time: int
    first: int
    name: str


@dataclass
class Ended:
    """The end of a task: ``status`` for exit(2), ``killed`` the signal's name. ``superseded``: an execve by another
    thread has replaced this one.
    """

    pid: int
    time: int
    first: int
    status: int | None = None
    killed: str = ""
    superseded: bool = False


Record = Call | Signal | Stopped | Ended


@dataclass
class Reading:
    """What was read: the records in the order of their first line, and how many lines made no sense."""

    records: list[Record]
    lines: int = 0
    unread: int = 0


_LINE = re.compile(r"(\d+) +(\d+)\.(\d{1,9}) (.*)", re.DOTALL)
_RESUMED = re.compile(r"<\.\.\. ([\w?]+) resumed>(.*)", re.DOTALL)
_UNFINISHED = re.compile(r"(.*?) *<(?:unfinished|detached|pid changed to \d+) \.\.\.>", re.DOTALL)
_NAME = re.compile(r"([a-z_]\w*)\(")
_SIGNAL = re.compile(r"--- (SIG\w+) \{(.*)\} ---")
_STOPPED = re.compile(r"--- stopped by (SIG\w+) ---")
_EXITED = re.compile(r"\+\+\+ exited with (-?\d+) \+\+\+")
_KILLED = re.compile(r"\+\+\+ killed by (SIG\w+).* \+\+\+")
_SUPERSEDED = re.compile(r"\+\+\+ superseded by execve in pid (\d+) \+\+\+")
_SENDER = re.compile(r"\bsi_pid=(\d+)")
_DURATION = re.compile(r" *<(\d+)\.(\d{1,9})>$")
_RESULT = re.compile(
    r" *= (?:(-?\d+|0x[0-9a-f]+)|\?)(?:<(.*?)>(?:\(deleted\))?)?(?: (E[A-Z0-9_]+))?(?: .*)?$", re.DOTALL
)


def read(text: str) -> Reading:
    """Every line of one file of strace."""
    reader = _Reader()
    lines = text.split("\n")  # what follows the last one is no line, or one that was cut off
    for number, line in enumerate(lines[:-1]):
        reader.take(number, line)
    reader.take(len(lines) - 1, lines[-1], cut=True)
    return reader.close()


class _Reader:
    def __init__(self) -> None:
        self.records: list[Record] = []
        self.pending: dict[int, Call] = {}
        self.lines = self.unread = 0

    def take(self, number: int, line: str, *, cut: bool = False) -> None:
        if not line.strip() or line.startswith("strace: "):
            return
        self.lines += 1
        match = _LINE.fullmatch(line)
        if not match or not self._take(number, int(match[1]), _nanoseconds(match[2], match[3]), match[4]):
            self.unread += not cut

    def close(self) -> Reading:
        return Reading(self.records, self.lines, self.unread)

    def _take(self, number: int, pid: int, time: int, rest: str) -> bool:
        if rest.startswith("+++"):
            return self._end(number, pid, time, rest)
        if rest.startswith("---"):
            return self._signal(number, pid, time, rest)
        if resumed := _RESUMED.fullmatch(rest):
            return self._resume(number, pid, time, resumed[1], resumed[2])
        return self._call(number, pid, time, rest)

    def _call(self, number: int, pid: int, time: int, rest: str) -> bool:
        name = _NAME.match(rest)
        if not name:
            return False
        self.pending.pop(pid, None)
        call = Call(pid, name[1], time, number, last=number)
        unfinished = _UNFINISHED.fullmatch(rest)
        if unfinished or not _complete(call, rest):
            # Open: it waits for its second half, or the line was cut off here.
            call.text = unfinished[1] if unfinished else rest
            call.args = arguments(call.text[len(call.name) + 1 :])[0]
            self.pending[pid] = call
        elif call.end is None:
            call.end = time
        self.records.append(call)
        return bool(unfinished) or pid not in self.pending

    def _resume(self, number: int, pid: int, time: int, name: str, rest: str) -> bool:
        call = self.pending.pop(pid, None)
        if call is None or call.name != name:
            return False
        if _UNFINISHED.fullmatch(rest):
            self.pending[pid] = call
            return True
        call.last = number
        if not _complete(call, call.text + rest):
            return False
        call.end = time  # the first half told when it began
        return True

    def _signal(self, number: int, pid: int, time: int, rest: str) -> bool:
        if stopped := _STOPPED.fullmatch(rest):
            self.records.append(Stopped(pid, time, number, stopped[1]))
            return True
        signal = _SIGNAL.fullmatch(rest)
        if not signal:
            return False
        sender = _SENDER.search(signal[2])
        self.records.append(
            Signal(pid, time, number, signal[1], rest.strip("- "), int(sender[1]) if sender else None),
        )
        return True

    def _end(self, number: int, pid: int, time: int, rest: str) -> bool:
        self.pending.pop(pid, None)
        if exited := _EXITED.fullmatch(rest):
            self.records.append(Ended(pid, time, number, status=int(exited[1])))
        elif killed := _KILLED.fullmatch(rest):
            self.records.append(Ended(pid, time, number, killed=killed[1]))
        elif superseded := _SUPERSEDED.fullmatch(rest):
            # The thread that called execve takes over the number of its leader, and with it the pending call.
            thread = int(superseded[1])
            if call := self.pending.pop(thread, None):
                call.pid = pid
                self.pending[pid] = call
            self.records.append(Ended(thread, time, number, superseded=True))
        else:
            return False
        return True


def _complete(call: Call, text: str) -> bool:
    """Fill in arguments and result from the whole text of a call; False if it is not whole."""
    duration = _DURATION.search(text)
    body = text[: duration.start()] if duration else text
    args, end = arguments(body[len(call.name) + 1 :])
    if end is None:
        return False
    result = _RESULT.fullmatch(body[len(call.name) + 1 + end :])
    if not result:
        return False
    call.text, call.args = body.rstrip(), args
    number, call.made, call.error = result[1], result[2] or "", result[3]
    call.value = int(number, 16 if number.startswith("0x") else 10) if number else None
    if number is not None or call.error:
        call.end = call.begin + (_nanoseconds(duration[1], duration[2]) if duration else 0)
    return True


def arguments(text: str) -> tuple[list[str], int | None]:
    """The arguments up to the bracket that closes the call, and the index after it, None if it is missing.

    Commas and brackets within strings do not count; strace escapes quotes and backslashes there.
    """
    found: list[str] = []
    depth, start, i = 0, 0, 0
    while i < len(text):
        letter = text[i]
        if letter == '"':
            i = _string_end(text, i)
        elif letter in "([{":
            depth += 1
        elif letter in ")]}":
            if depth == 0:
                return _with(found, text[start:i]), i + 1
            depth -= 1
        elif letter == "," and depth == 0:
            found.append(text[start:i].strip())
            start = i + 1
        i += 1
    return _with(found, text[start:]), None


def _string_end(text: str, start: int) -> int:
    i = start + 1
    while i < len(text) and text[i] != '"':
        i += 2 if text[i] == "\\" else 1
    return i


def _with(found: list[str], last: str) -> list[str]:
    return [*found, last.strip()] if last.strip() else found


def _nanoseconds(seconds: str, fraction: str) -> int:
    return int(seconds) * NANO + int(fraction.ljust(9, "0"))


_DESCRIPTOR = re.compile(r"(-?\d+)(?:<(.*)>(?:\(deleted\))?)?", re.DOTALL)


def descriptor(text: str) -> tuple[int | None, str]:
    """``6<TCP:[a->b]>`` as 6 and ``TCP:[a->b]``; None where the text is no number."""
    match = _DESCRIPTOR.fullmatch(text)
    return (int(match[1]), match[2] or "") if match else (None, "")


def descriptors(text: str) -> list[tuple[int, str]]:
    """Each of ``[3<pipe:[1]>, 4<pipe:[1]>]``, the answer of pipe(2) and socketpair(2)."""
    inner = text[1:-1] if text.startswith("[") and text.endswith("]") else ""
    found = (descriptor(word) for word in arguments(inner)[0])
    return [(number, leads) for number, leads in found if number is not None]


def cut_off(texts: Iterable[str]) -> bool:
    """Whether strace was stopped in the middle of a line in one of these files."""
    return any(text and not text.endswith("\n") for text in texts)
