"""Two processes: the recorder moves lines from the pipe to the file, the keeper forks another one when it dies.

The recorder never holds a byte. splice(2) moves bytes from the pipe to the file inside the kernel, and what it has
moved has left the pipe and is in the file, however early a SIGKILL ends it: it may move less, it cannot lose any. A
recorder that called read(2) and then write(2) would take along to its grave what it had read.

How far it is, is known to the kernel too: the file's offset, which splice(2) moves on. It belongs to the open file
description and not to a process (TLPI 5.4). The keeper and each recorder it forks share one, so the next recorder finds
the offset where the last one has left it, possibly within a line, and the rest of the line is the first in the pipe. It
is the same in the file and in the pipe at any moment: nothing is recorded twice. (O_APPEND would do the same for
write(2), but splice(2) refuses such a file: EINVAL.)

What it costs: one more copy than a server that writes the file itself, and a change to the recorder and back for each
line; lines that come together are moved together.

Where it breaks: where the file is changed by others. Only one server records in a file, flock(2) sees to that; but
``> store.log`` in a shell does not ask, and the next line would stand behind a hole of zeros.

Who dies, and what then? A recorder: the keeper forks the next. The keeper: the recorder goes on, but nobody will
replace it. Both: the pipe has no reader, and clients get an error. The server's parent: its children go on, and so do
these two, until the last of them has closed the write end. Then the pipe says end of file, and they leave. They ignore
SIGTERM and SIGINT, which a terminal sends to all of its processes.

Space on the disk is reserved before lines are let into the pipe: fallocate(2), a MiB beyond the end of the file. So a
full disk keeps lines out of the pipe; it never catches those that are in it. On a file system without fallocate(2)
lines may be caught. They stay in the pipe, nobody has got them back, and they are recorded when there is room.

Sources: splice(2), open(2), lseek(2), fallocate(2), fsync(2), flock(2); TLPI 5.4, 13.3, 26.2; APUE 8.6.
"""

import errno
import math
import os
import select
import sys
import time
from contextlib import contextmanager

from protocol import events
from server._bare import signal
from server._log import log, signal_name
from server._stream import COMMITTED, GRANTED, RECORDED, TROUBLE, UNFINISHED, Stream

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import NoReturn

NEVER, ALWAYS = math.inf, 0.0
"""Policies for fsync(2), beside a number of seconds."""

RETRY = 0.2
"""Seconds until it is tried again when the disk is full, or no process can be forked."""
YOUNG = 1.0
"""A recorder that lived for less than so many seconds is replaced after a growing delay, at most as long."""
IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
TAIL = 1 << 20
"""Bytes: more than the longest line."""
FALLOC_FL_KEEP_SIZE = 1
"""<linux/falloc.h>: reserve blocks, and leave the file's size as it is: nobody who reads the file sees them."""


def start(stream: Stream, file: int, path: str, fsync: float) -> int:
    """Start keeper and recorder, each with copies of ``stream`` and ``file``; ours of what is only theirs are closed.

    They must not be children of the server, whose models wait for any child of theirs and know nothing of these. So we
    fork twice: the process between ends at once, and init inherits the keeper.

    Args:
        stream: where lines come from.
        file: the descriptor they go to, its offset at the end.
        path: the file's name, for the log.
        fsync: seconds between two calls of fdatasync(2), or NEVER or ALWAYS.

    Returns:
        A descriptor that says end of file when both have ended.

    Raises:
        OSError: no process or descriptor is left.
    """
    over, alive = os.pipe2(os.O_CLOEXEC)
    # A signal to the whole group, Ctrl-C, must not end them before they ignore it.
    signal.pthread_sigmask(signal.SIG_BLOCK, IGNORED)
    try:
        between = os.fork()
        if between == 0:
            _begin(stream, file, path, fsync, over)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, IGNORED)
        os.close(alive)
    _, status = os.waitpid(between, 0)
    if code := os.waitstatus_to_exitcode(status):
        raise OSError(code, os.strerror(code))
    stream.leave_reading()
    os.close(file)
    return over


