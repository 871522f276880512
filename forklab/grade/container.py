"""The one container of a submission: started, fed, read event by event, and gone afterwards, however that comes.

It has no network but its loopback, a read-only root, and bounds on all that can run out. Inside, the examiner is root
with the capabilities below, and the subject a user with none; of the host there is nothing but the tar that came on
standard input.
"""

import json
import time
from collections import deque
from collections.abc import Iterator
from typing import Any

from docker import DockerClient
from docker.models.containers import Container
from docker.types import Ulimit

from forklab import engine, oneshot
from forklab.errors import LabError

IMAGE = "forklab-examiner"

CAPABILITIES = ["SETUID", "SETGID", "KILL", "SYS_PTRACE", "DAC_READ_SEARCH"]
"""Become a subject's user; signal it; read its /proc and trace it; list /proc/PID/fd (capabilities(7))."""

_SILENCE = 180.0
"""Seconds without a word after which the examiner hangs: more than its longest job may take."""
_HANGS = f"the examiner hangs: not a word for {_SILENCE:.0f} s; try again"
_MOST_SECONDS = 900.0
_LAST_LINES = 5
_MEMORY = "1g"
_PROCESSES = 3000
_DESCRIPTORS = 16_384
_SCHEDULE = 1_000_000_000
"""One processor, in the billionths that the engine counts in."""


def examine(client: DockerClient, words: list[str], submission: bytes, *, lanes: int) -> Iterator[dict[str, Any]]:
    """Start the examiner with ``words``, hand it the submission's tar, and yield its events.

    Raises:
        LabError: the container does not start, the examiner says what none says, hangs, or ends before it is done.
    """
    last: deque[str] = deque(maxlen=_LAST_LINES)
    deadline = time.monotonic() + _MOST_SECONDS
    event: dict[str, Any] = {"event": ""}
    with engine.trouble("the container of the examiner failed"):
        container = _create(client, words, lanes)
        try:
            feed = b"%d\n" % len(submission) + submission
            for line in oneshot.lines(client, container, last, silence=_SILENCE, hangs=_HANGS, feed=feed):
                event = _event(line)
                yield event
                if event["event"] == "done":
                    return
                if time.monotonic() > deadline:
                    raise LabError(f"the examiner did not end within {_MOST_SECONDS:.0f} s; grade fewer checks: --core")
        finally:
            oneshot.remove(container)
    said = "\n  ".join([event.get("words", ""), *last] if event["event"] == "broken" else last) or "(nothing)"
    raise LabError(f"the examiner broke; its last words:\n  {said}")


def _event(line: str) -> dict[str, Any]:
    try:
        event = json.loads(line)
        return {**event, "event": str(event["event"])}
    except (ValueError, KeyError, TypeError):
        raise LabError(f"the examiner says what none says: {line[:200]}") from None


def _create(client: DockerClient, words: list[str], lanes: int) -> Container:
    return client.containers.create(
        IMAGE,
        words,
        labels={"forklab": "container"},
        network_mode="none",
        cap_drop=["ALL"],
        cap_add=CAPABILITIES,
        security_opt=["no-new-privileges:true"],
        read_only=True,
        # Where subjects run, where every program may write, and where only the examiner can. All of it is memory.
        tmpfs={
            "/run/subject": "size=256m,mode=755,exec,nosuid,nodev",
            "/tmp": "size=64m,mode=1777,nosuid,nodev",
            "/run/examiner": "size=64m,mode=700,nosuid,nodev,noexec",
        },
        environment={"TMPDIR": "/run/examiner"},
        shm_size="32m",
        init=True,
        stdin_open=True,
        auto_remove=True,
        mem_limit=_MEMORY,
        memswap_limit=_MEMORY,
        pids_limit=_PROCESSES,
        nano_cpus=lanes * _SCHEDULE,
        ulimits=[Ulimit(name="nofile", soft=_DESCRIPTORS, hard=_DESCRIPTORS), Ulimit(name="core", soft=0, hard=0)],
        # Subjects get their ports below those that the kernel gives to clients.
        sysctls={"net.ipv4.ip_local_port_range": "40000 65535"},
    )
