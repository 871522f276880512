"""Where clients arrive: the listening socket, and what accept(2) may answer besides a client.

Three queues are easily mixed up. The *backlog* holds clients that the kernel has connected and nobody has accepted
yet; its length is the smaller of listen(2)'s argument and net.core.somaxconn. The *cap* is how many accepted clients
a server is willing to serve at once; beyond it they are left in the backlog, and nobody is turned away. A *pause* is
taken when the kernel refused something for want of a resource: asking again at once would spin.
"""

import errno
import select
import sys
import time

from protocol import events
from server._bare import socket
from server._log import log
from server._stop import Stop

PAUSE = 0.1
"""Seconds without accept(2) after a refusal, as in OpenSSH's sshd: short for a person, long for a processor."""

ALREADY_GONE = {
    errno.EAGAIN,  # another process that shares the listener was faster
    # The client reset its connection in the backlog: UNP 5.11. Linux gives it out all the same, and recv(2) fails.
    errno.ECONNABORTED,
    # accept(2): Linux passes errors that are pending on the new socket; to be treated like EAGAIN.
    errno.ENETDOWN,
    errno.EPROTO,
    errno.ENOPROTOOPT,
    errno.EHOSTDOWN,
    errno.ENONET,
    errno.EHOSTUNREACH,
    errno.EOPNOTSUPP,
    errno.ENETUNREACH,
    errno.EPERM,  # a firewall rule forbade it
}
EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


class Listener:
    """A listening TCP socket that does not block.

    Args:
        host: the address to bind, IPv4 or IPv6, as a number; behind a link-local one, % and the interface's number.
        port: 1 to 65535, or 0 for one that is free.
        backlog: how many connected clients may wait to be accepted (listen(2)).
        cap: how many clients the model may serve at once.
        spare: how many processes a model keeps waiting for clients to come.

    Raises:
        OSError: the address cannot be bound.
    """

    def __init__(self, host: str, port: int, backlog: int, cap: int, spare: int = 0) -> None:
        self.cap, self.spare = cap, spare
        self._family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.socket(self._family, socket.SOCK_STREAM)
        try:
            self._set_options()
            # _socket takes the scope from here only, and silently drops it from the text (ipv6(7), sin6_scope_id).
            number, _, scope = host.partition("%")
            self._socket.bind((number, port, 0, int(scope or 0)) if ":" in host else (host, port))
            self._socket.listen(backlog)
        except BaseException:
            self._socket.close()
            raise
        self._paused_until = 0.0
        self._told = self._told_full = False
        self._poll: select.poll | None = None
        self._polled = False

    def _set_options(self) -> None:
        """Set what the listener needs and what accepted sockets inherit from it (socket(7), tcp(7))."""
        # Connections of an earlier server on this port, in TIME_WAIT or still served, must not forbid the bind.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # A peer that vanished without FIN is noticed after two hours; without this, never.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        # An answer goes out at once and does not wait for the ACK of the one before it (Nagle, RFC 896).
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # Another process may have taken a client before accept(2) looks for it; a blocking accept would hang there.
        self._socket.setblocking(False)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port that the kernel has bound."""
        host, port = self._socket.getsockname()[:2]
        return host, port

    def close(self) -> None:
        """Close this process's descriptor. The port is free when the last process that holds one has done so."""
        self._socket.close()

    def fileno(self) -> int:
        """The listener's descriptor; -1 once it is closed."""
        return self._socket.fileno()

    def has_room(self, serving: int) -> bool:
        """Whether one more client is wanted by a model that serves ``serving`` now; not at the cap, not in a pause."""
        room = serving < self.cap
        if not room and not self._told_full:
            log(events.FULL, connections=serving)
        self._told_full = not room or (self._told_full and self.backlog() > 0)  # over once nobody waits any more
        return room and self.pause_left() <= 0

    def pause_left(self) -> float:
        """Seconds until clients may be accepted again; 0 or less when there is no pause."""
        if self._paused_until and self._paused_until < time.monotonic():
            self._paused_until = 0.0
        return self._paused_until and self._paused_until - time.monotonic()

    def backlog(self) -> int:
        """How many connected clients wait to be accepted: of a listener, tcpi_unacked counts them (net/ipv4/tcp.c)."""
        info = self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 28)
        return int.from_bytes(info[24:28], sys.byteorder)

    def wait(self, stop: Stop, *, serving: int, accept: bool = True) -> bool:
        """Sleep in poll(2) until something is to be done.

        Args:
            stop: always waited for, so a signal ends the sleep.
            serving: how many clients the model serves now; at the cap, no more are wanted.
            accept: whether the model can take one otherwise.

        Returns:
            True when a client is there to be accepted.
        """
        if self._poll is None:
            self._poll = select.poll()
            self._poll.register(stop, select.POLLIN)
        # Before it is decided who is waited for: a pause that runs out after that would never be noticed.
        pause = self._paused_until and self.pause_left()
        easy = serving < self.cap and not self._paused_until and not self._told_full
        wanted = accept and (easy or self.has_room(serving))
        # At other times left out rather than ignored: a client in the backlog would end every poll at once.
        if wanted != self._polled:
            self._poll.register(self, select.POLLIN) if wanted else self._poll.unregister(self)
            self._polled = wanted
        arrived = False
        # Who has a client parked wants to try again once the pause is over, and not when something happens.
        endless = accept and pause <= 0
        for fd, _ in self._poll.poll(None if endless else max(pause, 0.0) * 1000):
            if fd == stop.fileno():
                stop.clear()
            else:
                arrived = True
        return arrived

    def accept(self) -> tuple[socket.socket, str] | None:
        """Take one client from the backlog.

        Returns:
            The connection, which blocks, and the peer as ``address:port``; None when there is none to be had now.

        Raises:
            OSError: accept(2) failed in a way that only a mistake in the server explains (EBADF, EINVAL).
        """
        try:
            fd, peer = self._socket._accept()  # type: ignore[attr-defined]  # accept4(2), the inner half of accept()
        except OSError as error:
            if error.errno in EXHAUSTED:
                self.pause(events.ACCEPT_FAILED, error)
            elif error.errno not in ALREADY_GONE:
                raise
            return None
        self._told = False
        # All four are given, or getsockopt(2) would be asked for what is known. getsockname(2) is called in any case:
        # CPython tests with it that the descriptor is a socket's.
        return socket.socket(self._family, socket.SOCK_STREAM, socket.IPPROTO_TCP, fd), f"{peer[0]}:{peer[1]}"

    def rest(self, seconds: float) -> None:
        """Accept nothing for so many seconds."""
        self._paused_until = time.monotonic() + seconds

    def pause(self, event: str, error: OSError, **facts: str) -> None:
        """Accept nothing for ``PAUSE`` seconds after a refusal; the clients keep their place in the backlog.

        It is logged once until a client was accepted again: ten lines a second help nobody.

        Args:
            event: what was refused, a name of ``protocol.events``.
            error: what the kernel answered.
            facts: what else belongs to the event.
        """
        self.rest(PAUSE)
        if not self._told:
            log(event, error=error.strerror, retry=PAUSE, **facts)
        self._told = True
