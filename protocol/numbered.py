"""Lines of 1 to 10,000 bytes that say who they are: who sends them and who checks the file make the same ones."""

LONGEST = 10_000
"""Bytes, without the newline."""


def line(connection: int, number: int) -> bytes:
    """One line, with its newline; the same at each call.

    Its length is as often between 10 and 100 as between 1,000 and 10,000 bytes. Where it has room it begins with both
    numbers; shorter ones are a letter, once or several times, and others may be like them.
    """
    # Multiples of these irrational numbers fill the unit square evenly, with no table and no random numbers.
    share = (number * 0.6180339887498949 + connection * 0.7548776662466927) % 1.0
    size = round(LONGEST**share)
    head = b"%d %d " % (connection, number)
    letter = b"%c" % (ord("a") + (connection * 7 + number) % 26)
    return (head if size > len(head) else b"").ljust(size, letter) + b"\n"


def origin(text: bytes) -> tuple[int, int] | None:
    """Connection and number of a line; None for one that was too short to say it.

    Raises:
        ValueError: it is no such line, or not the whole of it.
    """
    words = text.split(b" ", 2)
    if len(words) == 3:
        found = int(words[0]), int(words[1])
        if text == line(*found):
            return found
    elif text.endswith(b"\n") and text[:-1] == text[:1] * (len(text) - 1) and text[:1].islower():
        return None
    raise ValueError("not whole")
