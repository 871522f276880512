"""Keys as they are pressed, without Enter. Each system has a file of its own behind one contract."""

import os
from types import TracebackType
from typing import Protocol

LEFT, RIGHT = "left", "right"
END = "end"
"""Nobody can press a key any more: the terminal has gone."""


class Keys(Protocol):
    """A terminal that gives each key at once and does not show it; as before when the ``with`` is left.

    Ctrl-C is a KeyboardInterrupt, as ever.
    """

    def __enter__(self) -> "Keys": ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def wait(self, seconds: float) -> str | None:
        """The next key: a character, ``left``, ``right`` or ``end``; None when there is none within ``seconds``.

        A key that is none of these is None too.
        """


def keys() -> Keys:
    """The keys of the terminal at hand."""
    if os.name == "nt":
        from forklab.watch.keys_windows import WindowsKeys

        return WindowsKeys()
    from forklab.watch.keys_posix import PosixKeys

    return PosixKeys()