def _begin(stream: Stream, file: int, path: str, fsync: float, over: int) -> "NoReturn":
    """Life of the process between, and, in the process that it forks, the keeper's."""
    status = os.EX_SOFTWARE
    try:
        _call_it("keeper")  # and so the one it forks; here an error can still be told to the server
        if os.fork() == 0:
            for number in IGNORED:
                signal.signal(number, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, IGNORED)
            os.close(over)
            stream.leave_writing()
            _keep(stream, file, path, fsync)
        status = os.EX_OK
    except OSError as error:
        status = error.errno or status
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(status)


def _keep(stream: Stream, file: int, path: str, fsync: float) -> None:
    """The keeper: fork a recorder, wait for it, and fork the next one unless it has done all its work."""
    base = os.lseek(file, 0, os.SEEK_CUR)
    delay = 0.0
    while True:
        born = time.monotonic()
        try:
            pid = os.fork()
        except OSError:  # EAGAIN, ENOMEM: there may be room later
            time.sleep(RETRY)
            continue
        if pid == 0:
            _record(stream, file, base, path, fsync)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if status in (os.EX_OK, os.EX_IOERR):
            return
        if status < 0:
            log(events.RECORDER_DIED, recorder=pid, signal=signal_name(-status))
        else:
            log(events.RECORDER_DIED, recorder=pid, status=status)
        delay = min(max(2 * delay, YOUNG / 16), YOUNG) if time.monotonic() - born < YOUNG else 0.0
        time.sleep(delay)


def _record(stream: Stream, file: int, base: int, path: str, fsync: float) -> "NoReturn":
    """All of a recorder's life."""
    status = os.EX_SOFTWARE
    try:
        _call_it("recorder")
        Recorder(stream, file, base, path, fsync).run()
        status = os.EX_OK
    except Hopeless as error:
        log(events.RECORD_FAILED, error=str(error))
        status = os.EX_IOERR
    except OSError as error:  # EMFILE, ENFILE, ENOMEM: the next recorder may have what this one has not got
        log(events.RECORD_FAILED, error=error.strerror, retry=YOUNG)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(status)


class Hopeless(Exception):
    """Why nobody can go on from here, so that clients find the pipe broken."""


@contextmanager
def _only_once() -> "Iterator[None]":
    """Turn an error of what must not be tried again into Hopeless."""
    try:
        yield
    except OSError as error:
        raise Hopeless(error.strerror) from None


