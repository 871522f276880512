"""One process for each connection: the parent accepts, a forked child serves.

    parent            child
    ------            -----
    accept  --fork-->  close(listener)
    close(connection)  echo, until the client's FIN
    accept  ...        shutdown, close, _exit
    waitpid <--SIGCHLD--

What it does: fork(2) gives the child a copy of every descriptor, so each side closes what is not its own. The parent
must close the connection, or the client never sees a FIN: TCP sends it when the last descriptor of a socket is closed.
The child must close the listener, or the port stays taken after the parent has gone.

A child that ended stays a zombie, an entry in the process table that holds its exit status, until its parent waits for
it. The kernel says SIGCHLD when a child ends, but a pending signal is a flag and not a queue: five children that end
together may send one. So for each SIGCHLD the parent calls waitpid(WNOHANG) until nothing is left.

What it costs: a fork, an exit and two context switches a connection; a process of memory a client. What it gives: a
child may block, leak or crash, and no other client notices.

Where it breaks: at the limit on processes. fork(2) then says EAGAIN, and the client that was just accepted waits here
until a child has ended; later ones wait in the listener's backlog.

Sources: UNP vol. 1, 5.8-5.11 and 30.5; TLPI 26.3 and 60.3; fork(2), waitpid(2), signal(7).
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


def serve(listener: Listener, handle: Handle, stop: Stop) -> None:
    """Fork a child for each client until ``stop`` is asked for, then wait for the children that still serve."""
    if listener.spare:
        return serve_ahead(listener, handle, stop)  # the same, but each child is forked before its client comes

    children: set[int] = set()
    parked: tuple[socket.socket, str] | None = None  # accepted, but fork(2) refused: nobody is turned away

    while not stop.asked:
        ready = listener.wait(stop, serving=len(children), accept=parked is None)
        if stop.ended:  # SIGCHLD. Not at every turn: waitpid(2) looks at each child, and there may be thousands
            stop.ended = False
            reap(children)
        if ready:
            parked = listener.accept()
        if parked and start_child(*parked, children, listener, handle, stop):
            parked = None

    if parked:
        parked[0].close()
    listener.close()
    drain(children, stop)


def start_child(
    connection: socket.socket, peer: str, children: set[int], listener: Listener, handle: Handle, stop: Stop
) -> bool:
    """Fork a child that serves ``connection``; False when the kernel refuses a process now (EAGAIN, ENOMEM)."""
    try:
        pid = os.fork()
        if pid == 0:
            serve_and_exit(connection, peer, listener, handle, stop)
    except OSError as error:
        listener.pause(events.FORK_FAILED, error, peer=peer)
        return False

    children.add(pid)
    log(events.CONNECTED, peer=peer, fd=connection.fileno(), child=pid)
    # The child has its own copy. While we held ours, the child's close() would not end the connection.
    connection.close()
    return True


def serve_and_exit(connection: socket.socket, peer: str, listener: Listener, handle: Handle, stop: Stop) -> None:
    """All of a child's life. It must not return: above it, on a stack copied by fork, lies the parent's loop."""
    status = os.EX_SOFTWARE
    try:
        stop.forget()
        listener.close()
        handle(connection, peer)
        status = os.EX_OK
    except BaseException:
        sys.excepthook(*sys.exc_info())  # a mistake in the server; it costs this one client only
    finally:
        # Not sys.exit(): that would unwind the copied stack, run the parent's clean-up and flush its buffers again.
        os._exit(status)


def reap(children: set[int]) -> None:
    """Wait for every child that has ended: their zombies go, and how they ended is told."""
    while True:
        try:
            # -1 is any child. As PID 1 of a container we also inherit orphans, and nobody else would wait for them.
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:  # ECHILD: there is no child at all
            return
        if pid == 0:  # there are children, and none of them has ended
            return
        children.discard(pid)
        if os.WIFSIGNALED(status):
            log(events.REAPED, child=pid, signal=signal_name(os.WTERMSIG(status)))
        else:
            log(events.REAPED, child=pid, status=os.WEXITSTATUS(status))


def drain(children: set[int], stop: Stop) -> None:
    """Let the children finish; when time is up, end those that are left."""
    reap(children)
    while children and not stop.now:
        stop.wait()
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
