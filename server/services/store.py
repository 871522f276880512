"""Records each line in a file, through a pipe to a recorder process, and sends it back once it is there.

    conversations                      recorder
    -------------                      --------
    recv
    write  --->  pipe  --splice-->  file
    wait   <------- bell -----------
    send

What it guarantees: a line that a client got back is in the file exactly once, whole, and behind all lines that its
connection sent before. No SIGKILL changes that, of a child, the server, the keeper, the recorder, or of all of them at
once, as with their container; nor does a full disk. What the kernel has not yet written to the disk is lost when the
machine crashes: ``--fsync always`` sends nothing back before fdatasync(2), ``--fsync SECONDS`` limits the loss,
``never`` leaves it to the kernel, which takes up to half a minute.

What it does not: a line that did *not* come back may be in the file or not; its client cannot know, as when any answer
is lost. Lines of different connections are in the order in which they were written into the pipe.

A line ends with a newline; lines that arrived together are recorded together. A last line without newline, before the
client's FIN, is recorded with one, and comes back as it was sent. A line may have ``Stream.longest`` bytes, a quarter
of the pipe: 258,048 where pages have 4 KiB.

What cannot be recorded is answered with one line, ``ERROR``, the reason, and what has become of the lines, then FIN. It
is sent at once when the disk is full, and after PATIENCE seconds when the recorder does not move on. A new connection
begins anew: as soon as there is room, it is served.

What it costs: two changes between processes for each block. In a process or thread of its own, a conversation sleeps
meanwhile. An event loop must not, so there it yields and everybody else gets a turn. Only if the recorder is not done
even then, the whole loop sleeps until the bell, a millisecond at most.

How it is done: ``server/_stream.py``, the pipe; ``server/_recorder.py``, what reads it. Sources: pipe(7), splice(2).
"""

import fcntl
import os
import select
import stat
import time

from protocol import events
from server import _recorder
from server._log import log
from server._stream import RECORDED, TROUBLE, Stream
from server.services import READABLE, WRITABLE, NotReady, send_all, send_last

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from server._conversation import Conversation

DEFAULT = "/data/store.log"
AT_ONCE = 16384
"""Bytes read at once, at most."""
PATIENCE = 5.0
"""Seconds that a conversation waits for the recorder. A new recorder is there in far less."""
NAP, LONG_NAP = 0.001, 0.05
"""Seconds: the first sleep while waiting, and the longest. They double, so that a thousand processes that wait for a
recorder that hangs cost little; but not in an event loop, where everybody waits with the one who sleeps."""
FAREWELL = 4.0
"""Seconds that the server waits for keeper and recorder at its end: less than docker's grace after ``--drain``."""
MORE_PAGES = "end some of this user's processes that hold pipes, or raise /proc/sys/fs/pipe-user-pages-soft"
"""Beyond that number an unprivileged user's new pipe has two pages (pipe(7))."""

_stream: Stream
"""Set once by ``prepare``; each process that is forked later has it too."""


class Unrecorded(Exception):
    """Why lines are not recorded, in words for the client."""


def prepare(words: dict[str, str]) -> "Callable[[], None]":
    """Open the file and start the recorder.

    Raises:
        NotReady: the file cannot be recorded in.
    """
    global _stream
    path = words.get("store", DEFAULT)
    fsync = float(words["fsync"])
    try:
        file = _open(path, fsync)
        _stream = Stream()
        if _stream.window <= 0:
            raise NotReady(f"cannot record in {path}: its pipe is too small; {MORE_PAGES}")
        over = _recorder.start(_stream, file, path, fsync)
    except OSError as error:
        raise NotReady(f"cannot record in {path}: {error.strerror}; choose another file with --store") from None

    def finish() -> None:
        """Let the recorder see the end of the pipe, and stay until it has left: as PID 1, we would take it along."""
        _stream.leave_writing()
        poll = select.poll()
        poll.register(over, 0)  # POLLHUP comes unasked
        if not poll.poll(FAREWELL * 1000):
            log(events.RECORDER_STAYS, seconds=FAREWELL)

    return finish