class Recorder:
    """Moves what is committed from the pipe to the file.

    Args:
        stream: the pipe and its slate.
        file: the descriptor of the file.
        base: the file's offset where the stream begins.
        path: the file's name, for the log.
        fsync: the policy.
    """

    def __init__(self, stream: Stream, file: int, base: int, path: str, fsync: float) -> None:
        self._stream, self._file, self._base, self._path, self._fsync = stream, file, base, path, fsync
        self._reserved = 0  # file offset up to which there are blocks
        self._synced = -1  # file offset up to which the disk was written to; that of an earlier recorder is not known
        self._due = 0.0  # when it is to be told next
        # Not imported above: the server itself never needs it, and would hand its memory on to each child.
        import ctypes

        fallocate = ctypes.CDLL(None, use_errno=True).fallocate64
        fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)

        def reserve(offset: int, length: int) -> int:
            """Reserve blocks; 0, or the errno."""
            return ctypes.get_errno() if fallocate(file, FALLOC_FL_KEEP_SIZE, offset, length) else 0

        self._reserve = reserve

    def run(self) -> None:
        """Record until no process holds the write end any more and all is in the file.

        Raises:
            Hopeless: fdatasync(2) failed.
            OSError: something else did.
        """
        log(events.RECORDING, file=self._path)
        poll = select.poll()
        poll.register(self._stream.reads, select.POLLIN)
        self._grant()
        over = False
        while not over:
            self._sync()
            self._publish()
            patience = self._patience()
            ready = poll.poll(None if patience is None else patience * 1000)
            hung_up = any(event & select.POLLHUP for _, event in ready)
            try:
                over = not self._move() and hung_up
                self._grant()
            except OSError as error:
                # No space for what was let in: only where none could be reserved. At the end nobody is left who waits
                # for these lines, so none of them was promised to anybody.
                self._in_trouble(error)
                over = hung_up
                time.sleep(RETRY)

        # Blocks that were reserved behind the end go with this, and half a line that found no space.
        with _only_once():  # nobody is left who would wait for a second time
            os.ftruncate(self._file, end_of_lines(self._file))
            if self._fsync != NEVER:
                os.fdatasync(self._file)

    def _offset(self) -> int:
        return os.lseek(self._file, 0, os.SEEK_CUR)

    def _move(self) -> int:
        """Move what is committed; how many bytes that were. Throw away what a writer that died has left."""
        stream = self._stream
        with stream.locked():
            count = left = stream.slate[COMMITTED] - (self._offset() - self._base)
            if not count:  # nobody is writing, since we have the lock
                while rubbish := stream.waiting():
                    os.read(stream.reads, rubbish)
                stream.slate[UNFINISHED] = 0
        while left:
            moved = os.splice(stream.reads, self._file, left)
            if not moved:  # end of file before all that is committed: only a stranger at the pipe explains that
                raise OSError(errno.EPIPE, "bytes are missing in the pipe")
            left -= moved
        return count

    def _sync(self) -> None:
        """Have the disk written to, if it is time."""
        offset = self._offset()
        if self._fsync != NEVER and offset != self._synced and time.monotonic() >= self._due:
            # When it has failed, the kernel has forgotten which pages it could not write. Tried again it would succeed
            # and mean nothing (fsync(2), ERRORS).
            with _only_once():
                os.fdatasync(self._file)
            self._synced, self._due = offset, time.monotonic() + self._fsync

    def _publish(self) -> None:
        """Tell the conversations how far the file is."""
        recorded = self._offset() - self._base
        if self._stream.slate[RECORDED] != recorded:
            self._stream.slate[RECORDED] = recorded
            self._stream.ring()

    def _grant(self) -> None:
        """Let in as much as the pipe takes, if there is space for it on the disk."""
        stream, offset = self._stream, self._offset()
        if offset + stream.window > self._reserved:
            code = self._reserve(offset, 2 * stream.window)
            if code not in (0, errno.EOPNOTSUPP, errno.ENOSYS):
                return self._in_trouble(OSError(code, os.strerror(code)))
            self._reserved = offset + 2 * stream.window
        if stream.slate[TROUBLE]:
            stream.slate[TROUBLE] = 0
            log(events.RECORDING, file=self._path)
        stream.slate[GRANTED] = offset - self._base + stream.window

    def _in_trouble(self, error: OSError) -> None:
        """Tell the log and the conversations, once."""
        if not self._stream.slate[TROUBLE]:
            log(events.RECORD_FAILED, error=error.strerror, retry=RETRY)
        self._stream.slate[TROUBLE] = error.errno or errno.EIO
        self._stream.ring()

    def _patience(self) -> float | None:
        """Seconds to sleep at most; None: until there is something in the pipe."""
        times = []
        if self._stream.slate[TROUBLE]:
            times.append(RETRY)
        if self._fsync != NEVER and self._offset() != self._synced:
            times.append(max(0.0, self._due - time.monotonic()))
        return min(times, default=None)


def end_of_lines(file: int) -> int:
    """The offset behind the last whole line of a file.

    Raises:
        ValueError: the last MiB of it has none.
    """
    size = os.fstat(file).st_size
    tail = os.pread(file, TAIL, max(0, size - TAIL))
    if len(tail) == TAIL and b"\n" not in tail:
        raise ValueError
    return size - len(tail) + tail.rfind(b"\n") + 1


def _call_it(name: str) -> None:
    """Give this process a name for ps and top (proc_pid_comm(5)); its command line is still the server's."""
    with open("/proc/self/comm", "w") as comm:
        comm.write(name)
