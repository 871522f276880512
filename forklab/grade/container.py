"""The one container of a submission: started, fed, read event by event, and gone afterwards, however that comes.

It has no network but its loopback, a read-only root, and bounds on all that can run out. Inside, the examiner is root
with the capabilities below, and the subject a user with none; of the host there is nothing but the tar that came on
standard input.
"""

import contextlib
import json
import re
import time
from collections import deque
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from docker import DockerClient
from docker.errors import NotFound
from docker.models.containers import Container
from docker.types import LogConfig, Ulimit

from forklab import engine, oneshot
from forklab.errors import LabError
from forklab.grade import catalogue
from forklab.printable import printable
from protocol import verdicts

IMAGE = "forklab-examiner"

CAPABILITIES = ["SETUID", "SETGID", "KILL", "SYS_PTRACE", "DAC_READ_SEARCH"]
"""Become a subject's user; signal it; read its /proc and trace it; list /proc/PID/fd (capabilities(7))."""

MARK = "forklab.class"
"""The label whose value is the class that a container is graded for."""

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
_SHARES = 512
"""Of the processor, where others want it, too: half of what a lab's container has."""
_SYSCTLS = {
    # Subjects get their ports below those that the kernel gives to clients.
    "net.ipv4.ip_local_port_range": "40000 65535",
    # System V objects outlive who made them, and would else be bounded by all memory only (sysvipc(7)).
    "kernel.shmall": "8192",
    "kernel.shm_rmid_forced": "1",
    "kernel.msgmni": "32",
    "kernel.sem": "250 8000 100 32",
}
_NO_MORE = {"cause": "", "mend": "", "seconds": 0.0}
"""Of a result that was not made."""
_LEFT_SECONDS = 900
"""After which a container that was made and never started is left of a grading that was killed in between."""


def examine(
    client: DockerClient,
    words: list[str],
    submission: bytes,
    *,
    lanes: int,
    mark: str = "",
    lender: Container | None = None,
) -> Iterator[dict[str, Any]]:
    """Start the examiner with ``words``, hand it the submission's tar, and yield its events; ``mark``: see ``MARK``.

    With a ``lender`` it shares that container's PID namespace, and reaches its files through its first process.

    When memory ends, and with it the examiner, or time does, the checks that it has not come to are inconclusive.

    Raises:
        LabError: the container does not start, the examiner says what none says, hangs, or ends before it is done.
    """
    last: deque[str] = deque(maxlen=_LAST_LINES)
    deadline = time.monotonic() + _MOST_SECONDS
    event: dict[str, Any] = {"event": ""}
    missing: list[str] = []
    ended = ""
    done = {"event": "done", "model": "unknown", "command": ""}
    with engine.trouble("the container of the examiner failed"):
        _sweep(client)
        container = _create(client, words, lanes, mark, lender)
        try:
            feed = b"%d\n" % len(submission) + submission
            for line in oneshot.lines(client, container, last, silence=_SILENCE, hangs=_HANGS, feed=feed):
                event = _event(line)
                yield event
                if event["event"] == "done":
                    return
                missing = event["checks"] if event["event"] == "begin" else missing
                missing = [check for check in missing if check != event.get("id")]
                done["model"] = event.get("model", done["model"])
                if time.monotonic() > deadline:
                    ended = f"time ended: all checks together may take {_MOST_SECONDS:.0f} s; grade fewer: --core"
                    break
        finally:
            oneshot.remove(container)
        if missing and not ended and not last and _out_of_memory(client, str(container.id)):
            ended = f"memory ended, and with it the examiner: the submission took all that it may have ({_MEMORY})"
        if ended:
            yield from (_inconclusive(check, ended) for check in catalogue.known() if check.id in missing)
            yield done
            return
    said = "\n  ".join([event.get("words", ""), *last] if event["event"] == "broken" else last) or "(nothing)"
    raise LabError(f"the examiner broke; its last words:\n  {said}")


