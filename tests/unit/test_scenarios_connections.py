"""How the scenarios of connections read what they are judged by: the store's file, the kernel's table of sockets."""

import pytest

from forklab.scenarios.store import Check
from forklab.scenarios.time_wait import Row, table
from protocol import numbered

LINES = [numbered.line(connection, number) for number in range(50) for connection in (1, 2)]
"""Of two connections, as they may stand in a file."""


def checked(lines: list[bytes], back: int = 50, sent: int = 50) -> list[str]:
    """What is wrong with a file when of ``sent`` lines of both connections ``back`` came back."""
    check = Check({1: sent, 2: sent}, {1: back, 2: back})
    for line in lines:
        check.take(line)
    check.finish()
    return check.wrong


def test_lines_are_of_all_lengths() -> None:
    """From one byte to 10,000, also around PIPE_BUF, and each says who it is if it has room."""
    sizes = [len(numbered.line(connection, number)) - 1 for connection in range(1, 20) for number in range(200)]
    assert min(sizes) == 1
    assert 9_900 < max(sizes) <= numbered.LONGEST
    assert any(4_000 < size <= 4_096 for size in sizes)
    assert any(4_096 < size < 4_200 for size in sizes)
    for line in LINES:
        assert numbered.origin(line) in {None, *((connection, number) for connection in (1, 2) for number in range(50))}
        assert (numbered.origin(line) is None) == (b" " not in line)


def test_a_file_with_all_lines_is_right() -> None:
    """Those that came back are there; those that did not may be there or not."""
    assert checked(LINES) == []
    assert checked(LINES, back=40) == []
    assert checked(LINES[:80], back=40) == []


LONG = next(line for line in LINES if len(line) > 1000)
SHORT = next(line for line in LINES if b" " not in line)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([line for line in LINES if line != LONG], "are not in the file"),
        ([line for line in LINES if line != SHORT], "that came back"),
        ([*LINES, LONG], "twice, or not in order"),
        ([*LINES, *[SHORT] * 50], "were sent"),
        (LINES[::-1], "twice, or not in order"),
        ([line if line != LONG else line[:500] + b"\n" for line in LINES], "not whole"),
        ([line if line != LONG else line[:500] + LINES[0] for line in LINES], "not whole"),
        ([*LINES, numbered.line(3, 21), numbered.line(3, 22)], "nobody sent it"),
    ],
)
def test_a_file_that_is_wrong_is_told(lines: list[bytes], words: str) -> None:
    """What is missing, twice, out of order, torn, mixed or strange."""
    assert any(words in each for each in checked(lines)), checked(lines)


def test_the_kernels_table_is_read() -> None:
    """Addresses, states and the time that is left; sockets of other ports are left out."""
    text = (
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
        "   0: 00000000:23E6 00000000:0000 0A 00000000:00000000 00:00000000 00000000  9190        0 3915447 1\n"
        "   1: 0200680A:23E6 0300680A:9756 06 00000000:00000000 03:00001717 00000000     0        0 0 3\n"
        "   2: 0100007F:1F90 0100007F:9756 01 00000000:00000000 00:00000000 00000000     0        0 9 1\n"
    )
    assert table(text) == [
        Row("0.0.0.0:9190", "0.0.0.0:0", "0A", 0.0),
        Row("10.104.0.2:9190", "10.104.0.3:38742", "06", 59.11),
    ]
