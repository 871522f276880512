"""A crowd of clients at once, for the checks that need one."""

from examiner._connection import Connection
from examiner._exam import Exam
from examiner._subject import Subject

CROWD = 100
"""Enough for every table of 64 in a program; a hundred Python processes still fit in the examiner's memory."""


def gather(exam: Exam, subject: Subject, most: int = CROWD) -> tuple[list[Connection], list[Connection]]:
    """Clients that connect one after the other and all stay, until there are ``most`` or the server takes no more.

    Returns:
        Those that were served, and the one that was not, if any: it waits, or its connection was ended.
    """
    served: list[Connection] = []
    left_out: list[Connection] = []
    while len(served) < most and not left_out and subject.alive():
        client = exam.connect(subject)
        (served if client.served() else left_out).append(client)
    return served, left_out
