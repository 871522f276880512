"""What the outside wants of the server: signals, turned into something a loop can wait for.

A signal handler may interrupt anything at any point, so it should do next to nothing (signal-safety(7)). Here the
handler in C that Python installs with sigaction(2) writes one byte into a pipe, and that is all. The loop sleeps in
poll(2) on that pipe beside its sockets; a signal that comes just before the sleep is not lost, for its byte is there
already. This is the self-pipe (TLPI 63.5.2).

SIGTERM asks the server to drain: no new clients, those it has may finish within ``grace`` seconds.
SIGINT, or a second SIGTERM, asks it to stop now. SIGCHLD wakes the loop and notes that there is a child to wait for.

Without SA_RESTART, sigaction(2) lets a signal end a blocking call with EINTR. Python runs what is to be done and calls
again (PEP 475), so no model has to. SIGPIPE is ignored since Python started: writing to a peer that is gone is an
error of that one write (EPIPE) and not the death of the process.
"""

import os
import select

from protocol import events
from server._bare import signal, socket
from server._log import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType

HEARD = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGALRM)


class Stop:
    """The wish to end, and the pipe that tells of it.

    Args:
        grace: seconds that conversations have left after SIGTERM.

    Attributes:
        asked: the server shall end; no new client is to be accepted.
        now: time is up; what is still open is to be ended.
        child_ended: a child has ended since somebody set this to False (SIGCHLD).
    """

    def __init__(self, grace: float) -> None:
        self._grace = grace
        self.asked = False
        self.now = False
        self.child_ended = False
        self._current: socket.socket | None = None
        self._process = os.getpid()
        # Not blocking: a handler that blocked on a full pipe would hang the server. A byte lost there does not
        # matter, since a full pipe wakes the loop as well as a fuller one would.
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        for number in HEARD:
            # Not SIG_IGN for SIGCHLD: ignored, the kernel would throw the exit status away (POSIX, waitpid(2) NOTES).
            # That is right only for models that wait for nobody (_serve.py).
            # Without these handlers a server that is PID 1 could only be killed from outside: pid_namespaces(7).
            signal.signal(number, self._arrived)

    def fileno(self) -> int:
        """The descriptor that is readable once a signal has come, for poll(2)."""
        return self._read

    def _arrived(self, number: int, _: "FrameType | None") -> None:
        """Note a signal. Python calls this between two of its instructions, not inside the real handler."""
        if number == signal.SIGCHLD:
            self.child_ended = True
        elif os.getpid() != self._process:
            # A forked child has inherited this handler, and is what SIGTERM and SIGINT end. To give the dispositions
            # back before they are needed would cost each child four system calls.
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        elif number == signal.SIGTERM and not self.asked:
            self.asked = True
            log(events.DRAINING, seconds=self._grace)
            signal.setitimer(signal.ITIMER_REAL, max(self._grace, 1e-6))  # 0 would mean: never
        else:
            self._time_is_up()

    def _time_is_up(self) -> None:
        self.asked = self.now = True
        if self._current is not None:
            cut(self._current)

    def clear(self) -> None:
        """Empty the pipe, so that it wakes the loop for the next signal only. Call it when the pipe is readable."""
        os.read(self._read, 512)

    def wait(self, seconds: float | None = None) -> None:
        """Sleep until a signal comes, or for so many seconds."""
        poll = select.poll()
        poll.register(self, select.POLLIN)
        if poll.poll(None if seconds is None else seconds * 1000):
            self.clear()

    def wake(self) -> None:
        """End the sleep of whoever waits, as a signal would."""
        try:
            os.write(self._write, b"\0")
        except BlockingIOError:
            pass

    def blocks_on(self, connection: "socket.socket | None") -> None:
        """Cut ``connection`` when time is up: for a model that blocks in the conversation itself. None: no more."""
        self._current = connection
        if connection is not None and self.now:
            cut(connection)

    def forget(self) -> None:
        """In a child: let go of the parent's pipe. Signals end a child."""
        signal.set_wakeup_fd(-1)
        os.close(self._read)
        os.close(self._write)


def cut(connection: socket.socket) -> None:
    """End a connection under a call that blocks on it: recv(2) then returns 0, send(2) fails with EPIPE.

    close(2) would not do that: the descriptor goes, the call goes on sleeping.
    """
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:  # ENOTCONN: the peer has reset it already
        pass
