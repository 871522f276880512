"""The pipe between all conversations and the recorder, and the slate on which both sides say how far they are.

A pipe is a queue in the kernel. What is in it belongs to no process, so no process takes it along when it dies; it is
gone when nobody holds the read end any more, or the write end, and all of it has been read. (pipe(7))

Up to PIPE_BUF bytes, 4096, one write(2) is atomic: never mixed with another one's bytes. A longer line may be mixed
with others, and if its writer dies by SIGKILL, half of it may be left. So the pipe alone is not enough. Beside it lies
the *slate*, a page of memory that all processes share (mmap(2), MAP_SHARED), with a lock and a few numbers:

``COMMITTED``   how many bytes of whole lines were written into the pipe since the server began. It grows after the last
                byte of a line went in, by one store of eight bytes, which cannot be done by half. The recorder takes no
                byte that is not committed.
``UNFINISHED``  1 while somebody writes. Whoever gets the lock and finds a 1 knows that the last owner died in there.
                The bytes it left are the last in the pipe, and not committed. The recorder throws them away, and until
                then nobody writes behind them. No client had been told that this line is recorded.
``GRANTED``     up to where COMMITTED may grow: as far as there is room in the pipe and space on the disk. A window, as
                in TCP. A line that fits goes in whole and without waiting; one that does not fit stays outside.
``RECORDED``    how many bytes are in the file. A client gets its line back when this number has passed it.
``TROUBLE``     the errno of what keeps the recorder from recording, 0 while all is well.

The lock is a POSIX record lock (fcntl(2), F_SETLKW) on the slate. The kernel releases it when its owner dies, however
it dies. A semaphore in shared memory stays taken then, and so does a mutex, unless it is a robust one
(pthread_mutexattr_setrobust(3)), which Python has not. It is held for a few microseconds: nothing inside can block,
since there is room.

The *bell* is an eventfd(2). The recorder rings it when RECORDED has grown; those who wait for that sleep in poll(2).

Sources: pipe(7), fcntl(2) "Advisory record locking", memfd_create(2), eventfd(2), pthread_mutexattr_setrobust(3);
TLPI 44.10, 49.4, 55.3.
"""

import fcntl
import mmap
import os
import select
import sys
import termios
from _thread import allocate_lock  # the module threading would be one more thing to copy at each fork
from collections.abc import Iterator
from contextlib import contextmanager

COMMITTED, UNFINISHED, GRANTED, RECORDED, TROUBLE = range(5)
"""Places on the slate, eight bytes each."""

CAPACITY = 1 << 20
"""Bytes asked for; /proc/sys/fs/pipe-max-size is the most that an unprivileged process gets. 65536 come unasked."""


class Stream:
    """The pipe and the slate. Each process has a copy of the descriptors and sees the same pipe, the same slate.

    Attributes:
        reads: the pipe's end for the recorder.
        writes: the end for conversations.
        slate: the numbers, as above.
        window: how many bytes the pipe takes; none if 0 or less.
        longest: of how many bytes a line may be, with its newline.

    Raises:
        OSError: no descriptors are left.
    """

    def __init__(self) -> None:
        self.reads, self.writes = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            capacity = fcntl.fcntl(self.writes, fcntl.F_SETPIPE_SZ, CAPACITY)
        except PermissionError:  # this user's pipes have all that pipe-user-pages-soft allows, and may get two pages
            capacity = fcntl.fcntl(self.writes, fcntl.F_GETPIPE_SZ)
        # The capacity counts pages. What does not fit into the rest of a page begins a new one (fs/pipe.c), so two
        # neighbours together hold more than one page full. Half of the capacity always fits, but for both ends.
        self.window = capacity // 2 - 2 * mmap.PAGESIZE
        self.longest = self.window // 2

        self._lock = os.memfd_create("slate", os.MFD_CLOEXEC)
        os.ftruncate(self._lock, mmap.PAGESIZE)
        self.slate = memoryview(mmap.mmap(self._lock, mmap.PAGESIZE)).cast("q")
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._threads = allocate_lock()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Be the only one at the pipe. A record lock belongs to a process, so threads need a lock of their own."""
        with self._threads:
            fcntl.lockf(self._lock, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.lockf(self._lock, fcntl.LOCK_UN)

    def waiting(self) -> int:
        """How many bytes are in the pipe: FIONREAD, pipe(7)."""
        end = self.writes if self.writes >= 0 else self.reads
        return int.from_bytes(fcntl.ioctl(end, termios.FIONREAD, bytes(4)), sys.byteorder)

    def leave_reading(self) -> None:
        """Close our copy of the recorder's end: a pipe is broken when nobody holds one, and that shall be seen."""
        os.close(self.reads)
        self.reads = -1

    def leave_writing(self) -> None:
        """Close our copy of the conversations' end: end of file comes when nobody holds one."""
        os.close(self.writes)
        self.writes = -1

    def put(self, lines: bytes) -> int:
        """Write whole lines into the pipe, all of them or, if there is no room now, none.

        Args:
            lines: at most ``window`` bytes, the last one a newline.

        Returns:
            The number that RECORDED has passed when they are in the file; 0 when there was no room.

        Raises:
            BrokenPipeError: nobody holds the read end.
        """
        slate = self.slate
        with self.locked():
            end = slate[COMMITTED] + len(lines)
            if end > slate[GRANTED] or (slate[UNFINISHED] and self.waiting()):
                return 0
            slate[UNFINISHED] = 1
            rest = memoryview(lines)
            while rest:
                rest = rest[os.write(self.writes, rest) :]
            slate[COMMITTED] = end  # from here on the lines are in
            slate[UNFINISHED] = 0
            return int(end)

    def wait(self, seconds: float) -> None:
        """Sleep until the bell rings, or for so long.

        Another process may silence the bell before we have woken up, so nobody should wait for it for long.

        Raises:
            BrokenPipeError: nobody holds the read end.
        """
        poll = select.poll()
        poll.register(self._bell, select.POLLIN)
        poll.register(self.writes, 0)  # POLLERR comes unasked: the last read end was closed
        for fd, _ in poll.poll(seconds * 1000):
            if fd == self.writes:
                raise BrokenPipeError

    def silence(self) -> None:
        """Let the bell wake whoever waits from now on for the next ring only."""
        try:
            os.eventfd_read(self._bell)
        except BlockingIOError:
            pass

    def ring(self) -> None:
        """Wake all who wait."""
        os.eventfd_write(self._bell, 1)
