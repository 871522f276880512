"""The operations on a lab: build, up, status, logs, talk, down, clean. Each leads to its state, whatever was before."""

import contextlib
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from docker import DockerClient
from docker.errors import APIError, NotFound
from docker.models.containers import Container

from forklab import base, engine, images, lock, observe, proof
from forklab.compose import Compose, ComposeError, link, project_name
from forklab.errors import LabError, UsageError
from forklab.lock import Say
from forklab.observe import Snapshot
from forklab.proof import Proof
from forklab.registry import MODES, ROOT
from forklab.settings import Settings
from protocol import exits
from protocol.ports import SERVER_PORT

LABEL = "forklab"
"""Every object of any lab carries it; clean-up goes by it alone."""

_PROJECT = "com.docker.compose.project"
_FOLDER = "com.docker.compose.project.working_dir"
_SERVICE = "com.docker.compose.service"
_ONE_OFF = "com.docker.compose.oneoff"

_UP_SECONDS = 30.0
_POLL_SECONDS = 0.05
_LAST_LINES = 10


@dataclass(frozen=True)
class Status:
    """A lab as it is now; None where it cannot be known because the part that tells it does not run."""

    project: str
    running: bool
    model: str | None
    service: str | None
    state: str | None
    health: str | None
    address: str | None
    containers: dict[str, str]
    clients: list[str]
    images: dict[str, str]
    server_pid: int | None
    """In the container's PID namespace."""
    host_pid: int | None
    """The same process on the engine's host."""
    connections: int | None
    processes: int | None
    zombies: int | None


@dataclass(frozen=True)
class Thing:
    """An object on the engine that belongs to a lab; ``project`` is empty for images, which all labs share."""

    kind: str
    name: str
    id: str
    project: str


