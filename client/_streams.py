"""Standard input, output and error as plain descriptors: no buffer that could keep a byte back, any bytes.

O_NONBLOCK is never set on them: it is a flag of the open file description, which the user's shell shares, and the
shell would find its terminal broken.
"""

import contextlib
import os
import select
import signal

from client._errors import Broken
from client._signals import Stopped

STDIN, STDOUT, STDERR = 0, 1, 2

CHUNK = 64 * 1024
"""Bytes moved at a time: what a pipe holds (pipe(7))."""


def open_missing() -> None:
    """Open /dev/null where a standard stream is closed, so that a socket never gets the number 0, 1 or 2.

    Read-only: an absent input is an empty one, but what is written to an absent output is still an error.
    """
    for fd in (STDIN, STDOUT, STDERR):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDONLY)  # open(2) returns the lowest free number, which is fd


def read_input() -> bytes:
    """Return what standard input has, at most CHUNK bytes; b"" at its end.

    Raises Broken if it cannot be read.
    """
    while True:
        try:
            return os.read(STDIN, CHUNK)
        except BlockingIOError:  # whoever gave us the descriptor had set O_NONBLOCK
            _wait(STDIN, select.POLLIN)
        except OSError as error:
            raise unreadable(error.errno) from error


def write_output(data: bytes) -> None:
    """Write all of ``data`` to standard output.

    Raises Stopped(SIGPIPE) if nobody reads it any more, Broken if it cannot be written for another reason.
    """
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(STDOUT, rest) :]
        except BlockingIOError:
            _wait(STDOUT, select.POLLOUT)
        except BrokenPipeError:
            raise Stopped(signal.SIGPIPE) from None
        except OSError as error:
            raise Broken(f"cannot write to standard output: {error.strerror}") from error


def tell(message: str) -> None:
    """Say one thing to the user, on standard error; if that is gone too, there is nobody left to tell."""
    with contextlib.suppress(OSError):
        os.write(STDERR, f"client: {message}\n".encode(errors="backslashreplace"))


def unreadable(errno: int | None) -> Broken:
    """The error for a standard input that read(2) refuses with ``errno``."""
    return Broken(f"cannot read standard input: {os.strerror(errno or 0)}")


def _wait(fd: int, event: int) -> None:
    ready = select.poll()
    ready.register(fd, event)
    ready.poll()
