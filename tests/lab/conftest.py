"""A lab of its own for each test run, asserted from outside, and gone afterwards whatever happened."""

import json
import os
import shlex
import subprocess
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.models.containers import Container
from pytest_docker.plugin import Services, get_docker_services

from forklab import base, compose, engine, images
from forklab.observe import Snapshot, snapshot
from forklab.settings import Settings
from tests.deadline import until

ROOT = Path(__file__).parents[2]


def new_project() -> str:
    """A name for a lab of the tests; ``./lab test`` removes at its end what begins with the name that it gave."""
    return f"{os.environ.get('FORKLAB_TEST_RUN', 'forklab-test')}-{uuid.uuid4().hex[:8]}"


def holders(look: Callable[[], Snapshot], peers: list[str]) -> list[tuple[int, ...]]:
    """Which processes hold the connection of each peer, once each has exactly one holder.

    A child may answer its client before the parent has closed its copy, so one look is not enough.
    """

    def one_each() -> list[tuple[int, ...]]:
        held = {socket.remote: socket.holders for socket in look().established()}
        found = [held.get(peer, ()) for peer in peers]
        return found if all(len(pids) == 1 for pids in found) else []

    return list(until(one_each, "each connection has one holder"))


class Hand:
    """A client container that opens and closes connections as told; see hand.py."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def __getattr__(self, deed: str) -> Callable[..., Any]:
        def do(*words: Any) -> Any:
            assert self._process.stdin
            assert self._process.stdout
            self._process.stdin.write(json.dumps([deed, words]) + "\n")
            self._process.stdin.flush()
            answer = json.loads(self._process.stdout.readline())
            assert "ok" in answer, answer
            return answer["ok"]

        return do


class Rig:
    """The lab under test, seen from the host."""

    def __init__(self, client: docker.DockerClient, project: str, command: list[str]) -> None:
        self.client, self.project = client, project
        self.compose = [*command, "--project-name", project, "--project-directory", str(ROOT)]

    def container(self, service: str) -> Container:
        """The container of a service."""
        labels = [f"com.docker.compose.project={self.project}", f"com.docker.compose.service={service}"]
        (found,) = self.client.containers.list(filters={"label": labels})
        return found

    def snapshot(self) -> Snapshot:
        """What the kernel says of the server now."""
        return snapshot(self.container("probe"))

    def kill(self, pid: int, number: int) -> None:
        """Send a signal to a process of the server."""
        code, said = self.container("probe").exec_run(["sh", "-c", f"kill -{number} {pid}"])
        assert code == 0, said

    def end_children(self) -> None:
        """End what a test that failed has left, and most of all what it has stopped: no later test would find quiet."""
        seen = self.snapshot()
        for process in seen.processes:
            if process.pid != seen.server:
                self.container("probe").exec_run(["sh", "-c", f"kill -9 {process.pid}"])

    def network(self) -> str:
        """The name of the lab's network."""
        return f"{self.project}_default"

    @contextmanager
    def hand(self, server: str = "server") -> Iterator[Hand]:
        """A client container that does as it is told."""
        source = (Path(__file__).parent / "hand.py").read_text()
        words = ["run", "--rm", "-T", "--no-deps", "--quiet-build", "--entrypoint", "python3", "client", "-c", source]
        with subprocess.Popen(
            [*self.compose, *words, server], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            yield Hand(process)
            assert process.stdin
            process.stdin.close()

    @contextmanager
    def server(self, *words: str, **limits: Any) -> Iterator["Lone"]:
        """One more server on the lab's network, with a probe, started by itself: for limits, or as PID 1."""
        options: dict[str, Any] = {
            "network": self.network(),
            "labels": {"forklab": "container", "com.docker.compose.project": self.project},
            "cap_drop": ["ALL"],
            "read_only": True,
            "init": True,
            "detach": True,
        }
        server = self.client.containers.run("forklab-server", list(words), **(options | limits))
        probe = None
        try:
            namespaces = {"network_mode": f"container:{server.id}", "pid_mode": f"container:{server.id}"}
            options |= {"cap_add": ["SYS_PTRACE", "NET_RAW", "DAC_READ_SEARCH", "KILL"], "init": False} | namespaces
            del options["network"]
            probe = self.client.containers.run("forklab-probe", ["stay"], **options)
            lone = Lone(server, probe)
            until(lone.listening, "the server listens")
            yield lone
        finally:
            for one in filter(None, (probe, server)):
                one.remove(force=True)


class Lone:
    """A server beside the lab's own."""

    def __init__(self, container: Container, probe: Container) -> None:
        self.container, self.probe = container, probe
        container.reload()
        (network,) = container.attrs["NetworkSettings"]["Networks"].values()
        self.address: str = network["IPAddress"]

    def snapshot(self) -> Snapshot:
        """What the kernel says of it now."""
        return snapshot(self.probe)

    def listening(self) -> bool:
        """Whether the LISTEN row is there."""
        return any(socket.state == "LISTEN" for socket in self.snapshot().sockets)

    def log(self) -> str:
        """What it has logged."""
        return str(self.container.logs().decode())


@pytest.fixture(scope="session")
def engine_client() -> docker.DockerClient:
    """The engine, started if need be."""
    return engine.connect(print)


@pytest.fixture(scope="session")
def docker_compose_command() -> str:
    """The compose that the lab uses."""
    return shlex.join(compose.find().command)


@pytest.fixture(scope="session")
def docker_compose_file() -> str:
    """The lab itself, nothing made for tests."""
    return str(ROOT / "docker-compose.yml")


@pytest.fixture(scope="session")
def docker_compose_project_name() -> str:
    """Another one for each run: runs beside each other do not meet."""
    return new_project()


@pytest.fixture(scope="session")
def docker_setup(engine_client: docker.DockerClient) -> list[str]:
    """Build what is not current, then start the server and the probe."""
    base.ensure(engine_client, print)
    os.environ.update(Settings().environment() | images.environment())
    stale = [name.removeprefix("forklab-") for name in images.stale(engine_client)]
    build = [f"--profile client --profile demo build {' '.join(stale)}"] if stale else []
    return [*build, "up --detach --wait --no-build server probe"]


@pytest.fixture(scope="session")
def docker_cleanup(request: pytest.FixtureRequest) -> list[str]:
    """Remove everything of this run, or with --keep nothing."""
    if request.config.getoption("--keep"):
        return []
    return ["--profile client down --volumes --remove-orphans --timeout 1"]


@pytest.fixture(scope="session")
def docker_services(
    docker_compose_command: str,
    docker_compose_file: str,
    docker_compose_project_name: str,
    docker_setup: list[str],
    docker_cleanup: list[str],
) -> Iterator[Services]:
    """As pytest-docker's, whose set-up stands before its try: here also what a failed ``up`` has left is removed."""
    arguments = (docker_compose_command, docker_compose_file, docker_compose_project_name)
    try:
        with get_docker_services(*arguments, docker_setup, docker_cleanup) as services:
            yield services
    except Exception as error:
        place = ["--project-name", docker_compose_project_name, "--file", docker_compose_file]
        command = [*shlex.split(docker_compose_command), *place]
        logs = subprocess.run([*command, "logs", "--no-color"], capture_output=True, text=True).stdout
        for words in docker_cleanup:
            subprocess.run([*command, *shlex.split(words)], check=False)
        # Not pytest.exit, whose words a worker of xdist keeps to itself.
        pytest.fail(f"the lab did not start: {error}\n{logs}", pytrace=False)


@pytest.fixture(scope="session")
def rig(
    engine_client: docker.DockerClient,
    docker_services: Services,
    docker_compose_project_name: str,
    docker_compose_command: str,
    request: pytest.FixtureRequest,
) -> Rig:
    """The lab, with the fork server and the echo service."""
    made = Rig(engine_client, docker_compose_project_name, shlex.split(docker_compose_command))
    request.config.stash[RIG] = made
    return made


@pytest.fixture
def quiet(rig: Rig) -> Iterator[Rig]:
    """The lab with nobody connected, before the test and within two seconds after it: no child, no zombie."""
    until(lambda: len(rig.snapshot().processes) == 1, "the server is alone before the test")
    yield rig
    try:
        until(lambda: len(rig.snapshot().processes) == 1, "all children are gone, none is a zombie", patience=2)
    finally:
        rig.end_children()


RIG = pytest.StashKey[Rig]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    """Add to the report of a failure what the kernel and the server said at that moment."""
    report = yield
    rig = item.config.stash.get(RIG, None)
    if report.failed and rig:
        try:
            seen = rig.snapshot()
            report.sections += [
                ("server log", rig.container("server").logs(tail=60).decode()),
                ("ps", "\n".join(map(str, seen.processes))),
                ("ss", "\n".join(map(str, seen.sockets))),
            ]
        except Exception as error:
            report.sections.append(("the lab", f"could not be looked at: {error}"))
    return report