class Lab:
    """One project on one engine."""

    def __init__(self, client: DockerClient, compose: Compose, say: Say) -> None:
        self.client = client
        self.compose = compose
        self.project = compose.project
        self.say = say

    @classmethod
    def here(cls, client: DockerClient, say: Say, *, echo: bool = False) -> "Lab":
        """The lab of this checkout; with ``echo`` each compose command is said.

        Raises:
            UsageError: COMPOSE_PROJECT_NAME is not a name compose takes.
        """
        environment = Settings().environment() | images.environment()
        return cls(client, Compose(project_name(), environment, echo=say if echo else None), say)

    def build(self) -> list[str]:
        """Make the images that are missing or older than their sources; their names.

        Raises:
            LabError: the base or an image cannot be made.
        """
        with self._alone():
            return self._build()

    def up(self, settings: Settings) -> tuple[Status, Proof]:
        """Bring the lab to ``settings`` and prove that it works. What is already so stays untouched.

        A server that died stays for ``./lab logs``; the next up replaces it, down removes it.

        Raises:
            LabError: the server does not start, does not listen, or dies.
            UsageError: the server itself refused its options.
        """
        with self._alone():
            for container in self._containers():
                if container.status == "paused":  # compose refuses to start it
                    container.unpause()
            self._build()
            link(self.compose.found, self.say)
            settings.remember()
            self.say(f"starting the server (model {settings.model}, service {settings.service}) and the probe")
            self.compose.environment = {**self.compose.environment, **settings.environment()}
            try:
                self.compose.run("--progress", "quiet", "up", "--detach", "--no-build", "server", "probe")
                deadline = time.monotonic() + _UP_SECONDS
                self._await_listening(deadline)
                self.say("three clients talk to it")
                shown = proof.prove(self.client, self.compose, self._service("probe"), settings.model)
                self._await_healthy(deadline)
            except ComposeError as error:
                if error.known:
                    raise
                raise self._death() or error from None
            except LabError as error:
                raise self._death() or error from None
            return self.status(), shown

    def down(self) -> list[Thing]:
        """Remove everything of this project; what there was.

        Raises:
            LabError: something cannot be removed.
        """
        with self._alone():
            self._containers()
            things = self._things(self.project)
            if things:
                self.compose.run("--progress", "quiet", "--profile", "client", "down", "--volumes", "--remove-orphans")
                self._remove(self._things(self.project))
            return things

    def clean(self, project: str = "", *, with_images: bool = False, dry_run: bool = False) -> list[Thing]:
        """Remove all that carries our label on this engine, of any project or of one; what there was.

        Raises:
            LabError: something cannot be removed.
        """
        with contextlib.nullcontext() if dry_run else self._alone():
            things = self._things(project)
            if with_images:
                things += self._images()
            if not dry_run:
                self._remove(things)
            return things

    def status(self) -> Status:
        """The lab as it is now; never fails because it is down or half up.

        Raises:
            LabError: the engine does not answer, or another checkout's lab has our name.
        """
        containers = self._containers()
        parts = {name: c for c in containers if (name := c.labels.get(_SERVICE)) and not _is_one_off(c)}
        server, probe = parts.get("server"), parts.get("probe")
        running = server is not None and server.status == "running"
        model, service = _command(server) if server else (None, None)
        seen = _look(probe) if running and probe else None
        return Status(
            project=self.project,
            running=running,
            model=model,
            service=service,
            state=server.status if server else None,
            health=_health(server) if server else None,
            address=_address(server) if server else None,
            containers={name: str(part.id) for name, part in sorted(parts.items())},
            clients=[str(c.id) for c in containers if _is_one_off(c)],
            images={name: str(part.attrs["Image"]) for name, part in sorted(parts.items())},
            server_pid=seen.server if seen else None,
            host_pid=_host_pid(server) if server and running else None,
            connections=len(seen.established()) if seen else None,
            processes=len(seen.processes) if seen else None,
            zombies=len(seen.zombies()) if seen else None,
        )

    def snapshot(self) -> Snapshot:
        """What the probe sees now.

        Raises:
            LabError: the lab is not up.
        """
        self._running_server()
        return observe.snapshot(self._service("probe"))

    def logs(self, lines: int, *, follow: bool = False) -> Iterator[bytes]:
        """The server's last ``lines``; with ``follow`` also what it says from now on.

        Raises:
            LabError: there is no server to have said anything.
        """
        server = self._service("server")
        if follow:
            yield from server.logs(stream=True, follow=True, tail=lines)
        else:
            yield server.logs(tail=lines)

    def talk(self, mode: str, *, raw: bool = False, capture: bool = False) -> tuple[int, bytes]:
        """Run the client on the user's own input; its exit code, and with ``capture`` what it printed.

        Raises:
            UsageError: there is no such mode.
            LabError: the lab is not up.
        """
        MODES.check(mode)
        self._running_server()
        terminal = sys.stdin.isatty() and sys.stdout.isatty() and not capture
        # Without --no-deps compose would compare the server with the default settings and start it anew.
        run = ["--progress", "quiet", "run", "--rm", "--no-deps", *([] if terminal else ["-T"])]
        words = ["client", mode, *(["--raw"] if raw else [])]
        return self.compose.attach(*run, *words, stdout=subprocess.PIPE if capture else None)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        with lock.held(self.say) as descriptor:
            self.compose.locked = descriptor
            try:
                yield
            finally:
                self.compose.locked = None

    def _build(self) -> list[str]:
        stale = images.stale(self.client)
        if stale:
            base.ensure(self.client, self.say)
            services = [name.removeprefix("forklab-") for name in stale]
            self.say(f"building {', '.join(stale)}")
            self.compose.run("--progress", "plain", "--profile", "client", "build", *services, progress=self._say_step)
        return stale

    def _say_step(self, line: str) -> None:
        """The steps of a build, in the classic builder's words or in BuildKit's; not all that happens in each."""
        if re.match(r"Step \d+/|#\d+ \[\S+ +\d+/", line):
            self.say(line)

    def _containers(self) -> list[Container]:
        """All of this project, also the clients.

        Raises:
            LabError: they are another checkout's.
        """
        labels = [LABEL, f"{_PROJECT}={self.project}"]
        found: list[Container] = self.client.containers.list(all=True, filters={"label": labels}, ignore_removed=True)
        for container in found:
            folder = container.labels.get(_FOLDER, "")
            if folder and not _is_root(folder):
                raise LabError(
                    f'the lab "{self.project}" on this engine belongs to {folder}; stand up another with '
                    f"COMPOSE_PROJECT_NAME=other ./lab up, or remove it with ./lab clean --project {self.project}"
                )
        return found

    def _service(self, name: str) -> Container:
        for container in self._containers():
            if container.labels.get(_SERVICE) == name and not _is_one_off(container):
                return container
        raise LabError(f"there is no {name}: the lab is not up; ./lab up")

    def _running_server(self) -> None:
        server = self._service("server")
        if server.status != "running":
            raise LabError(f"the server is {server.status}; ./lab logs shows its last words, ./lab up starts it again")

    def _await_listening(self, deadline: float) -> None:
        while not observe.wait_listening(self._service("probe"), 5):
            if self._death() or time.monotonic() > deadline:
                raise LabError(f"the server runs but does not listen on port {SERVER_PORT}; ./lab logs, ./lab ps")

    def _await_healthy(self, deadline: float) -> None:
        server = self._service("server")
        while _health(server) != "healthy":
            if server.status != "running" or time.monotonic() > deadline:
                raise LabError(f"the server listens but docker says {_health(server)}; ./lab logs, ./lab ps")
            time.sleep(_POLL_SECONDS)
            server.reload()

    def _death(self) -> LabError | None:
        """Why the server ended, in its own last words; None if it runs or never started."""
        with contextlib.suppress(LabError, APIError):
            server = self._service("server")
            if server.status in ("exited", "dead"):
                code = server.attrs["State"]["ExitCode"]
                said = server.logs(tail=_LAST_LINES).decode(errors="replace").rstrip().splitlines()
                lines = "\n  ".join(said or ["(nothing)"])
                kind = UsageError if code == exits.USAGE else LabError
                return kind(f"the server ended with exit code {code}; its last lines:\n  {lines}")
        return None

    def _things(self, project: str) -> list[Thing]:
        labels = [LABEL] + ([f"{_PROJECT}={project}"] if project else [])
        filters = {"label": labels}
        found: list[Thing] = []
        for row in self.client.api.containers(all=True, filters=filters):
            name = (row.get("Names") or ["?"])[0].lstrip("/")
            found.append(Thing("container", name, row["Id"], row["Labels"].get(_PROJECT, "")))
        for row in self.client.api.networks(filters=filters):
            found.append(Thing("network", row["Name"], row["Id"], row["Labels"].get(_PROJECT, "")))
        for row in self.client.api.volumes(filters=filters)["Volumes"] or []:
            found.append(Thing("volume", row["Name"], row["Name"], (row["Labels"] or {}).get(_PROJECT, "")))
        return found

    def _images(self) -> list[Thing]:
        """By label, and the base by its name: a registry's has no label of ours. A name that is not ours stays."""
        api = self.client.api
        rows = {row["Id"]: row for row in [*api.images(filters={"label": LABEL}), *api.images(name=base.BASE)]}
        found = []
        for key, row in rows.items():
            tags = [tag for tag in row["RepoTags"] or [] if tag != "<none>:<none>"]
            ours = [tag for tag in tags if tag.startswith(f"{LABEL}-")]
            found += [Thing("image", name, key, "") for name in (ours if tags else ["<none>"])]
        return found

    def _remove(self, things: list[Thing]) -> None:
        """In the order found: containers first, which hold the rest. What has gone meanwhile is fine."""
        api = self.client.api
        for thing in things:
            try:
                if thing.kind == "container":
                    api.remove_container(thing.id, force=True, v=True)
                elif thing.kind == "network":
                    api.remove_network(thing.id)
                elif thing.kind == "volume":
                    api.remove_volume(thing.id)
                else:
                    api.remove_image(thing.id if thing.name == "<none>" else thing.name, force=True)
            except NotFound:
                continue
            except APIError as error:
                if "already in progress" not in str(error.explanation):
                    raise LabError(f"cannot remove {thing.kind} {thing.name}: {engine.explain(error)}") from None


