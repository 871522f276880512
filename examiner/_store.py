"""What checks of the service store share: lines that are known again, the files they are in, who records them."""

import contextlib
import os
import stat
from pathlib import Path
from typing import NamedTuple

from examiner._connection import Connection
from examiner._exam import Exam
from examiner._subject import Subject

LENGTH = 40
"""Bytes of a line, with its end."""
_MOST = 64 << 20
"""Bytes that are read: what RLIMIT_FSIZE lets a subject write into one file. Holes cost it nothing, but us."""


def line(client: int, number: int, length: int = LENGTH) -> bytes:
    """A line that is known again wherever it stands, whatever a server writes before and behind it."""
    head = b"<%d.%d:" % (client, number)
    return head + bytes([ord("a") + client % 26]) * (length - len(head) - len(b">\n")) + b">\n"


def recorded(subject: Subject) -> bytes:
    """What the subject has written into the files of its folder."""
    found, left = [], _MOST
    for path in sorted(subject.reached.rglob("*")):
        with contextlib.suppress(OSError):
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            with open(descriptor, "rb") as file:
                if stat.S_ISREG(os.fstat(descriptor).st_mode):
                    found.append(file.read(left))
                    left -= len(found[-1])
    return b"".join(found)


def wrong(text: bytes, client: int, numbers: list[int], length: int = LENGTH) -> str:
    """What is wrong with one client's lines in the file, in words; empty if each is there once, whole, in order."""
    places = []
    for number in numbers:
        body = line(client, number, length).rstrip(b"\n")
        count = text.count(body)
        if count > 1:
            return f"line {number} of client {client} is in the file {count} times"
        if not count:
            head = text.count(body[: body.index(b":") + 1])
            return f"line {number} of client {client} is {'torn' if head else 'not'} in the file"
        places.append(text.index(body))
    return "" if places == sorted(places) else f"the lines of client {client} are not in the order they were sent in"


def whole(got: bytes, client: int, numbers: list[int], length: int = LENGTH) -> list[int]:
    """The numbers of the lines that a client got back."""
    return [number for number in numbers if line(client, number, length) in got]


class Recording(NamedTuple):
    """The pipe from those who serve to those who record: its inode, its readers that serve nobody, its writers."""

    pipe: int
    recorders: set[int]
    writers: set[int]


def recording(exam: Exam, subject: Subject, clients: list[Connection]) -> Recording | None:
    """Who records: who reads from a pipe that others write to, serves no client, and has a file open to write to."""
    serving = {pid for client in clients for pid in subject.held_by(client)}
    readers: dict[int, set[int]] = {}
    writers: dict[int, set[int]] = {}
    with_file = set()
    for pid in subject.tree():
        for entry in subject.descriptors(pid):
            if entry["kind"] == "pipe" and entry["end"] in ("read", "write"):
                (readers if entry["end"] == "read" else writers).setdefault(entry["inode"], set()).add(pid)
            writes = entry["kind"] == "file" and "O_RDONLY" not in (entry["flags"] or ())
            if writes and Path(entry["target"]).is_relative_to(subject.folder):
                with_file.add(pid)
    for pipe, held in readers.items():
        recorders = (held - serving) & with_file
        if recorders and writers.get(pipe, set()) - recorders:
            exam.note(f"pipe {pipe}: read by {sorted(held)}, written by {sorted(writers[pipe])}")
            return Recording(pipe, recorders, writers[pipe])
    return None
