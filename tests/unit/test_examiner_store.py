"""The pure parts of the examiner's store checks: which lines are in a file, and what is wrong with them."""

import pytest

from examiner import _store

LINES = [0, 1, 2]


def text(*numbers: int) -> bytes:
    """A file with these lines of client 3, each with something of the server's own before it."""
    return b"".join(b"[42] " + _store.line(3, number) for number in numbers)


def test_lines_that_are_there_once_and_in_order_are_right() -> None:
    """What a server writes before a line does not matter."""
    assert _store.wrong(text(*LINES), 3, LINES) == ""


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (text(0, 2), "line 1 of client 3 is not in the file"),
        (text(0, 1, 1, 2), "line 1 of client 3 is in the file 2 times"),
        (text(0, 2, 1), "the lines of client 3 are not in the order they were sent in"),
        (text(0, 1, 2).replace(b"<3.1:dd", b"<3.1:d<4.7:d"), "line 1 of client 3 is torn in the file"),
    ],
)
def test_what_is_wrong_is_said(found: bytes, words: str) -> None:
    """Missing, twice, out of order, or with another client's bytes within."""
    assert _store.wrong(found, 3, LINES) == words


def test_a_line_has_the_length_it_is_asked_for_and_no_other_client_has_it() -> None:
    """So a line is known again."""
    assert len(_store.line(3, 1, 20_000)) == 20_000
    assert _store.line(3, 1) != _store.line(4, 1)


def test_only_whole_lines_count_as_answered() -> None:
    """Half a line is no promise."""
    got = _store.line(3, 0) + _store.line(3, 1)[:-5]
    assert _store.whole(got, 3, LINES) == [0]
