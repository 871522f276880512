"""Snapshots in a stream, one JSON line each, until nobody listens any more."""

import contextlib
import fcntl
import gc
import json
import os
import resource
import select
import time

from probe.processes import Pins
from probe.snapshot import snapshot

STDIN, STDOUT = 0, 1

MOST_FILES = 1 << 16
MOST_IN_PIPE = 1 << 20
"""Bytes: what a pipe may hold at most without CAP_SYS_RESOURCE (/proc/sys/fs/pipe-max-size, pipe(7))."""
SPARE_FILES = 64
"""Kept free for what one look opens itself."""


def watch(interval: float, details: frozenset[str], share: float = 1.0) -> None:
    """Take a snapshot each ``interval`` seconds until standard input ends or nobody reads standard output.

    Whoever starts this in a container may be killed and cannot say good-bye; the engine then closes the pipes. So both
    ends are watched, also while a line waits to be taken: the last one may be cut. Moments that pass meanwhile are left
    out, not made up for.

    Args:
        interval: seconds from one snapshot to the next; 0 takes them as fast as they are read.
        details: as for :func:`probe.snapshot.snapshot`.
        share: the most of one processor's time that may be used; with a thousand processes, say, the snapshots come
            less often than ``interval`` asks for. What is watched shall not suffer from it.
    """
    gc.disable()  # a snapshot holds no cycles, and the collector would walk all of it again and again
    # Without this the usual limit would do for some three hundred processes only.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    # Room for some lines: one is read while the next look is taken. A pipe holds 64 KiB else.
    with contextlib.suppress(OSError):  # it is no pipe, or its user has too much in pipes already
        fcntl.fcntl(STDOUT, fcntl.F_SETPIPE_SZ, MOST_IN_PIPE)
    pins = Pins((min(most, MOST_FILES) - SPARE_FILES) // Pins.FILES)
    due = time.monotonic()
    while True:
        used = time.process_time()
        line = json.dumps(snapshot(details, pins), separators=(",", ":")) + "\n"
        if not _write(line.encode()):
            return
        used = time.process_time() - used
        due = max(due + interval, time.monotonic() + used / share - used)
        if _left(max(0.0, due - time.monotonic())):
            return


def _write(line: bytes) -> bool:
    """Write it as far as somebody reads; False when nobody will."""
    both = select.poll()
    both.register(STDIN, select.POLLIN)
    both.register(STDOUT, select.POLLOUT)
    while line:
        for descriptor, event in both.poll():
            if descriptor == STDIN and _at_end():
                return False
            if descriptor == STDOUT and event & select.POLLOUT:
                try:
                    # A pipe that is ready takes PIPE_BUF bytes without blocking (pipe(7)), and maybe not one more.
                    line = line[os.write(STDOUT, line[: select.PIPE_BUF]) :]
                except BrokenPipeError:
                    return False
            elif descriptor == STDOUT:  # POLLERR: the last reader of the pipe has gone
                return False
    return True


def _left(seconds: float) -> bool:
    """Whether the other side goes away within ``seconds``."""
    either = select.poll()
    either.register(STDIN, select.POLLIN)
    either.register(STDOUT, 0)  # POLLERR and POLLHUP come unasked
    deadline = time.monotonic() + seconds
    while True:
        for descriptor, _ in either.poll(max(0.0, deadline - time.monotonic()) * 1000):
            if descriptor == STDOUT or _at_end():
                return True
        if time.monotonic() >= deadline:
            return False


def _at_end() -> bool:
    """Whether standard input, which is ready, has ended; what it says is of no meaning."""
    try:
        return not os.read(STDIN, select.PIPE_BUF)
    except OSError:  # EIO: the terminal has gone
        return True
