"""Lines longer than PIPE_BUF are whole in the file, however many clients send at once.

write(2) to a pipe is atomic up to PIPE_BUF, 4096 bytes. While the recorder is stopped, five clients send lines of
20,000 bytes, until the pipe is full and nobody can write more. All are stopped then, and it goes on alone; those who
wait are let go one by one, and last of all whoever has written a part of its line.
"""

import re
import signal
from contextlib import ExitStack

from examiner import _store
from examiner._check import Check
from examiner._connection import Connection
from examiner._exam import Exam
from examiner._subject import Subject

CLIENTS = 5
LINES = list(range(4))
LENGTH = 20_000
"""Bytes: all lines are more than a pipe holds (pipe(7): 65,536), one client's fit into the buffers of its sockets."""


def run(exam: Exam) -> str:
    """Fill the pipe with long lines of several clients, let them go on, and read the file."""
    subject = exam.start()
    clients = exam.clients(subject, CLIENTS)
    found = _store.recording(exam, subject, clients)
    if found:
        _crowd(exam, subject, found.recorders, clients)
    else:
        _send(clients)
    whole = {n: _store.whole(client.receive(LENGTH * len(LINES)), n, LINES, LENGTH) for n, client in enumerate(clients)}
    exam.note(f"lines of {LENGTH:,} bytes that came back: {list(whole.values())}")
    exam.provoked(sum(map(bool, whole.values())) > 1, "long lines of several clients come back")
    subject.eventually(lambda: not _torn(_store.recorded(subject), whole))
    text = _store.recorded(subject)
    if torn := _torn(text, whole):
        exam.note(_mixture(text))
    exam.expect(not torn, torn)
    return f"{sum(map(len, whole.values()))} lines of {LENGTH:,} bytes are whole in the file"


def _crowd(exam: Exam, subject: Subject, recorders: set[int], clients: list[Connection]) -> None:
    """Send while nobody records; then let those that wait go on, but not at once who has written a part of its line.

    Whose line that is shows when all that was in the pipe is in the file: it is the last one there. Its writer need not
    be asleep yet: pipe_write gives the pipe free before it sleeps, and on a busy machine others come between.
    """
    with ExitStack() as later:
        with subject.frozen(recorders):
            _send(clients)
            # Not for long: some servers give their clients an answer when the recorder stands still.
            soon = subject.eventually(lambda: len(_writing(subject)) > 1, 0.5)
            # On a busy machine some have not come as far as the pipe; whoever rests elsewhere never will.
            exam.provoked(soon or subject.at_rest(), "all that can write to the pipe do")
            writing = _writing(subject)
            under_way = sum(not client.more() or len(client.got) < LENGTH * len(LINES) for client in clients)
            exam.provoked(under_way > 1, "lines of several clients are under way at once")
            exam.note(f"the recorder stood still, {under_way} clients waited; asleep in a write to a pipe: {writing}")
            if len(writing) < 2:
                return
            later.enter_context(subject.frozen())
        unfinished = _last(subject)
        owners = subject.held_by(clients[unfinished]) if unfinished in range(CLIENTS) else set()
        exam.note(f"the pipe ended within a line of client {unfinished}, whose process is {sorted(owners)}")
        for pid in set(writing) - owners:
            _goes_on(subject, pid)


def _goes_on(subject: Subject, pid: int) -> None:
    """Let it, and wait until the file has more: where it sleeps tells nothing as long as it has not got to run."""
    before = len(_store.recorded(subject))
    subject.kill(signal.SIGCONT, pid)
    subject.eventually(lambda: len(_store.recorded(subject)) > before)


def _last(subject: Subject) -> int:
    """The client whose line is the last one in the file when the recorder has written all that was in the pipe."""
    before = b""

    def settled() -> bool:
        nonlocal before
        if not subject.at_rest(0.1):  # first: a recorder that was let go on, and does not run yet, has written nothing
            return False
        found = _store.recorded(subject)
        same, before = found == before, found
        return same

    subject.eventually(settled)
    found = re.findall(rb"<(\d+)\.", before)
    return int(found[-1]) if found else -1


def _writing(subject: Subject) -> list[int]:
    """Who sleeps because a pipe is full: in the kernel's pipe_write or, in newer ones, anon_pipe_write."""
    return [pid for pid in sorted(subject.tree()) if subject.sleeps_in(pid).endswith("pipe_write")]


def _send(clients: list[Connection]) -> None:
    for number, client in enumerate(clients):
        client.send(b"".join(_store.line(number, each, LENGTH) for each in LINES))


def _torn(text: bytes, whole: dict[int, list[int]]) -> str:
    wrong = [words for client, lines in whole.items() if (words := _store.wrong(text, client, lines, LENGTH))]
    return f"{wrong[0]}; so are lines of {len(wrong)} clients" if wrong else ""


def _mixture(text: bytes) -> str:
    """The first place in the file where the letters of a line are followed by something that is not its end."""
    if found := re.search(rb"([a-z])\1{3}(?!\1|>)", text):
        at = found.end()
        return f"at byte {at:,} of the file: ...{text[at - 12 : at + 12].decode(errors='replace')}..."
    return "no two lines are mixed, but some are not there"


CHECK = Check(
    requirement="A line longer than PIPE_BUF is whole in the file, whoever else sends at the same time.",
    reference="pipe(7) PIPE_BUF, write(2); TLPI 44.1; APUE 15.2",
    expected="every line that came back is in the file in one piece",
    cause="Several processes write to one pipe, and a write of more than PIPE_BUF bytes (4096) is not atomic: the "
    "kernel mixes pieces of them when the pipe is full.",
    mend="Take a lock for each line (flock or fcntl on a common file, a mutex in shared memory), or give each child a "
    "pipe of its own; in Python: fcntl.lockf() around the write, or multiprocessing.Lock.",
    group="high",
    models=("fork", "prefork", "thread", "select", "poll", "epoll"),
    services=("store",),
    where=r"\b(write|os\.write)\s*\(|\bpipe2?\s*\(",
    run=run,
)
