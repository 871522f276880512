"""Processes that are forked ahead of their clients and accept by themselves, for ``prefork`` and ``fork --spare``.

All workers wait for the same listener. Were they asleep in poll(2), each new client would wake them all, and all but
one would find nothing: the thundering herd (UNP vol. 1, 30.6). With EPOLLEXCLUSIVE the kernel wakes "one or more"
(epoll_ctl(2)), as a rule one.

A worker may outlive its parent, but must not keep the port. The lifeline is a pipe into which nobody writes and of
which only the parent holds the write end. When the parent is gone, in whatever way, the kernel closes that end and
sends SIGIO (O_ASYNC, fcntl(2)), also to a worker that blocks in recv(2) and cannot watch the pipe. An idle worker
leaves; a busy one closes the listener and serves its client to the end. PR_SET_PDEATHSIG could do the same, but only
``ctypes`` calls prctl(2), and that is large.
"""

import fcntl
import os
import select
import sys
import time

from protocol import events
from server._bare import signal, socket
from server._conversation import Handle
from server._listener import Listener
from server._log import log, signal_name
from server._stop import Stop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from types import FrameType
    from typing import NoReturn

    Occupied = Callable[[bool], None]  # told True in a worker that has taken a client, and False when it is free again

TOLD = (signal.SIGTERM, signal.SIGIO)
"""By what a worker is told to leave: by its parent, or by the kernel when that is gone."""

YOUNG = 1.0
"""A worker that dies within so many seconds did not die of old age: its successor is forked after a growing delay."""
DELAYS = 0.1, 5.0
"""The first and the longest, in seconds."""


class BackOff:
    """Puts off the next fork when workers die young: what kills them at birth would be forked again without end.

    Args:
        listener: rests meanwhile.
    """

    def __init__(self, listener: Listener) -> None:
        self._listener, self._delay = listener, 0.0

    def bury(self, births: "Collection[float]") -> None:
        """Note that workers have died, by the times of their births (time.monotonic)."""
        # During a pause nobody is born: who dies then belongs to the round that the pause is for.
        if births and self._listener.pause_left() <= 0:
            young = time.monotonic() - max(births) < YOUNG
            self._delay = min(max(2 * self._delay, DELAYS[0]), DELAYS[1]) if young else 0.0
            self._listener.rest(self._delay)


class Lifeline:
    """The pipe that ends when the parent does."""

    def __init__(self) -> None:
        self._end, self._parents_end = os.pipe()

    def hold(self) -> bool:
        """In a worker: have SIGIO sent to it when the parent is gone; False if it is already.

        Whom the kernel tells is noted in the open file description (F_SETOWN), which fork(2) shares among all. Opened
        by its name in /proc, the pipe has one more, and that is the worker's own.
        """
        os.close(self._parents_end)
        end = os.open(f"/proc/self/fd/{self._end}", os.O_RDONLY)
        os.close(self._end)
        fcntl.fcntl(end, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(end, fcntl.F_SETFL, os.O_ASYNC)
        poll = select.poll()
        poll.register(end, 0)  # POLLHUP comes unasked: nobody is told of what happened before
        return not poll.poll(0)


class WorkerStop(Stop):
    """What a worker is told: by one of ``TOLD``, to leave when its client has left; by SIGINT, to leave now.

    SIGTERM to the process group comes twice, the second time from the parent, and means the same. When time is up, the
    parent ends its workers.

    Args:
        listener: not kept while a last client is served: the kernel would connect others, whom nobody accepts.
    """

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        super().__init__(grace=0.0)
        signal.signal(signal.SIGIO, self._arrived)  # before the lifeline is held: not caught, it would be the end

    def _arrived(self, number: int, _: "FrameType | None") -> None:
        if number in TOLD:
            self.leave()
        elif number == signal.SIGINT:
            self._time_is_up()

    def leave(self) -> None:
        """Ask the worker to leave. The listener of an idle one stays open: it may just be about to accept."""
        self.asked = True
        if self._current is not None:
            self._listener.close()

    def blocks_on(self, connection: "socket.socket | None") -> None:
        """See ``Stop``; whoever was asked since it accepted lets go of the listener now."""
        super().blocks_on(connection)
        if self.asked:
            self.leave()


def fork_worker(
    listener: Listener, handle: Handle, stop: Stop, lifeline: Lifeline, occupied: "Occupied", once: bool = False
) -> int | None:
    """Fork a worker.

    Args:
        listener: shared with all other workers.
        handle: what is done with a client.
        stop: the parent's; the worker makes one of its own.
        lifeline: ends when the parent does.
        occupied: see there.
        once: whether it leaves after its first client.

    Returns:
        Its PID; None when the kernel refuses a process now, and then the listener pauses.
    """
    # Blocked, SIGTERM waits until the worker has a Stop of its own (sigprocmask(2)). Otherwise one that is told to go
    # in its first microseconds would stay: Python forgets, after a fork, what the child has caught by then.
    signal.pthread_sigmask(signal.SIG_BLOCK, TOLD)
    try:
        pid = os.fork()
        if pid == 0:
            _work_and_exit(listener, handle, stop, lifeline, occupied, once)
    except OSError as error:
        listener.pause(events.FORK_FAILED, error, peer="the next client")
        return None
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, TOLD)
    return pid


