"""Every line that a client got back is in the file: once, whole, in order, also after SIGTERM.

First five clients send lines at once. Then, while the recorder is stopped, they send more, and the server gets SIGTERM:
so lines wait in the pipe when it is told to end. Only lines that came back count, and all of those do.
"""

import signal

from examiner import _store
from examiner._check import Check
from examiner._exam import Exam

CLIENTS = 5
FIRST, LATER = list(range(20)), list(range(20, 30))


def run(exam: Exam) -> str:
    """Record lines of several clients, then some more around SIGTERM, and read the file."""
    subject = exam.start(survives=False)
    clients = exam.clients(subject, exam.at_once(CLIENTS))
    for number, client in enumerate(clients):
        client.send(b"".join(_store.line(number, each) for each in FIRST))
    back = {number: client.receive(_store.LENGTH * len(FIRST)) for number, client in enumerate(clients)}
    answered = {number: _store.whole(got, number, FIRST) for number, got in back.items()}
    exam.provoked(all(answered.values()), "every client gets lines back")
    exam.note(
        f"{len(clients)} clients sent {len(FIRST)} lines each; back came {[len(each) for each in answered.values()]}"
    )
    subject.eventually(lambda: not _missing(_store.recorded(subject), answered))
    missing = _missing(_store.recorded(subject), answered)
    exam.expect(not missing, missing)

    found = _store.recording(exam, subject, clients)
    recorders = sorted(found.recorders) if found else []
    with subject.frozen(recorders or [subject.pid]):
        for number, client in enumerate(clients):
            client.send(b"".join(_store.line(number, each) for each in LATER))
        if recorders:
            subject.eventually(lambda: all(client.more() for client in clients), 0.5)
        subject.kill(signal.SIGTERM)
        # Its own time, in which it does for SIGTERM what it does, before the recorder can empty the pipe.
        subject.eventually(lambda: not subject.alive(), 0.3)
    exam.note(f"SIGTERM to {subject.pid} with lines under way; stopped until then: {recorders or 'the server itself'}")
    for number, client in enumerate(clients):
        client.half_close()
        client.await_end()
        answered[number] += _store.whole(client.got, number, LATER)
    exam.note(f"then came back: {[len(each) - len(FIRST) for each in answered.values()]} of {len(LATER)} lines each")
    subject.eventually(lambda: not subject.alive() and not subject.living())
    missing = _missing(_store.recorded(subject), answered)
    exam.expect(not missing, f"after SIGTERM {missing}, although it came back")
    return f"all {sum(map(len, answered.values()))} lines that came back are in the file once, whole and in order"


def _missing(text: bytes, answered: dict[int, list[int]]) -> str:
    return next((words for client, lines in answered.items() if (words := _store.wrong(text, client, lines))), "")


CHECK = Check(
    requirement="A line that a client got back is in the file: once, whole, in its connection's order.",
    reference="pipe(7), write(2), signal(7); TLPI 44.2, 44.10; UNP vol. 2, 4.3",
    expected="all lines that came back are in the file, also those that were in the pipe when SIGTERM came",
    cause="Lines are sent back before they are safe, and what is in the pipe or in a buffer is lost when the server "
    "ends: the recorder is ended with it, or writes through stdio and never flushes.",
    mend="Let the recorder read until end of file and ignore SIGTERM; let the parent close its write end and wait for "
    "it. Write to the pipe before the answer, and all of it. With stdio: fflush(); in Python: flush().",
    group="high",
    services=("store",),
    where=r"\b(pipe2?|fwrite|fprintf|fputs|kill|os\.kill)\s*\(|SIGTERM",
    run=run,
)
