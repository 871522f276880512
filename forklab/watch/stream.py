"""The probe's snapshots as they come, read by a thread, for neither pipes nor Windows can be asked to wait for both."""

import queue
import subprocess
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import IO

GRACE_SECONDS = 3.0


class Stream:
    """The lines of a program that ends when its standard input does; in a ``with``, at whose end it has ended.

    Args:
        process: the program, with pipes for all three streams.
        alive: asked when it has been silent for ``silence`` seconds: an engine may never say that a container, which
            was killed, has taken the program with it (seen with 20.10).
        silence: longer than it ever is silent while it lives.
    """

    def __init__(self, process: "subprocess.Popen[bytes]", alive: Callable[[], bool], silence: float) -> None:
        self._process = process
        self._alive, self._silence = alive, silence
        self._heard = time.monotonic()
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._words = ""
        self.ended = False
        """It has ended by itself, and all of its lines are taken."""
        threading.Thread(target=self._read, args=(process.stdout, process.stderr), daemon=True).start()

    def __enter__(self) -> "Stream":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.stdin:
            try:
                self._process.stdin.close()
            except OSError:  # it ended before
                pass
        try:
            self._process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def lines(self) -> list[str]:
        """What has come since the last time."""
        found = []
        while not self.ended:
            try:
                line = self._lines.get_nowait()
            except queue.Empty:
                self._doubt()
                break
            self._heard = time.monotonic()
            if line is None:
                self.ended = True
            else:
                found.append(line)
        return found

    def _doubt(self) -> None:
        """Ask, once it has been silent for too long; if it lives, wait as long again."""
        if time.monotonic() - self._heard > self._silence:
            self.ended = not self._alive()
            self._heard = time.monotonic()

    def why(self) -> str:
        """The last words of a program that has ended."""
        return (self._words.strip().splitlines() or ["it said nothing"])[-1]

    def _read(self, out: IO[bytes], err: IO[bytes]) -> None:
        for line in out:
            self._lines.put(line.decode(errors="replace"))
        self._words = err.read().decode(errors="replace")
        self._lines.put(None)
