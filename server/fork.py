"""One process for each connection: the parent accepts, a forked child serves.

    parent            child
    ------            -----
    accept  --fork-->  close(listener)
    close(connection)  echo, until the client's FIN
    accept  ...        shutdown, close, _exit
    waitpid <--SIGCHLD--

What it does: fork(2) gives the child a copy of every descriptor, so each side closes what is not its own. The parent
must close the connection: TCP sends FIN when the last descriptor of a socket is closed, so the client of a child that
dies would never see one (a child that ends well calls shutdown(2), which sends it at once), and the parent would run
out of descriptors. The child must close the listener, or the port stays taken after the parent has gone, and the kernel
goes on connecting clients whom nobody will accept.

A child that ended stays a zombie, an entry in the process table that holds its exit status, until its parent waits for
it. The kernel says SIGCHLD when a child ends, but a pending signal is a flag and not a queue: of five children that end
together one may be heard. So for each SIGCHLD the parent calls waitpid(WNOHANG) until nothing is left.

What it costs: for each connection a fork, an exit and at least two context switches; for each client the memory of a
process. What it gives: a child may block, leak or crash, and no other client notices.

Where it breaks: at the limit on processes (RLIMIT_NPROC, pids.max), unless the cap on clients is reached first. fork(2)
then says EAGAIN. The client that was just accepted waits here, and fork is tried again every 0.1 s and whenever a child
has ended; later ones wait in the listener's backlog.

Sources: UNP vol. 1, 4.8, 5.8-5.10 and 30.5; TLPI 26.3 and 60.3; fork(2), waitpid(2), signal(7).
"""

import os
import sys

from protocol import events
from server._bare import signal, socket
from server._conversation import Handle
from server._listener import Listener
from server._log import log, signal_name
from server._spare import serve_ahead
from server._stop import Stop

WAITS = True
"""Waits for children by itself; for a model that does not, the kernel waits (``_serve.py``)."""


def serve(listener: Listener, handle: Handle, stop: Stop) -> None:
    """Fork a child for each client until ``stop`` is asked for, then wait for the children that still serve."""
    if listener.spare:
        return serve_ahead(listener, handle, stop)  # the same, but each child is forked before its client comes

    children: set[int] = set()
    # Accepted, and no child has it yet: the connection and its peer, or None. While fork(2) refuses it stays here.
    parked: tuple[socket.socket, str] | None = None

    while not stop.asked:
        # poll(2) on the listener, unless a client is parked or the cap is reached, and on a pipe into which each signal
        # writes a byte (_stop.py): one between the test above and the sleep is not lost. At EINTR Python polls again.
        ready = listener.wait(stop, serving=len(children), accept=(parked is None))
        if stop.child_ended:  # SIGCHLD. Not at every turn: waitpid(2) looks at each child, and there may be thousands
            stop.child_ended = False  # before reap, not after: a child that ends meanwhile sets it again
            reap(children)
        if ready:
            parked = listener.accept()
        # The star hands over the pair as two arguments.
        if parked and start_child(*parked, children, listener, handle, stop):
            parked = None

    if parked:
        parked[0].close()  # FIN; or RST, if it has sent something that nobody has read (RFC 2525, 2.17)
    listener.close()  # whoever is still in the backlog gets RST
    drain(children, stop)


def start_child(
    connection: socket.socket, peer: str, children: set[int], listener: Listener, handle: Handle, stop: Stop
) -> bool:
    """Fork a child that serves ``connection``; False when the kernel refuses a process now (EAGAIN, ENOMEM)."""
    try:
        pid = os.fork()
    except OSError as error:
        listener.pause(events.FORK_FAILED, error, peer=peer)  # says so, and does not sleep: no client for 0.1 s
        return False
    if pid == 0:
        serve_and_exit(connection, peer, listener, handle, stop)  # and never comes back

    children.add(pid)  # it may have ended already; but only this loop reaps, no handler does, so not before this line
    log(events.CONNECTED, peer=peer, fd=connection.fileno(), child=pid)
    # The child has its own copy. While we held ours, the child's end would send no FIN.
    connection.close()
    return True


def serve_and_exit(connection: socket.socket, peer: str, listener: Listener, handle: Handle, stop: Stop) -> None:
    """All of a child's life. It must not return: above it, on a stack copied by fork, lies the parent's loop."""
    status = os.EX_SOFTWARE
    try:
        # Our copy of the parent's signal pipe: a signal to us must not wake the parent. SIGTERM ends us at once.
        stop.forget()
        listener.close()
        handle(connection, peer)  # the whole conversation; it ends with shutdown(2) and close(2)
        status = os.EX_OK
    except BaseException:
        sys.excepthook(*sys.exc_info())  # prints where: a mistake in the server, which costs this one client only
    finally:
        # Not sys.exit(): that would unwind the copied stack, run the parent's clean-up and flush its buffers again.
        os._exit(status)


def reap(children: set[int]) -> None:
    """Wait for every child that has ended: their zombies go, and how they ended is told."""
    while True:
        try:
            # -1 is any child. A server that is PID 1 of its container inherits orphans, too; nobody else reaps them.
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:  # ECHILD: there is no child at all
            return
        if pid == 0:  # there are children, and none of them has ended
            return
        children.discard(pid)  # an orphan is not among them
        if os.WIFSIGNALED(status):
            log(events.REAPED, child=pid, signal=signal_name(os.WTERMSIG(status)))
        else:
            log(events.REAPED, child=pid, status=os.WEXITSTATUS(status))


def drain(children: set[int], stop: Stop) -> None:
    """Let the children finish; when time is up, by SIGALRM, SIGINT or a second SIGTERM, end those that are left.

    SIGTERM to the whole process group would end the children, too, and drain nothing: it must come to the parent alone.
    """
    reap(children)
    while children and not stop.now:
        stop.wait()  # not wait(2): sleeps until a signal comes
        reap(children)

    if children:
        log(events.CUT, connections=len(children))
    for pid in children:
        # The number cannot belong to a stranger by now: a child's PID is not given away before it was waited for.
        # SIGKILL also ends a child that was stopped; there is nothing in a child that would have to be tidied up.
        os.kill(pid, signal.SIGKILL)
    while children:
        stop.wait()
        reap(children)