def _is_root(folder: str) -> bool:
    try:
        return Path(folder).samefile(ROOT)
    except OSError:  # that checkout has been moved or removed
        return False


def _is_one_off(container: Container) -> bool:
    return bool(container.labels.get(_ONE_OFF) == "True")


def _command(server: Container) -> tuple[str | None, str | None]:
    """Model and service: what the container was started with, not what anybody remembers."""
    words = server.attrs["Config"]["Cmd"] or []
    service = words[words.index("--service") + 1] if "--service" in words[:-1] else None
    return (words[0] if words else None), service


def _health(server: Container) -> str | None:
    health = server.attrs["State"].get("Health")
    return str(health["Status"]) if health else None


def _address(server: Container) -> str | None:
    bound = server.attrs["NetworkSettings"]["Ports"].get(f"{SERVER_PORT}/tcp")
    return f"{bound[0]['HostIp']}:{bound[0]['HostPort']}" if bound else None


def _look(probe: Container) -> Snapshot | None:
    try:
        return observe.snapshot(probe)
    except LabError:
        return None


def _host_pid(server: Container) -> int | None:
    """The server is the first child of the container's init (``State.Pid``), in the list of the engine's own ps."""
    try:
        top = server.top()
    except APIError:
        return None
    pid, ppid = top["Titles"].index("PID"), top["Titles"].index("PPID")
    children = [int(row[pid]) for row in top["Processes"] if int(row[ppid]) == server.attrs["State"]["Pid"]]
    return min(children, default=None)
