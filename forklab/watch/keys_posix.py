"""Keys of a POSIX terminal: termios(3), and the sequences that xterm and its kind send for the arrows."""

import contextlib
import os
import select
import sys
from collections.abc import Callable
from types import TracebackType

from forklab.watch.keys import END, LEFT, RIGHT

ARROWS = {b"\x1b[D": LEFT, b"\x1b[C": RIGHT, b"\x1bOD": LEFT, b"\x1bOC": RIGHT}
"""As ECMA-48 has them, and as a terminal sends them in application mode."""

SEQUENCE_SECONDS = 0.05
"""An arrow's bytes may come one by one over a slow line; a lone ESC is a key of its own."""


class PosixKeys:
    """See :class:`forklab.watch.keys.Keys`."""

    def __init__(self) -> None:
        self._descriptor = sys.stdin.fileno()
        self._restore: Callable[[], None] = lambda: None
        self._typed = b""

    def __enter__(self) -> "PosixKeys":
        import termios  # not there on Windows, where this file is imported by nobody but a test

        before = termios.tcgetattr(self._descriptor)

        def restore() -> None:
            with contextlib.suppress(termios.error):  # EIO: the terminal has gone
                termios.tcsetattr(self._descriptor, termios.TCSADRAIN, before)

        self._restore = restore
        raw = [*before[:6], list(before[6])]
        raw[3] &= ~(termios.ICANON | termios.ECHO)
        raw[6][termios.VMIN], raw[6][termios.VTIME] = 1, 0
        # Ctrl-Z would leave a drawn screen to the shell and this program stopped behind it.
        raw[6][termios.VSUSP] = os.fpathconf(self._descriptor, "PC_VDISABLE").to_bytes(1, "big")
        termios.tcsetattr(self._descriptor, termios.TCSADRAIN, raw)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def wait(self, seconds: float) -> str | None:
        """See :meth:`forklab.watch.keys.Keys.wait`."""
        if not self._typed and not self._read(seconds):
            return None
        while self._typed and any(arrow.startswith(self._typed) and arrow != self._typed for arrow in ARROWS):
            if not self._read(SEQUENCE_SECONDS):
                break
        return self._next()

    def _next(self) -> str | None:
        """Take the first key off what was typed."""
        if not self._typed:
            return END
        for sequence, name in ARROWS.items():
            if self._typed.startswith(sequence):
                self._typed = self._typed[len(sequence) :]
                return name
        if self._typed.startswith(b"\x1b"):  # another sequence, or ESC itself: nothing we know
            self._typed = b""
            return None
        first, self._typed = self._typed[:1], self._typed[1:]
        return first.decode("ascii", errors="ignore") or None

    def _read(self, seconds: float) -> bool:
        """Take what is typed within ``seconds``; False when it is nothing."""
        if not select.select([self._descriptor], [], [], seconds)[0]:
            return False
        try:
            self._typed += os.read(self._descriptor, 64)
        except OSError:  # EIO: the terminal has gone
            pass
        return True
