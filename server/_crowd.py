"""The conversations that one process holds at once, for the event loops: who waits for what, and for how long."""

import time

from protocol import events
from server._conversation import Conversation, Handle
from server._listener import Listener
from server._log import log
from server._stop import Stop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

AT_ONCE = 64
"""Clients accepted in a row before those that are being served get their turn."""


class Crowd:
    """All conversations of an event loop, by descriptor.

    Args:
        listener: where they come from.
        handle: what is done with them.
        stop: when to end.
        highest: the highest descriptor that the loop can wait for; None for any.
    """

    def __init__(self, listener: Listener, handle: Handle, stop: Stop, highest: int | None = None) -> None:
        self._listener, self._handle, self._stop, self._highest = listener, handle, stop, highest
        self._pause = 0.0
        self._talks: dict[int, Conversation] = {}
        self._moved: dict[int, float] = {}  # when each last made a step; the longest idle one comes first

    def goes_on(self) -> bool:
        """Whether the loop has anything left to do. When time is up, all conversations are ended here."""
        if self._stop.now and self._talks:
            log(events.CUT, connections=len(self._talks))
            for fd in list(self._talks):
                self.end(fd, events.REASON_CUT)
        return bool(self._talks) or not self._stop.asked

    def has_room(self) -> bool:
        """Whether one more client is wanted now."""
        # ``patience`` counts on this look: a pause that runs out between two of them would never be noticed.
        self._pause = self._listener.pause_left()
        return not self._stop.asked and self._listener.has_room(len(self._talks))

    def patience(self) -> float | None:
        """Seconds the loop may sleep after ``has_room``, None for ever: until a pause or an idleness is over."""
        times = []
        if self._pause > 0:
            times.append(self._pause)
        if self._handle.idle and self._moved:
            longest_idle = next(iter(self._moved.values()))
            times.append(max(0.0, longest_idle + self._handle.idle - time.monotonic()))
        return min(times, default=None)

    def admit(self) -> "Iterator[Conversation]":
        """Accept who is waiting, and yield the conversations that have to wait for something."""
        for _ in range(AT_ONCE):
            accepted = self._listener.accept() if self.has_room() else None
            if accepted is None:
                return
            connection, peer = accepted
            fd = connection.fileno()
            if self._highest is not None and fd > self._highest:
                connection.close()
                log(events.REFUSED, peer=peer, fd=fd, highest=self._highest)
                continue
            log(events.CONNECTED, peer=peer, fd=fd)
            self._talks[fd] = talk = self._handle.begin(connection, peer)
            if self.step(fd):
                yield talk

    def waits(self, fd: int) -> int:
        """What the conversation on ``fd`` waits for."""
        return self._talks[fd].waits

    def step(self, fd: int) -> int:
        """Go on with the conversation on ``fd``; what it waits for then, 0 when it is over and ``fd`` closed.

        When time is up nobody goes on, though many be ready at once: ``goes_on`` ends them all.
        """
        if self._stop.now:
            return self.waits(fd)
        self._moved.pop(fd, None)
        waits = self._talks[fd].step()
        if waits:
            self._moved[fd] = time.monotonic()
        else:
            del self._talks[fd]
        return waits

    def end(self, fd: int, reason: str) -> None:
        """End the conversation on ``fd``."""
        self._moved.pop(fd, None)
        self._talks.pop(fd).end(reason)

    def idle(self) -> list[int]:
        """The descriptors of those that have neither sent nor taken anything for too long."""
        if not self._handle.idle:
            return []
        latest = time.monotonic() - self._handle.idle
        return [fd for fd, moved in self._moved.items() if moved <= latest]
