"""The last minutes as the view saw them: to step back through, and to save."""

import itertools
import json
import zlib
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from forklab.observe import Snapshot
from forklab.watch.changes import Change, changes

MINUTES = 10
MOST_BYTES = 64 << 20
"""Of what is kept; a snapshot of a thousand connections is some 40 KiB when it is packed."""


@dataclass(frozen=True)
class Moment:
    """One look: when the kernel was read (seconds of its CLOCK_MONOTONIC), the packed line, what had changed."""

    time: float
    packed: bytes
    happened: tuple[Change, ...]

    def snapshot(self) -> Snapshot:
        """The look itself."""
        return Snapshot.parse(zlib.decompress(self.packed).decode())


class History:
    """Looks in order of time, the oldest forgotten after some minutes or when they take too much memory."""

    def __init__(self) -> None:
        self._moments: deque[Moment] = deque()
        self._last: Snapshot | None = None
        self._bytes = 0
        self._began = 0

    def __len__(self) -> int:
        return len(self._moments)

    @property
    def first(self) -> int:
        """The number of the oldest moment that is left; the very first of all had number 0."""
        return self._began

    @property
    def last(self) -> int:
        """The number of the newest moment; -1 before there is one."""
        return self._began + len(self._moments) - 1

    def add(self, line: str) -> None:
        """Keep one line of the probe.

        Raises:
            LabError: it is no snapshot.
        """
        seen = Snapshot.parse(line)
        happened = tuple(changes(self._last, seen)) if self._last else ()
        self._last = seen
        moment = Moment(seen.time, zlib.compress(line.encode(), 1), happened)
        self._moments.append(moment)
        self._bytes += len(moment.packed)
        while len(self._moments) > 1 and (self._bytes > MOST_BYTES or seen.time - self._moments[0].time > MINUTES * 60):
            self._bytes -= len(self._moments.popleft().packed)
            self._began += 1

    def moment(self, number: int) -> Moment:
        """The look of that number, which is not before ``first`` nor after ``last``."""
        return self._moments[number - self._began]

    def happened(self, until: int, most: int) -> list[tuple[float, Change]]:
        """At most so many of the latest changes up to a look, with their times, in order of time."""
        found: deque[tuple[float, Change]] = deque()
        for number in range(until, self._began - 1, -1):
            moment = self.moment(number)
            found.extendleft((moment.time, change) for change in reversed(moment.happened))
            if len(found) >= most:
                break
        return list(itertools.islice(found, max(0, len(found) - most), None))

    def save(self, file: Path) -> int:
        """Write all looks, oldest first, as JSON lines: what the probe said, and ``changes``; how many there were.

        Raises:
            OSError: the file cannot be written.
        """
        with file.open("x", encoding="utf-8", newline="\n") as out:
            for moment in self._moments:
                said = json.loads(zlib.decompress(moment.packed))
                said["changes"] = [{"kind": change.kind, "words": change.words} for change in moment.happened]
                out.write(json.dumps(said) + "\n")
        return len(self._moments)
