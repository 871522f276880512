"""A client's end of a connection to the subject."""

import fcntl
import itertools
import select
import socket
import struct
import termios
import time
from collections.abc import Callable

from examiner._moments import Tell

Eventually = Callable[..., bool]
"""``Subject.eventually``."""

_tokens = itertools.count(1)
_MOST = 16 << 20
"""Bytes that are kept until somebody asks for them: a server that sends without end must not fill our memory."""


class Connection:
    """Never blocks for long: what does not come within the subject's own time (``Subject.eventually``) does not come.

    Attributes:
        tell: gets what goes by and how it ends (``Moments.client``).
        got: every byte that has come so far.
        paused: leave what comes where it is, as a peer that does not read.
        ended: how the subject's side ended: ``FIN``, ``RST``, or nothing yet.
        local: our address and port, by which the kernel's tables name the connection.
        remote: the other end's.
    """

    def __init__(self, wire: socket.socket, remote: tuple[str, int], eventually: Eventually, ended: str = "") -> None:
        self._wire, self._eventually = wire, eventually
        wire.setblocking(False)
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.local = ":".join(map(str, wire.getsockname()))
        self.remote = ":".join(map(str, remote))  # not from getpeername(2): ENOTCONN, once it is reset
        self.got = b""
        self.ended = ended
        self.paused = False
        self.tell: Tell = lambda what, count=None: None

    def fileno(self) -> int:
        """Its descriptor, -1 when it is closed."""
        return self._wire.fileno()

    def send(self, data: bytes) -> bool:
        """Send all of it; False when the subject takes no more of it, or has reset the connection."""
        rest = memoryview(data)

        def push() -> bool:
            nonlocal rest
            try:
                while rest:
                    rest = rest[self._push(rest) :]
                    self.pull()
            except BlockingIOError:
                self.pull()  # whoever echoes can be stopped by what we do not read
            except OSError:
                self._over("RST")
            return not rest or self.ended == "RST"

        return self._eventually(push) and not rest

    def stuff(self, most: int) -> bytes:
        """Send lines, and read nothing, until nobody takes more of them or they are ``most`` bytes; what was taken."""
        data = b"".join(b"forklab %010d %s\n" % (number, b"." * 1000) for number in range(most // 1000))[:most]
        rest = memoryview(data)

        def push() -> bool:
            nonlocal rest
            try:
                rest = rest[self._push(rest[: 1 << 16]) :]
            except BlockingIOError:
                return False
            except OSError:
                self._over("RST")
            return True

        while rest and not self.ended and self._eventually(push, 0.3):
            pass
        return data[: len(data) - len(rest)]

    def _push(self, data: memoryview) -> int:
        count = self._wire.send(data)
        self.tell("send", count)
        return count

    def _over(self, how: str) -> None:
        if not self.ended:
            self.ended = how
            self.tell(how.lower())

    def pull(self, most: int = _MOST) -> None:
        """Take what is there, until ``got`` has so many bytes."""
        while not self.ended and not self.paused and len(self.got) < most:
            try:
                data = self._wire.recv(1 << 16)
            except BlockingIOError:
                return
            except OSError:  # ECONNRESET, ETIMEDOUT
                self._over("RST")
                return
            if data:
                self.got += data
                self.tell("receive", len(data))
            else:
                self._over("FIN")

    def more(self) -> bool:
        """Whether more has come, bytes or an end."""
        self.pull()
        return bool(self.got or self.ended)

    def receive(self, count: int) -> bytes:
        """The next ``count`` bytes, or what came of them; they are taken out of ``got``."""
        poll = select.poll()  # not select: we may have more than FD_SETSIZE descriptors
        poll.register(self._wire, select.POLLIN)

        def more() -> bool:
            poll.poll(1)
            self.pull(count + _MOST)
            return len(self.got) > had or bool(self.ended)

        # Patience begins anew with every byte: much of it takes long on a machine that is busy, or under strace.
        while (had := len(self.got)) < count and not self.ended and self._eventually(more):
            pass
        found, self.got = self.got[:count], self.got[count:]
        return found

    def ask(self, data: bytes) -> bytes:
        """Send it and take as many bytes as an echo would have."""
        return self.receive(len(data)) if self.send(data) else b""

    def served(self) -> bool:
        """Whether a line comes back as it was sent; each time another one, so that no old byte passes for an answer."""
        line = b"forklab %d\n" % next(_tokens)
        return self.ask(line) == line

    def latency(self, rounds: int = 5) -> float | None:
        """Seconds of a round trip: the median of some; None if one was not answered."""
        times = []
        for _ in range(rounds):
            begin = time.monotonic()
            if not self.served():
                return None
            times.append(time.monotonic() - begin)
        return sorted(times)[rounds // 2]

    def half_close(self) -> None:
        """Send FIN and go on reading: shutdown(2) with SHUT_WR."""
        try:
            self._wire.shutdown(socket.SHUT_WR)
            self.tell("half-close")
        except OSError:  # ENOTCONN: it has been reset
            self._over("RST")

    def await_end(self) -> str:
        """How the subject's side ends: ``FIN``, ``RST``, or nothing if it does not; what comes before is in ``got``."""

        def over() -> bool:
            self.pull()
            return bool(self.ended)

        self._eventually(over)
        return self.ended

    def unacknowledged(self) -> int:
        """Bytes that we sent and the other kernel has not taken yet (SIOCOUTQ of tcp(7))."""
        return int(struct.unpack("i", fcntl.ioctl(self._wire, termios.TIOCOUTQ, bytes(4)))[0])

    def reset(self) -> None:
        """Close with RST: SO_LINGER with no time (socket(7), tcp(7))."""
        self._wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._wire.close()
        self.tell("reset")

    def close(self) -> None:
        """Close it; FIN is sent if everything that came was read, else RST (RFC 1122, 4.2.2.13)."""
        self.pull()
        self._wire.close()
        self.tell("close")
