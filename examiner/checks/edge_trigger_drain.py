"""With edge-triggered epoll, everything that one event announces is taken, also all waiting connections.

EPOLLET tells once that there is something; a server that reads once and sleeps again is not woken for the rest. While
it is stopped, more is queued than it reads at a time; then it goes on, and nothing else arrives that could wake it.
"""

import contextlib
from pathlib import Path

from examiner._check import Check
from examiner._exam import Exam, Failed, Skipped
from examiner._subject import Subject
from probe.processes import PROC

SIZE = 48_000
"""Bytes: fits in a fresh receive window (64 KiB on loopback), so no later segment makes a second edge."""
CLIENTS = 4
EPOLLET = 1 << 31


def run(exam: Exam) -> str:
    """Queue bytes, then connections, for a server that is stopped; see what it takes when it goes on."""
    subject = exam.start()
    client = exam.connect(subject)
    exam.provoked(client.served(), "a client is served")
    edges = _edges(subject)
    if not edges:
        raise Skipped("none of its descriptors is in an epoll set with EPOLLET: it is level-triggered")
    data = bytes(ord("a") + place % 26 for place in range(SIZE - 1)) + b"\n"
    exam.provoked(subject.stop(), "the server stops")
    exam.provoked(client.send(data), "the bytes are sent")
    exam.provoked(subject.eventually(lambda: subject.unread(client) == SIZE), f"{SIZE} bytes wait in one queue")
    exam.note(f"edge-triggered: {edges[0]}")
    exam.note(f"server stopped, {SIZE} bytes in the receive queue of {client.local}'s other end; SIGCONT")
    subject.go_on()
    back = client.receive(SIZE)
    left = subject.unread(client)
    exam.note(f"{len(back)} bytes came back; {left} are still in the queue; it sleeps in {_place(subject)}")
    exam.expect(back == data, f"of {SIZE} bytes that came together {len(back)} are answered, and {left} stay unread")
    _connections(exam, subject)
    return f"{SIZE} bytes and {CLIENTS} connections that came together are all taken"


def _connections(exam: Exam, subject: Subject) -> None:
    exam.provoked(subject.stop(), "the server stops")
    clients = [exam.connect(subject) for _ in range(CLIENTS)]
    subject.go_on()
    served = sum(client.served() for client in clients)
    waiting = (subject.listener() or {}).get("rx_queue", 0)
    exam.note(f"{CLIENTS} clients connected while it was stopped: {served} served, {waiting} in the accept queue")
    if served < CLIENTS:
        raise Failed(
            f"of {CLIENTS} connections that came together {served} are served; {waiting} wait to be accepted",
            cause="The listener is edge-triggered and accept is called once an event.",
            mend="Accept in a loop until EAGAIN, or watch the listener without EPOLLET.",
        )


def _edges(subject: Subject) -> list[str]:
    """The lines of /proc/PID/fdinfo that tell of a descriptor watched with EPOLLET (proc_pid_fdinfo(5))."""
    lines: list[str] = []
    with subject.eyes():
        for path in Path(PROC, str(subject.pid), "fdinfo").iterdir():
            with contextlib.suppress(OSError):  # closed meanwhile
                lines += path.read_text().splitlines()
    watched = [line.split()[:4] for line in lines if line.startswith("tfd:")]
    return [" ".join(words) for words in watched if int(words[3], 16) & EPOLLET]


def _place(subject: Subject) -> str:
    return subject.sleeps_in(subject.pid) or "user code"


CHECK = Check(
    requirement="A server with edge-triggered epoll reads until EAGAIN, and accepts until EAGAIN.",
    reference="epoll(7) (Level-triggered and edge-triggered; Questions and answers, 9); TLPI 63.4.6",
    expected="all bytes and all connections that one event announced are taken",
    cause="read is called once for each event. With EPOLLET no further event comes for what is left.",
    mend="Loop until read returns -1 with EAGAIN; in Python until recv raises BlockingIOError. Or leave EPOLLET out: "
    "level-triggered is the default and as fast for most servers.",
    group="breadth",
    models=("epoll",),
    where=r"EPOLLET",
    follows=("concurrent", "echo-bytes"),
    run=run,
)
