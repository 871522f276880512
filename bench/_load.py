"""Runs the load generator and the relay, which are programs in C (``load.c``, ``relay.c``)."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench._processes import Failed

LATE = 60.0
"""Seconds after the time that was asked for, until the load generator itself is taken to hang. Its own deadline for
each connection is 10 s."""


@dataclass(frozen=True)
class Loaded:
    """What the load generator said: the keys of its JSON line."""

    facts: dict[str, Any]

    @property
    def done(self) -> int:
        """Conversations (lines, in the mode lines) that were answered completely."""
        return int(self.facts["done"])

    @property
    def seconds(self) -> float:
        """How long it measured."""
        return float(self.facts["seconds"])

    @property
    def rate(self) -> float:
        """Conversations, or lines, a second."""
        return self.done / self.seconds if self.seconds else 0.0

    @property
    def cpu(self) -> float:
        """The share of one processor that the load generator itself took."""
        return float(self.facts["cpu_seconds"]) / self.seconds if self.seconds else 0.0

    @property
    def errors(self) -> dict[str, int]:
        """Connections that failed, by kind."""
        return dict(self.facts["errors"])

    @property
    def latencies(self) -> dict[str, float]:
        """p50_us, p90_us, p99_us and max_us."""
        return {key: value for key, value in self.facts.items() if key.endswith("_us")}


class Programs:
    """The folder of what ``bench/compile`` made."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def load(self, mode: str, port: int, seconds: float = 0.0, **options: float) -> Loaded:
        """Run the load generator to its end; ``options`` are those of load.c, as its words.

        Raises:
            Failed: it says nothing, or hangs.
        """
        words = self._words(mode, port, {"seconds": seconds, **options} if seconds else options)
        with _process(words) as process:
            try:
                said, trouble = process.communicate(timeout=seconds + LATE)
            except subprocess.TimeoutExpired:
                raise Failed(f"the load generator has not ended {LATE:g} s after its time") from None
        return _read(said, trouble)

    @contextmanager
    def holding(self, port: int, count: int, seconds: float) -> Iterator["Holding"]:
        """Hold ``count`` connections while the block runs, or as many as could be opened within so many seconds."""
        with _process(self._words("hold", port, {"count": count, "seconds": seconds})) as process:
            yield Holding(process)

    @contextmanager
    def relay(self, front: int, back: int, microseconds: int) -> Iterator["subprocess.Popen[str]"]:
        """Run the relay while the block runs; its JSON line is on its standard output."""
        with _process([str(self.folder / "relay"), str(front), str(back), str(microseconds)]) as process:
            yield process

    def _words(self, mode: str, port: int, options: dict[str, float]) -> list[str]:
        words = [f"--{name}={value:g}" if isinstance(value, float) else f"--{name}={value}"
                 for name, value in options.items()]  # fmt: skip
        return [str(self.folder / "load"), mode, f"--port={port}", *words]


class Holding:
    """A load generator that holds connections."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        assert process.stdout is not None
        self.opened = _read(process.stdout.readline(), "")

    def release(self) -> Loaded:
        """Ask for one more echo on each connection, then close them all; what came back."""
        said, trouble = self._process.communicate("\n", timeout=LATE)
        return _read(said, trouble)


@contextmanager
def _process(words: list[str]) -> Iterator["subprocess.Popen[str]"]:
    """A program with pipes, killed at the end of the block if it still runs."""
    pipe = subprocess.PIPE
    process = subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _read(said: str, trouble: str) -> Loaded:
    if not said:
        raise Failed(trouble.strip() or "the load generator was killed")
    return Loaded(json.loads(said))
