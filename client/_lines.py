"""Where the input ends: at its end, or at the line with which a user says that this is all."""

_QUIT_LINES = (b"\nq\n", b"\nQ\n", b"\nq\r\n", b"\nQ\r\n")
_BEGINNINGS = (b"\nq\r", b"\nQ\r", b"\nq", b"\nQ", b"\n")


class UntilQuit:
    """Passes input on until a line that is exactly ``q`` or ``Q``, ended by LF, CR LF or the end of the input.

    Everything is passed on as soon as it comes, also part of a line. Only what may yet become the quit line (a ``q``
    or ``q`` CR at the start of a line) is held until the next byte decides. With ``raw`` no line means quit.
    """

    def __init__(self, raw: bool = False) -> None:
        self.ended = False
        """True once the quit line or the end of the input has been seen: nothing more is to be read."""
        self._raw = raw
        # What stands before the next byte, as far as it matters: b"" inside a line, a newline at the start of one,
        # and after that newline the bytes that are held.
        self._before = b"" if raw else b"\n"

    def feed(self, data: bytes) -> bytes:
        """Take what read(2) returned, b"" at the end of the input; return what is to be sent now.

        The work is bytes.find, in C: looking at each byte in Python would cost more than sending it.
        """
        if not data:
            return self._end()
        if self._raw:
            return data
        passed = len(self._before[:1])  # that newline went out earlier, or never was
        text = self._before + data
        quits = [at for at in map(text.find, _QUIT_LINES) if at >= 0]
        if quits:
            self.ended = True
            return text[passed : min(quits) + 1]
        self._before = next(filter(text.endswith, _BEGINNINGS), b"")
        return text[passed : len(text) - len(self._before[1:])]

    def _end(self) -> bytes:
        self.ended = True
        held = self._before[1:]
        return b"" if held in (b"q", b"Q") else held
