"""The one container of the bench: started, read line by line, and gone afterwards, however that comes.

It has no network but its own loopback, so servers, peers and load share one path and nothing else is on it. When this
process is killed, the engine closes the container's standard input (StdinOnce), the bench ends itself on that, and the
engine removes it (auto_remove).
"""

from collections import deque
from collections.abc import Iterator

from docker import DockerClient
from docker.models.containers import Container
from docker.types import Mount

from forklab import engine, oneshot
from forklab.bench.run import Run, Sample
from forklab.errors import LabError

IMAGE = "forklab-bench"

_SILENCE = 180.0
"""Seconds without a word after which the bench hangs: many times what its longest sample takes."""
_HANGS = f"the bench hangs: not a word for {_SILENCE:.0f} s; try again, or a part of it: --only"
_LAST_LINES = 5
_PROCESSES = 20_000


def measure(client: DockerClient, words: list[str], run: Run) -> Iterator[Sample | None]:
    """Start the bench with ``words`` and take what it says into ``run``; yields after each line, a sample if it is one.

    Raises:
        LabError: the container does not start, says what no bench says, hangs, or ends before it is done.
    """
    last: deque[str] = deque(maxlen=_LAST_LINES)
    with engine.trouble("the container of the bench failed"):
        container = _create(client, words)
        try:
            for line in oneshot.lines(client, container, last, silence=_SILENCE, hangs=_HANGS):
                yield run.take(line)
        finally:
            oneshot.remove(container)
    if not run.done:
        said = "\n  ".join(last or ["(nothing)"])
        raise LabError(f"the bench broke after {len(run.samples)} samples; its last words:\n  {said}")


def _create(client: DockerClient, words: list[str]) -> Container:
    return client.containers.create(
        IMAGE,
        words,
        labels={"forklab": "container"},
        network_mode="none",
        cap_drop=["ALL"],
        security_opt=["no-new-privileges:true"],
        read_only=True,
        tmpfs={"/tmp": ""},
        # Not tmpfs: fsync(2) costs nothing there. An anonymous volume goes with its container.
        mounts=[Mount("/data", None, type="volume", labels={"forklab": "volume"})],
        init=True,
        stdin_open=True,
        auto_remove=True,
        pids_limit=_PROCESSES,
        # Both belong to the container's own network namespace. Clients get their ports above those of the servers, and
        # each client that closes first leaves its port in TIME_WAIT for a minute.
        sysctls={"net.core.somaxconn": "4096", "net.ipv4.ip_local_port_range": "30000 65535"},
    )