def remove_marked(client: DockerClient, mark: str) -> None:
    """Remove the containers of a class that is given up.

    Raises:
        LabError: the engine refuses.
    """
    with engine.trouble("the containers of the class cannot be removed"):
        for found in client.containers.list(all=True, filters={"label": f"{MARK}={mark}"}, ignore_removed=True):
            oneshot.remove(found)


def _out_of_memory(client: DockerClient, container_id: str) -> bool:
    """Whether the engine has seen memory end in a container, which may have gone meanwhile."""
    now = int(_now(client))
    filters = {"container": container_id, "event": "oom"}
    return bool(list(client.api.events(since=now - int(_MOST_SECONDS), until=now + 1, filters=filters, decode=True)))


def _inconclusive(check: catalogue.Check, actual: str) -> dict[str, Any]:
    said = {"requirement": check.requirement, "expected": check.expected, "actual": actual, "evidence": []}
    return {"event": "result", "id": check.id, "verdict": verdicts.INCONCLUSIVE, **said, **_NO_MORE}


def _event(line: str) -> dict[str, Any]:
    try:
        event = json.loads(line)
        return {**printable(event), "event": str(event["event"])}
    except (ValueError, KeyError, TypeError):
        raise LabError(f"the examiner says what none says: {line[:200]}") from None


def _sweep(client: DockerClient) -> None:
    """Remove what killed gradings have left: auto_remove takes only what was started."""
    filters = {"label": "forklab=container", "status": "created"}
    for row in client.api.containers(all=True, filters=filters):
        of_a_lab = "com.docker.compose.project" in row["Labels"]
        if not of_a_lab and _now(client) - row["Created"] > _LEFT_SECONDS:
            with contextlib.suppress(NotFound):  # another grading sweeps, too
                oneshot.remove(client.containers.get(row["Id"]))


def _now(client: DockerClient) -> float:
    """The time of the engine's own clock, in seconds since 1970."""
    text = re.sub(r"\.\d+", "", client.info()["SystemTime"])
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S%z").timestamp()


def _create(client: DockerClient, words: list[str], lanes: int, mark: str, lender: Container | None) -> Container:
    return client.containers.create(
        IMAGE,
        words,
        labels={"forklab": "container", MARK: mark},
        network_mode="none",
        cap_drop=["ALL"],
        cap_add=[*CAPABILITIES, "SYS_CHROOT"] if lender else CAPABILITIES,
        pid_mode=f"container:{lender.id}" if lender else None,
        security_opt=["no-new-privileges:true"],
        read_only=True,
        # Where subjects run, where every program may write, and where only the examiner can. All of it is memory.
        tmpfs={
            "/run/subject": "size=256m,nr_inodes=32k,mode=755,exec,nosuid,nodev",
            "/tmp": "size=64m,nr_inodes=8k,mode=1777,nosuid,nodev",
            "/dev/shm": "size=32m,nr_inodes=8k,mode=1777,nosuid,nodev,noexec",
            "/run/examiner": "size=64m,nr_inodes=8k,mode=700,nosuid,nodev,noexec",
        },
        environment={"TMPDIR": "/run/examiner"},
        ipc_mode="none",  # private, and without a /dev/shm of the engine's
        log_config=LogConfig(type=LogConfig.types.NONE),  # what it says is read here, and need not fill the host's disk
        init=not lender,  # the lender's first process takes care of orphans
        stdin_open=True,
        auto_remove=True,
        mem_limit=_MEMORY,
        memswap_limit=_MEMORY,
        pids_limit=_PROCESSES,
        nano_cpus=lanes * _SCHEDULE,
        cpu_shares=_SHARES,
        ulimits=[Ulimit(name="nofile", soft=_DESCRIPTORS, hard=_DESCRIPTORS), Ulimit(name="core", soft=0, hard=0)],
        sysctls=_SYSCTLS,
    )
