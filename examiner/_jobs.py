"""Runs each job of the examiner in a process of its own, some at once, and lives on whatever becomes of one.

The process of a job is the subject's parent and its subreaper, so nothing of a subject is ever another one's.
"""

import json
import os
import select
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from examiner import _jail
from examiner._canaries import Canaries
from examiner._exam import Lane

SECONDS = 90.0
"""What a job may take."""

PORTS = 20
"""A job may use so many. None is used twice: what is left of a connection would be in the way of the next subject."""

Work = Callable[[Lane], dict[str, Any]]


class Interrupted(Exception):
    """Whoever started the examiner has gone."""


@dataclass
class Running:
    """A job under way."""

    name: str
    pid: int
    pipe: int
    lane: Lane
    deadline: float
    said: bytes = b""


def run(
    jobs: list[tuple[str, Work]], lanes: list[Lane], canaries: Canaries, *, watch: int = -1
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Run the jobs, one in each lane at a time; yields name and answer of each as it ends.

    The answer is what the work returned; ``{"trouble": words}`` when we failed at it; ``{"lost": words}`` when it was
    too late, or the kernel ended it.

    Args:
        jobs: names and work, in the order in which they begin.
        lanes: where.
        canaries: tell of the end of memory.
        watch: a descriptor whose end means that nobody waits for the answers any more.

    Raises:
        Interrupted: ``watch`` ended.
    """
    waiting, free = list(jobs), list(lanes)
    running: list[Running] = []
    try:
        while waiting or running:
            while waiting and free:
                name, work = waiting.pop(0)
                running.append(_begin(name, work, free.pop(0), [each.pipe for each in running]))
            if _listen(running, watch, canaries.pipe):
                for lane in lanes:
                    lane.user.sweep()
                canaries.renew()
            for job in [each for each in running if each.pipe < 0]:
                running.remove(job)
                free.append(job.lane)
                yield job.name, _end(job, {*canaries.pids, *(other.pid for other in running)})
    finally:
        while running:
            _end(running.pop(), {*canaries.pids, *(other.pid for other in running)})


def _begin(name: str, work: Work, lane: Lane, pipes: list[int]) -> Running:
    mine, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        for each in (mine, *pipes):
            os.close(each)
        _perform(work, lane, theirs)
    os.close(theirs)
    lane.port += PORTS  # those that the job uses are counted in its own process
    return Running(name, pid, mine, lane, time.monotonic() + SECONDS)


def _perform(work: Work, lane: Lane, pipe: int) -> None:
    """The whole life of a job's process."""
    try:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        _jail.become_reaper()
        try:
            answer = work(lane)
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            answer = {"trouble": f"{type(error).__name__}: {error} ({os.path.basename(place.filename)}:{place.lineno})"}
        said = json.dumps(answer).encode()
        while said:
            said = said[os.write(pipe, said) :]
    finally:
        os._exit(0)


def _listen(running: list[Running], watch: int, canary: int) -> bool:
    """Sleep until a job says something, ends, or its time is up, or memory ends; a job that is over has pipe -1.

    Returns:
        Whether memory has ended.

    Raises:
        Interrupted: ``watch`` ended.
    """
    poll = select.poll()
    for job in running:
        poll.register(job.pipe, select.POLLIN)
    poll.register(canary, select.POLLIN)
    if watch >= 0:
        poll.register(watch, select.POLLIN)
    left = min(job.deadline for job in running) - time.monotonic()
    ready = {fd for fd, _ in poll.poll(max(0.0, left) * 1000)}
    if watch in ready and not os.read(watch, 1 << 12):
        raise Interrupted
    for job in running:
        data = os.read(job.pipe, 1 << 16) if job.pipe in ready else b""
        job.said += data
        if time.monotonic() > job.deadline:
            job.said, data = b"", b""
            ready.add(job.pipe)
        if job.pipe in ready and not data:
            os.close(job.pipe)
            job.pipe = -1
    return canary in ready


def _end(job: Running, others: set[int]) -> dict[str, Any]:
    """Make sure that nothing of a job is left but these other processes of ours; its answer."""
    late = time.monotonic() > job.deadline
    if job.pipe >= 0:
        os.close(job.pipe)
    os.kill(job.pid, signal.SIGKILL)  # its number is its own until it was waited for
    os.waitpid(job.pid, 0)
    job.lane.user.sweep()
    for place in job.lane.folder.parent.glob("lane*"):
        job.lane.user.clear(place)
    _jail.kill_orphans(frozenset(others))
    try:
        answer: dict[str, Any] = json.loads(job.said)
    except ValueError:
        # Nobody of the subject may signal it: it was memory that ended.
        return {"lost": f"it did not end within {SECONDS:.0f} seconds" if late else "memory ended, and its process was"}
    return answer
