"""The client that never waits its turn: fork() splits it into a process that writes and a process that reads.

    standard input  --> child  (writes) --.
                                           >-- one TCP connection -- server
    standard output <-- parent (reads)  <-'

Each of the two runs one simple loop. While the writer sleeps until the user types, the reader prints whatever comes;
and a large input cannot fill both directions and lock, for what comes back is always read.

**One connection, two descriptors.** fork() copies the table of descriptors. Both copies name one open file description
(fork(2), UNP 4.8), and three things follow:

* close() in the writer sends no FIN as long as the reader has the socket open. To say "that was all", the writer calls
  shutdown(SHUT_WR), which acts on the connection and not on a descriptor. The server reads end of file, sends what it
  still has and closes; the reader gets every last byte and then end of file.
* O_NONBLOCK belongs to the description: set by the writer, it would hold for the reader too. MSG_DONTWAIT asks for the
  same for one send() alone.
* Each process closes what it does not use. Else the reader would keep the input pipe open when the writer has gone, and
  the writer the output pipe; the programs at their far ends would wait for an end that never comes.

**The lifeline.** When the server goes away the reader sees it, but the writer may be asleep until the next key. So
there is a pipe into which nobody writes; only the reader holds its write end, only the writer its read end. When the
reader closes it, or dies in whatever way (the kernel closes all it had), the writer's poll() says POLLHUP, and it
leaves. When the writer dies, the reader's poll() says POLLERR (poll(2)).

**The end.** The reader waits for its child, so that no zombie stays, and judges. Ctrl-C goes to both, for both are in
the terminal's foreground group; the writer ignores it and leaves by the lifeline. SIGINT and SIGTERM are blocked around
fork(): one that came between it and ``try`` would leave a process behind.
"""

import errno
import os
import select
import signal
import socket
from typing import NoReturn

from client import _signals
from client._connection import closed_first, connection_lost, server_closed
from client._errors import Broken, CannotStart
from client._lines import UntilQuit
from client._streams import CHUNK, STDIN, STDOUT, unreadable, write_output

# How the writer exits. Any other status is the errno with which read(2) refused standard input; they end at 133.
HALF_CLOSED, CUT, LOST = 0, 254, 255


class Writer:
    """The child as its parent sees it. ``status`` is None while it runs, minus the signal's number if one killed it."""

    def __init__(self, pid: int, lifeline: int) -> None:
        self.pid, self.lifeline = pid, lifeline
        self.status: int | None = None

    def wait(self) -> int:
        """Wait until the child has ended, once; return its status."""
        if self.status is None:
            self.status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.status


def converse(connection: socket.socket, raw: bool) -> None:
    """Talk to the server until it has answered all input; with ``raw`` a line ``q`` does not end the input.

    Raises Broken if the server goes away before that, the writer is killed or a standard stream fails, CannotStart if
    fork(2) refuses, Stopped on SIGINT, on SIGTERM and when nobody reads standard output.
    """
    writers_end, readers_end = os.pipe()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _signals.STOPPING)
    try:
        pid = os.fork()
    except OSError as error:
        raise CannotStart(f"cannot fork the writer: {error.strerror}; raise the limit on processes") from error
    if pid == 0:
        os.close(readers_end)
        os.close(STDOUT)
        _signals.end_at_once()  # again: a parent that is PID 1 had a handler for it
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        be_writer(connection, writers_end, UntilQuit(raw))
    os.close(writers_end)
    os.close(STDIN)
    writer = Writer(pid, readers_end)
    try:
        _signals.raise_stopped()
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        server_was_first = read(connection, writer)
    except OSError as error:
        raise connection_lost(error.errno) from error
    finally:
        os.close(readers_end)
        status = writer.wait()
        _signals.end_at_once()
    if status < 0:
        raise Broken(f"the writing process {pid} was killed by signal {-status}; input may be missing")
    if server_was_first or status == CUT:
        raise server_closed()
    if status != HALF_CLOSED:
        raise connection_lost(errno.ECONNRESET) if status == LOST else unreadable(status)


def read(connection: socket.socket, writer: Writer) -> bool:
    """Copy from the server to standard output until end of file; tell whether the server closed before we had."""
    ready = select.poll()
    ready.register(connection, select.POLLIN)
    ready.register(writer.lifeline, 0)  # POLLERR comes unasked
    while True:
        events = [fd for fd, _ in ready.poll()]
        if writer.lifeline in events:
            ready.unregister(writer.lifeline)
            if writer.wait() < 0:  # killed: without a FIN the server would wait for more, and we for the server
                connection.shutdown(socket.SHUT_WR)
        if connection.fileno() in events:
            data = connection.recv(CHUNK)
            if not data:
                return closed_first(connection)
            write_output(data)


def be_writer(connection: socket.socket, lifeline: int, lines: UntilQuit) -> NoReturn:
    """Be the child: write, then leave by _exit(2), which runs nothing that belongs to the parent."""
    status = LOST
    try:
        status = write(connection, lifeline, lines)
    finally:
        os._exit(status)


def write(connection: socket.socket, lifeline: int, lines: UntilQuit) -> int:
    """Copy standard input to the server until it ends, then half-close; return the exit status."""
    status = HALF_CLOSED
    while not lines.ended:
        wait_for(STDIN, select.POLLIN, lifeline)
        try:
            data = os.read(STDIN, CHUNK)
        except BlockingIOError:
            continue
        except OSError as error:
            status, data = error.errno or LOST, b""
        send_all(connection, lines.feed(data), lifeline)
    connection.shutdown(socket.SHUT_WR)
    return status


def send_all(connection: socket.socket, data: bytes, lifeline: int) -> None:
    """Hand all of ``data`` to the kernel, but never sleep in it: the lifeline's end would go unnoticed there."""
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[connection.send(rest, socket.MSG_DONTWAIT) :]
        except BlockingIOError:
            wait_for(connection.fileno(), select.POLLOUT, lifeline)


def wait_for(fd: int, event: int, lifeline: int) -> None:
    """Sleep until ``fd`` is ready; leave if the reader has gone."""
    ready = select.poll()
    ready.register(fd, event)
    ready.register(lifeline, 0)  # POLLHUP comes unasked
    if any(woken == lifeline for woken, _ in ready.poll()):
        os._exit(CUT)
