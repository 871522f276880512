"""Lets one lab operation at a time change a checkout's containers and images."""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from forklab.errors import LabError
from forklab.registry import ROOT

Say = Callable[[str], None]
"""Tells the user, in one line, what happens."""

try:
    import fcntl
except ImportError:  # Windows
    import msvcrt
    import time

    def _try(descriptor: int) -> bool:
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        except OSError:
            return False
        return True

    def _wait(descriptor: int) -> None:
        while not _try(descriptor):
            time.sleep(0.1)
else:

    def _try(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _wait(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX)


@contextlib.contextmanager
def held(say: Say, folder: Path = ROOT) -> Iterator[int]:
    """Hold the checkout's lock; yields its descriptor, for children to inherit (``subprocess`` ``pass_fds``).

    An flock belongs to the open file, which a child shares (flock(2)). So when this process is killed, a compose it
    started still holds the lock until it ends, and the next operation waits for it. Windows has no such inheritance:
    there the lock ends with this process.

    Raises:
        LabError: the lock file cannot be opened.
    """
    file = folder / ".lab.lock"
    try:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise LabError(f"cannot open {file}: {error.strerror}; the lab writes to its checkout") from None
    try:
        if not _try(descriptor):
            say("another ./lab is at work in this checkout; waiting until it ends")
            _wait(descriptor)
        yield descriptor
    finally:
        os.close(descriptor)