def _work_and_exit(
    listener: Listener, handle: Handle, stop: Stop, lifeline: Lifeline, occupied: "Occupied", once: bool
) -> "NoReturn":
    status = os.EX_SOFTWARE
    try:
        stop.forget()
        own = handle.stop = WorkerStop(listener)
        if not lifeline.hold():
            own.leave()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, TOLD)
        _work(listener, handle, own, occupied, once)
        status = os.EX_OK
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(status)  # above lies the parent's loop, on a stack copied by fork


def _work(listener: Listener, handle: Handle, stop: Stop, occupied: "Occupied", once: bool) -> None:
    """Serve one client after the other, until told to end, orphaned, or done."""
    epoll = select.epoll()
    epoll.register(listener, select.EPOLLIN | select.EPOLLEXCLUSIVE)
    epoll.register(stop, select.EPOLLIN)
    if once:
        handle.rehearse(1)
    me = os.getpid()
    while not stop.asked:
        if (pause := listener.pause_left()) > 0:  # no descriptor left
            stop.wait(pause)
            continue
        accepted = listener.accept()
        if accepted is None:  # nobody waits, or another worker was faster
            if stop.fileno() in [fd for fd, _ in epoll.poll()]:
                stop.clear()
            continue
        connection, peer = accepted
        occupied(True)
        log(events.CONNECTED, peer=peer, fd=connection.fileno(), child=me)
        if once:
            epoll.close()  # or each new client would be offered to it, too: the listener is still open elsewhere
            listener.close()
        stop.blocks_on(connection)
        handle(connection, peer)
        stop.blocks_on(None)
        if once:
            return
        occupied(False)


def ended() -> "Iterator[int]":
    """Wait for every child that has ended (waitid(2)), and yield its PID; how it ended is told."""
    while True:
        try:
            child = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG)
        except ChildProcessError:
            return
        if child is None:
            return
        if child.si_code == os.CLD_EXITED:
            log(events.REAPED, child=child.si_pid, status=child.si_status)
        else:
            log(events.REAPED, child=child.si_pid, signal=signal_name(child.si_status))
        yield child.si_pid


def dismiss(workers: set[int], stop: Stop) -> None:
    """Let those that serve finish, the others leave at once; when time is up, end those that are left."""
    for pid in workers:
        os.kill(pid, signal.SIGTERM)
    told = False
    while workers:
        if stop.now and not told:
            log(events.CUT, connections=len(workers))
            told = True
            for pid in workers:
                os.kill(pid, signal.SIGKILL)
        stop.wait()
        workers.difference_update(ended())
