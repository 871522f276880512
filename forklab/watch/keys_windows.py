"""Keys of a Windows console: msvcrt, whose getwch gives an arrow as a prefix and a letter."""

import importlib
import time
from types import TracebackType

from forklab.watch.keys import LEFT, RIGHT

PREFIXES = ("\x00", "\xe0")
ARROWS = {"K": LEFT, "M": RIGHT}
CTRL_C = "\x03"
POLL_SECONDS = 0.02
"""msvcrt can say whether a key is there, and cannot wait for one."""


class WindowsKeys:
    """See :class:`forklab.watch.keys.Keys`."""

    def __enter__(self) -> "WindowsKeys":
        return self  # getwch neither waits for Enter nor shows the key, and changes nothing for good

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def wait(self, seconds: float) -> str | None:
        """See :meth:`forklab.watch.keys.Keys.wait`."""
        msvcrt = importlib.import_module("msvcrt")  # there on Windows only
        deadline = time.monotonic() + seconds
        while not msvcrt.kbhit():
            if time.monotonic() >= deadline:
                return None
            time.sleep(POLL_SECONDS)
        key = str(msvcrt.getwch())
        if key in PREFIXES:
            return ARROWS.get(str(msvcrt.getwch()))
        if key == CTRL_C:
            raise KeyboardInterrupt
        return key
