"""A pipe carries bytes one way, and ends when the last writer has closed.

Question: How does a pipe carry bytes from child to parent?

Theory: Both processes have the same pipe, made before fork. Bytes come out in the order they went in, without borders
between the writes. The reader gets end of file when no process holds the write end any more, and as long as the reader
holds it itself, that never comes.

Source: pipe(2), pipe(7); UNP vol. 2, 4.3; TLPI 44.2 and 44.3

The mistake is not to close the write end in the reader: it waits for itself. Here it asks poll(2), and does not hang.
"""

import os
import select

from demos._show import Show

MESSAGES = [b"one ", b"two ", b"three"]


def main(show: Show) -> str:
    """Read what a child wrote and ask for the end of file: with the own write end still open, and closed."""
    ends = {}
    for closes in (False, True):
        reader, writer = os.pipe()
        go_on, gate = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(gate)
            os.close(reader)
            for message in MESSAGES:
                os.write(writer, message)
            os.read(go_on, 1)
            os._exit(0)  # closes its write end
        if closes:
            os.close(writer)
        text = b""
        while len(text) < len(b"".join(MESSAGES)) and readable(reader):
            text += os.read(reader, 100)
        links = [os.readlink(f"/proc/{pid}/fd/{fd}") for pid, fd in ((os.getpid(), reader), (child, writer))]
        show(f"fd {reader} of PID {os.getpid()} -> {links[0]}; fd {writer} of PID {child} -> {links[1]}")
        show(f"{len(MESSAGES)} writes, read as {text!r}")
        show.expect(links[0] == links[1], "both hold the same pipe")
        show.expect(text == b"".join(MESSAGES), "the bytes come out whole and in order")

        os.close(gate)
        os.waitpid(child, 0)
        # Readable without bytes is the end of file. Not readable means that a reader would sleep.
        ends[closes] = readable(reader, seconds=0) and os.read(reader, 1) == b""
        own = "closed" if closes else "still open"
        show(f"the child has ended, our own write end is {own}: end of file {ends[closes]}")
        os.close(reader)
        if not closes:
            os.close(writer)

    show.measure(end_with_own_writer=ends[False], end_without=ends[True])
    show.expect(not ends[False], "while the reader holds a write end, there is no end of file")
    show.expect(ends[True], "when the last writer has closed, the reader gets end of file")
    return "the bytes came whole and in order; the end came when the last write end was closed"


def readable(descriptor: int, seconds: float = 3.0) -> bool:
    """Whether read would return at once, waiting for that at most so long."""
    return bool(select.select([descriptor], [], [], seconds)[0])