def _open(path: str, fsync: float) -> int:
    """Open the file for this server alone, its offset at the end of the last whole line."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o644)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        raise NotReady(f"cannot record in {path}: it is no regular file; choose another file with --store")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise NotReady(f"cannot record in {path}: another server does; stop that one, or use --store") from None

    try:
        end = _recorder.end_of_lines(file)
    except ValueError:
        raise NotReady(f"cannot record in {path}: it is no file of lines; choose another file with --store") from None
    # If all processes die at once, the recorder may leave half a line. Nobody has got it back. But it may also be the
    # end of a file that somebody else wrote: it is moved aside, not thrown away.
    if half := os.fstat(file).st_size - end:
        with open(f"{path}.half", "ab") as aside:
            aside.write(os.pread(file, half, end))
            aside.flush()
            os.fsync(aside.fileno())
        _sync_name(f"{path}.half")
        log(events.HALF_LINE, file=path, bytes=half)
    os.ftruncate(file, end)
    os.lseek(file, end, os.SEEK_SET)
    if fsync != _recorder.NEVER:
        _sync_name(path)
    return file


def _sync_name(path: str) -> None:
    """Have the disk written to for a file's entry in its directory; fsync(2) of the file does not do that."""
    folder = os.open(os.path.dirname(os.path.realpath(path)), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    os.fsync(folder)
    os.close(folder)


def converse(talk: "Conversation") -> "Generator[int]":
    """Record and echo lines until the peer's FIN.

    Raises:
        OSError: the peer is gone.
    """
    try:
        yield from _lines(talk)
    except Unrecorded as error:
        talk.reason = events.REASON_UNRECORDED
        yield from send_last(talk, f"ERROR {error}\n".encode())


def _lines(talk: "Conversation") -> "Iterator[int]":
    """Take lines from the peer, and send back those that are recorded."""
    kept = b""  # a line of which the end has not come yet
    while True:
        try:
            data = talk.recv(min(AT_ONCE, _stream.longest))
        except BlockingIOError:
            yield READABLE
            continue
        if not data:
            break
        first = data.find(b"\n") + 1
        if len(kept) + (first or len(data)) > _stream.longest:
            raise Unrecorded(f"a line is longer than {_stream.longest} bytes; it was not recorded, nor what follows it")
        end = data.rfind(b"\n") + 1
        if end:
            lines = kept + data[:end]
            kept = data[end:]
            yield from _record(talk, lines)
            yield from send_all(talk, lines)
        else:
            kept += data
    if kept and not talk.cut:  # only the peer can say that its line is whole
        yield from _record(talk, kept + b"\n")
        yield from send_all(talk, kept)


def _record(talk: "Conversation", lines: bytes) -> "Iterator[int]":
    """Put lines into the pipe and wait until they are in the file.

    Raises:
        Unrecorded: they are not, or it is not known.
    """
    slate = _stream.slate
    latest = time.monotonic() + PATIENCE
    nap = NAP
    end = 0
    try:
        while True:
            end = end or _stream.put(lines)
            if talk.flags:
                yield WRITABLE  # which it is, so this means: the others' turn
            _stream.silence()
            if end and slate[RECORDED] >= end:
                return
            if (slate[TROUBLE] and not end) or time.monotonic() > latest:
                break
            _stream.wait(nap)
            nap = NAP if talk.flags else min(2 * nap, LONG_NAP)
    except BrokenPipeError:
        raise Unrecorded(f"the recorder is gone; {_fate(end)}") from None
    trouble = os.strerror(slate[TROUBLE]) if slate[TROUBLE] else "the recorder does not answer"
    raise Unrecorded(f"{trouble}; {_fate(end)}")


def _fate(end: int) -> str:
    """What has become of lines that did not come back."""
    return "whether this line was recorded is not known" if end else "this line was not recorded, nor what follows it"
