"""Processes that are forked ahead of their clients and accept by themselves, for ``prefork`` and ``fork --spare``.

All workers wait for the same listener. Were they asleep in poll(2), each new client would wake them all, and all but
one would find nothing: the thundering herd (UNP vol. 1, 30.6). EPOLLEXCLUSIVE wakes one of them (epoll_ctl(2)).

A worker must not outlive its parent, or an idle one would keep the port. The lifeline is a pipe into which nobody
writes and of which only the parent holds the write end. When the parent is gone, in whatever way, the kernel closes
that end, and the worker's epoll says EPOLLHUP. PR_SET_PDEATHSIG would end a worker in the middle of a conversation.
"""

import os
import select
import sys

from protocol import events
from server._bare import signal
from server._conversation import Handle
from server._listener import Listener
from server._log import log, signal_name
from server._stop import Stop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import NoReturn

    Occupied = Callable[[bool], None]  # told True in a worker that has taken a client, and False when it is free again

TOLD = (signal.SIGTERM,)
"""By what a worker is told to leave."""


class Lifeline:
    """The pipe that ends when the parent does."""

    def __init__(self) -> None:
        self._end, self._parents_end = os.pipe()
        self._parent = os.getpid()

    def fileno(self) -> int:
        """What a worker watches."""
        return self._end

    def holds(self) -> bool:
        """In a worker: whether its parent is still that of its birth. It wakes nobody, but costs next to nothing."""
        return os.getppid() == self._parent

    def let_go(self) -> None:
        """In a worker: close the end by whose closing it is to notice the parent's death."""
        os.close(self._parents_end)


def fork_worker(
    listener: Listener, handle: Handle, stop: Stop, lifeline: Lifeline, occupied: "Occupied", visits: int = 0
) -> int | None:
    """Fork a worker.

    Args:
        listener: shared with all other workers.
        handle: what is done with a client.
        stop: the parent's; the worker makes one of its own.
        lifeline: ends when the parent does.
        occupied: see there.
        visits: how many clients it serves before it leaves; 0 for any number.

    Returns:
        Its PID; None when the kernel refuses a process now, and then the listener pauses.
    """
    # Blocked, SIGTERM waits until the worker has a Stop of its own (sigprocmask(2)). Otherwise one that is told to go
    # in its first microseconds would stay: Python forgets, after a fork, what the child has caught by then.
    signal.pthread_sigmask(signal.SIG_BLOCK, TOLD)
    try:
        pid = os.fork()
        if pid == 0:
            _work_and_exit(listener, handle, stop, lifeline, occupied, visits)
    except OSError as error:
        listener.pause(events.FORK_FAILED, error, peer="the next client")
        return None
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, TOLD)
    return pid


def _work_and_exit(
    listener: Listener, handle: Handle, stop: Stop, lifeline: Lifeline, occupied: "Occupied", visits: int
) -> "NoReturn":
    status = os.EX_SOFTWARE
    try:
        stop.forget()
        lifeline.let_go()
        own = Stop(stop.grace, tells=False)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, TOLD)
        _work(listener, handle, own, lifeline, occupied, visits)
        status = os.EX_OK
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(status)  # above lies the parent's loop, on a stack copied by fork


def _work(
    listener: Listener, handle: Handle, stop: Stop, lifeline: Lifeline, occupied: "Occupied", visits: int
) -> None:
    """Serve one client after the other, until told to end, orphaned, or done."""
    epoll = select.epoll()
    epoll.register(listener, select.EPOLLIN | select.EPOLLEXCLUSIVE)
    epoll.register(stop, select.EPOLLIN)
    epoll.register(lifeline, 0)  # EPOLLHUP comes unasked
    if visits:
        handle.rehearse(1)
    me = os.getpid()
    served = 0
    while not stop.asked and lifeline.holds():
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
        stop.blocks_on(connection)
        handle(connection, peer)
        stop.blocks_on(None)
        served += 1
        if served == visits:
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
