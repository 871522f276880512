"""Grades several submissions at once, each in a container of its own, whatever becomes of the others."""

import queue
import secrets
import threading
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass

from docker import DockerClient

from forklab import engine
from forklab.errors import LabError, UsageError
from forklab.grade import conduct, container
from forklab.grade.outcome import Outcome
from forklab.grade.rubric import Rubric
from forklab.grade.submission import Submission
from forklab.grade.wish import Wish
from forklab.lab import Lab
from forklab.lock import Say

MOST_AT_ONCE = 64
_MEMORY = 3 << 29
"""Bytes that one grading may need: those of its container, and some for the engine."""
_FOR_EACH_PROCESSOR = 2
"""Gradings that run at once: most of the time each waits for what must happen, or must not."""
_TICK_SECONDS = 0.5


@dataclass(eq=False)
class Job:
    """A submission to grade, and what came of it.

    Attributes:
        submission: what.
        packed: the tar of it.
        wish: how.
        rubric: what each check is worth.
        outcome: None when it could not be graded.
        trouble: why not.
        seconds: that it took.
    """

    submission: Submission
    packed: bytes
    wish: Wish
    rubric: Rubric
    outcome: Outcome | None = None
    trouble: str = ""
    seconds: float = 0.0


def check(at_once: int) -> int:
    """How many at once, as a user said it; 0: as processors and memory allow.

    Raises:
        UsageError: it is no such number.
    """
    if not 0 <= at_once <= MOST_AT_ONCE:
        raise UsageError(f"jobs {at_once} is not a number from 1 to {MOST_AT_ONCE}")
    return at_once


def run(lab: Lab, jobs: Sequence[Job], at_once: int) -> Generator[Job, None, None]:
    """Yield each job when it is done; the image is there. When the iterator is closed, nothing runs on.

    Args:
        lab: whose engine.
        jobs: all of them.
        at_once: how many; 0: as processors and memory allow.
    """
    if not jobs:
        return
    at_once = min(at_once or _fit(lab.client), len(jobs))
    work = _Work(jobs, max(1, conduct.processors(lab.client) // at_once), lab.say)
    workers = [threading.Thread(target=work.run, daemon=True) for _ in range(at_once)]
    try:
        for worker in workers:
            worker.start()
        for _ in jobs:
            yield work.next()
    finally:
        work.waiting.clear()
        while any(worker.is_alive() for worker in workers):
            container.remove_marked(lab.client, work.mark)
            workers[0].join(_TICK_SECONDS)


def _fit(client: DockerClient) -> int:
    with engine.trouble("the engine does not tell of its memory"):
        memory = int(client.info()["MemTotal"])
    return max(1, min(_FOR_EACH_PROCESSOR * conduct.processors(client), memory // _MEMORY))


class _Work:
    """What the workers share: the jobs that wait, and those that are done."""

    def __init__(self, jobs: Sequence[Job], lanes: int, say: Say) -> None:
        self.waiting = list(jobs)
        self.mark = secrets.token_hex(8)
        self._done: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self._lanes, self._say = lanes, say

    def next(self) -> Job:
        """The next that is done. In short waits: on Windows Ctrl-C does not end a long one."""
        while True:
            try:
                return self._done.get(timeout=_TICK_SECONDS)
            except queue.Empty:
                continue

    def run(self) -> None:
        """The life of a worker."""
        while True:
            try:
                job = self.waiting.pop(0)  # one step for all threads
            except IndexError:
                return
            began = time.monotonic()
            try:
                job.outcome = self._grade(job)
            except LabError as error:
                job.trouble = str(error)
            except Exception as error:  # whatever one submission brings about, the others are graded
                job.trouble = f"unexpected {type(error).__name__}: {error}"
            job.seconds = time.monotonic() - began
            self._done.put(job)

    def _grade(self, job: Job) -> Outcome:
        """With a connection to the engine of its own."""
        client = engine.connect(self._say, provide=False)
        try:
            return conduct.examine(
                Lab.here(client, self._say),
                job.submission,
                job.packed,
                job.wish,
                lambda event: None,
                lanes=self._lanes,
                rubric=job.rubric,
                mark=self.mark,
            )
        finally:
            client.close()
