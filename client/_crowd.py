"""Many clients of the service store at once, who know of each line whether it came back."""

import itertools
import socket
import threading
from collections.abc import Callable

from protocol import numbered

_AHEAD = 4
"""At most so many lines are sent before the first of them is awaited."""
_PAUSE = 0.02
"""Seconds between lines of who has had all of theirs and goes on only because somebody may yet be killed."""


class Crowd:
    """``clients`` who talk until they are told to end, and until ``lines`` have come back to each of them.

    Who is cut off connects anew, and goes on with new lines: what has become of those that did not come back, nobody
    can know. ``connect`` makes a connection.
    """

    def __init__(self, connect: Callable[[], socket.socket], clients: int, lines: int) -> None:
        self._connect, self._lines = connect, lines
        self._names = itertools.count(1)
        self._end = threading.Event()
        self._sent: dict[int, int] = {}
        self._back: dict[int, int] = {}
        self._broken = 0
        self._odd: list[str] = []
        self._threads = [threading.Thread(target=self._live, daemon=True) for _ in range(clients)]
        for thread in self._threads:
            thread.start()

    def state(self) -> dict[str, int]:
        """How many lines came back so far, and how many conversations were broken off."""
        return {"back": sum(list(self._back.values())), "broken": self._broken}

    def end(self) -> dict[str, object]:
        """Let all come to their end; of each connection how many lines were sent and how many came back.

        ``odd`` are answers that were no echo, or what else went wrong.
        """
        self._end.set()
        for thread in self._threads:
            thread.join()
        rows = [[name, self._sent[name], self._back[name]] for name in sorted(self._sent)]
        return {"connections": rows, "broken": self._broken, "odd": self._odd}

    def _live(self) -> None:
        mine = failures = 0
        while (mine < self._lines or not self._end.is_set()) and failures < 3:
            name = next(self._names)
            self._sent[name] = self._back[name] = 0
            try:
                with self._connect() as connection:
                    self._converse(connection, name, mine)
            except OSError as error:
                self._broken += 1
                failures = 0 if self._back[name] else failures + 1
                if failures == 3:
                    self._odd.append(f"three connections in a row were lost without an answer: {error}")
            mine += self._back[name]

    def _converse(self, connection: socket.socket, name: int, before: int) -> None:
        """Send lines, some at a time, and read them back.

        Raises:
            OSError: it was broken off.
        """
        with connection.makefile("rb") as heard:
            while before + self._back[name] < self._lines or not self._end.is_set():
                some = range(self._sent[name], self._sent[name] + 1 + self._sent[name] % _AHEAD)
                self._sent[name] = some.stop
                connection.sendall(b"".join(numbered.line(name, number) for number in some))
                for number in some:
                    wanted = numbered.line(name, number)
                    got = heard.readline()
                    if got != wanted:
                        if not wanted.startswith(got):
                            self._odd.append(got[:100].decode(errors="replace"))
                        raise ConnectionResetError("the server ended it")
                    self._back[name] += 1
                if before + self._back[name] >= self._lines:
                    self._end.wait(_PAUSE)
