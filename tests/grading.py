"""Gradings inside this process: so that more than a command's words can be looked at, and which container it was."""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import docker
from docker.errors import NotFound

from forklab import engine
from forklab.grade.conduct import grade
from forklab.grade.outcome import Outcome
from forklab.grade.terminal import report
from forklab.grade.wish import Wish
from forklab.lab import Lab
from forklab.show import console
from tests.deadline import until


class Graded(NamedTuple):
    """What came of a submission, and the id of the container in which it was."""

    outcome: Outcome
    container: str


def lab() -> Lab:
    """The lab of this checkout, over a connection of its own."""
    return Lab.here(engine.connect(print), print)


def examine(
    lab: Lab,
    path: Path,
    *,
    run: str = "",
    check: str = "",
    model: str = "any",
    tell: Callable[[str], None] = lambda container: None,
) -> Graded:
    """Grade a server that should echo; ``tell`` gets the container's id at each event."""
    wish = Wish.of(run=run, service="echo", model=model, check=check, core=False)
    made: list[str] = []
    create = lab.client.api.create_container_from_config

    def note(*words: Any, **named: Any) -> Any:
        found = create(*words, **named)
        made.append(found["Id"])
        return found

    with mock.patch.object(lab.client.api, "create_container_from_config", note):
        outcome = grade(lab, path, wish, lambda event: tell(made[-1]))
    return Graded(outcome, made[-1])


def verdicts(outcome: Outcome) -> dict[str, str]:
    """By check."""
    return {each["id"]: each["verdict"] for each in outcome.results}


def printed(outcome: Outcome) -> str:
    """The report as a terminal gets it."""
    screen = console()
    with screen.capture() as said:
        screen.print(report(outcome))
    return said.get()


def processes(container_id: str) -> list[int]:
    """Of a container, in the process list of this computer; none where the engine runs on another one."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if container_id in (entry / "cgroup").read_text():
                found.append(int(entry.name))
    return found


def groups(container_id: str) -> list[str]:
    """The control groups of a container that are left on this computer."""
    return [folder for folder, _, _ in os.walk("/sys/fs/cgroup") if container_id in folder]


def things(client: docker.DockerClient) -> set[tuple[str, str]]:
    """The networks, volumes and images of the engine that are not of labs, which come and go beside us."""
    api = client.api
    named = {
        "network": [(row["Id"], row["Labels"]) for row in api.networks()],
        "volume": [(row["Name"], row["Labels"]) for row in api.volumes()["Volumes"] or []],
        "image": [(row["Id"], row["Labels"]) for row in api.images()],
    }
    return {(kind, name) for kind, rows in named.items() for name, labels in rows if "forklab" not in (labels or {})}


def gone(client: docker.DockerClient, container_id: str) -> None:
    """Expect that nothing of a container is left: not itself, no process, no control group."""

    def removed() -> bool:
        with contextlib.suppress(NotFound):
            client.api.inspect_container(container_id)
            return False
        return True

    until(removed, "the container is gone")
    until(lambda: not processes(container_id), "its processes are gone")
    until(lambda: not groups(container_id), "its control groups are gone")
