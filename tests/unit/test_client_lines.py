"""The quit line is found wherever read(2) happens to cut the input, and no byte is lost or kept back."""

import itertools
import re

import pytest

from client._lines import UntilQuit


def reference(text: bytes) -> bytes:
    """Return what is to be sent of a whole input, the slow and plain way: line by line."""
    sent = b""
    for line in re.findall(rb"[^\n]*\n|[^\n]+", text):
        if line in (b"q\n", b"Q\n", b"q\r\n", b"Q\r\n", b"q", b"Q"):
            break
        sent += line
    return sent


def fed(chunks: list[bytes], raw: bool = False) -> bytes:
    """Return what UntilQuit passes on of these chunks; it is not fed on after its end."""
    lines = UntilQuit(raw)
    sent = b""
    for chunk in [*chunks, b""]:
        if not lines.ended:
            sent += lines.feed(chunk)
    assert lines.ended
    return sent


def chunkings(text: bytes) -> list[list[bytes]]:
    """Return each way to cut ``text`` into chunks."""
    cuts = itertools.chain.from_iterable(
        itertools.combinations(range(1, len(text)), count) for count in range(max(len(text), 1))
    )
    return [[text[a:b] for a, b in itertools.pairwise((0, *cut, len(text))) if b > a] for cut in cuts]


@pytest.mark.parametrize("length", range(7))
def test_all_inputs_in_all_chunkings(length: int) -> None:
    """For every input over the bytes that matter, and every way to cut it, the same bytes are sent."""
    for letters in itertools.product(b"q\r\nx", repeat=length):
        text = bytes(letters)
        for chunks in chunkings(text):
            assert fed(chunks) == reference(text), chunks


@pytest.mark.parametrize("text", [b"one\nQ\r\ntwo\n", b"Q", b"aq\nq\n", b"qq\nQ\n", b"\nq", b"a\nq\r", b"q q\nq\nq\n"])
def test_longer_inputs_in_all_chunkings(text: bytes) -> None:
    """Also with the capital letter, and with text before and behind the quit line."""
    for chunks in chunkings(text):
        assert fed(chunks) == reference(text), chunks


@pytest.mark.parametrize("data", [b"a", b"a\n", b"abc\r", b"aq", b"\r\n", b"a q"])
def test_sent_at_once(data: bytes) -> None:
    """Part of a line does not wait for its newline."""
    assert UntilQuit().feed(data) == data


@pytest.mark.parametrize("held", [b"q", b"Q", b"q\r"])
def test_only_a_possible_quit_line_is_held(held: bytes) -> None:
    """What may become the quit line waits for the next byte, and not longer."""
    lines = UntilQuit()
    assert lines.feed(b"a\n" + held) == b"a\n"
    assert lines.feed(b"x") == held + b"x"


def test_raw_knows_no_quit_line() -> None:
    """With ``raw`` every byte is passed on as it came; only the end of the input ends it."""
    lines = UntilQuit(raw=True)
    assert lines.feed(b"q\n") == b"q\n"
    assert lines.feed(b"q") == b"q"
    assert not lines.ended
    assert lines.feed(b"") == b""
    assert lines.ended
