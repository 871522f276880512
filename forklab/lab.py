"""The operations on a lab: build, up, status, logs, talk, down, clean. Each leads to its state, whatever was before."""

import contextlib
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from docker import DockerClient
from docker.errors import APIError, NotFound
from docker.models.containers import Container

from forklab import base, engine, images, lock, observe, proof, recording
from forklab.compose import Compose, ComposeError, link, project_name
from forklab.errors import LabError, UsageError
from forklab.faults import Faults
from forklab.lock import Say
from forklab.observe import Snapshot
from forklab.proof import Proof
from forklab.registry import DEMOS, MODES, ROOT
from forklab.settings import TRACED, Settings
from forklab.watch.stream import Stream
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
_TOLD_SECONDS = 2.0
"""Until an engine tells of the end of a container."""
_LAST_LINES = 10
_SILENT_SECONDS = 3.0
_SHARE = 0.02
"""Of one processor: what the live view may cost. It is then drawn less often, if a look takes long."""


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
    faults: list[dict[str, Any]] | None = None
    """What breaks it now, as ``Faults.look`` has it under ``held``."""


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
        self.faults = Faults(client, self.project, self._service, self._clients)

    @classmethod
    def here(cls, client: DockerClient, say: Say, *, echo: bool = False) -> "Lab":
        """The lab of this checkout; with ``echo`` each compose command is said.

        Raises:
            UsageError: COMPOSE_PROJECT_NAME is not a name compose takes.
        """
        environment = Settings().environment() | images.environment()
        return cls(client, Compose(project_name(), environment, echo=say if echo else None), say)

    def build(self, names: Sequence[str] = images.IMAGES) -> list[str]:
        """Make those of the images ``names`` that are missing or older than their sources; their names.

        Raises:
            LabError: the base or an image cannot be made.
        """
        with self._alone():
            return self._build(names)

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
            with self._starting(settings) as deadline:
                if settings.trace:
                    self.say("every call of the server is recorded from its first on; ./lab trace --out DIR shows it")
                self.say("three clients talk to it")
                shown = proof.prove(self.client, self.compose, self._service("probe"), settings.model)
                self._await_healthy(deadline)
            return self.status(), shown

    def start(self, settings: Settings) -> None:
        """Start server and probe for who knows what to do with them: no proof, nothing remembered. Images are there.

        Raises:
            LabError, UsageError: as ``up``.
        """
        with self._alone(), self._starting(settings):
            pass

    @contextlib.contextmanager
    def _starting(self, settings: Settings) -> Iterator[float]:
        """Bring up server and probe until the server listens; what fails then and in the block is told by its death.

        Yields:
            When the time is up for it to be healthy (``time.monotonic``).
        """
        self.say(f"starting the server (model {settings.model}, service {settings.service}) and the probe")
        self.compose.environment = {**self.compose.environment, **settings.environment()}
        try:
            self.compose.run("--progress", "quiet", "up", "--detach", "--no-build", "server", "probe")
            deadline = time.monotonic() + _UP_SECONDS
            self._mend()
            self._await_listening(deadline)
            if settings.trace:
                recording.check(self._service("probe"))
            yield deadline
        except ComposeError as error:
            if error.known:
                raise
            raise self._why(error) from None
        except LabError as error:
            raise self._why(error) from None

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
            faults=self.faults.look()["held"] if seen else None,
        )

    def snapshot(self, details: Iterable[str] | None = None) -> Snapshot:
        """What the probe sees now; ``details`` as for :func:`forklab.observe.snapshot`.

        Raises:
            LabError: the lab is not up.
        """
        return observe.snapshot(self.probe(), details)

    def probe(self) -> Container:
        """The probe, in the namespaces of a server that runs.

        Raises:
            LabError: the lab is not up.
        """
        self._running_server()
        return self._service("probe")

    def stream(self, interval: float) -> Stream:
        """What the probe sees each ``interval`` seconds, or less often if it would cost more than 2 % of a processor.

        Through compose and not the engine's API, whose streams differ on Windows, over ssh and over TLS.

        Raises:
            LabError: the lab is not up.
        """
        self._running_server()
        if not self._probe_runs():
            raise LabError("the probe is not running; ./lab up mends it")
        words = ["exec", "-T", "probe", "python3", "-m", "probe", "watch"]
        words += ["--interval", str(interval), "--share", str(_SHARE)]
        pipe = subprocess.PIPE
        process = self.compose.start(*words, stdin=pipe, stdout=pipe, stderr=pipe)
        return Stream(process, self._probe_runs, interval + _SILENT_SECONDS)

    def trace(self, seconds: float | None) -> dict[str, bytes]:
        """The files of a recording: since ``up --trace``, else of the running server for ``seconds`` or until Ctrl-C.

        A lab that is traced already is recorded for ``seconds`` more.

        Raises:
            LabError: the lab is not up, or cannot be traced.
        """
        self._running_server()
        probe = self._service("probe")
        if not _is_traced(self._service("server")):
            return recording.live(probe, seconds, self.say)
        if seconds is not None:
            self.say(f"recording for {seconds:g} s more")
            time.sleep(seconds)
        return recording.since_up(probe)

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
        if _is_traced(self._service("server")):
            self.compose.environment = {**self.compose.environment, **Settings(trace=TRACED).environment()}
        terminal = sys.stdin.isatty() and sys.stdout.isatty() and not capture
        # Without --no-deps compose would compare the server with the default settings and start it anew.
        run = ["--progress", "quiet", "run", "--rm", "--no-deps", *([] if terminal else ["-T"])]
        words = ["client", mode, *(["--raw"] if raw else [])]
        return self.compose.attach(*run, *words, stdout=subprocess.PIPE if capture else None)

    def demo(self, demo: str, *, capture: bool = False) -> tuple[int, Any]:
        """Run a demo in a container of its own, lab or no lab; its exit code, and with ``capture`` its JSON document.

        Raises:
            UsageError: there is no such demo.
            LabError: its image cannot be made, or it did not run.
            KeyboardInterrupt: so its document was cut off.
        """
        DEMOS.check(demo)
        self.build(["forklab-demo"])
        words = ["demo", demo, *(["--json"] if capture else [])]
        pipe = subprocess.PIPE if capture else None
        code, said = self.compose.attach("--progress", "quiet", "run", "--rm", "-T", *words, stdout=pipe)
        if capture and code == exits.SIGNAL_BASE + signal.SIGINT:
            raise KeyboardInterrupt
        try:
            return code, json.loads(said) if capture else None
        except ValueError:
            raise LabError(f"the demo {demo} was cut off (exit code {code}); try again") from None

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        with lock.held(self.say) as descriptor:
            self.compose.locked = descriptor
            try:
                yield
            finally:
                self.compose.locked = None

    def _build(self, names: Sequence[str] = images.IMAGES) -> list[str]:
        stale = images.stale(self.client, names)
        if stale:
            base.ensure(self.client, self.say)
            services = [name.removeprefix("forklab-") for name in stale]
            self.say(f"building {', '.join(stale)}")
            profiles = [word for name in ("client", "demo", "bench", "grade") for word in ("--profile", name)]
            self.compose.run("--progress", "plain", *profiles, "build", *services, progress=self._say_step)
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

    def _clients(self) -> list[Container]:
        return [
            container for container in self._containers() if _is_one_off(container) and container.status == "running"
        ]

    def _mend(self) -> None:
        """End what still breaks the lab, and remove what is left of it."""
        mended = self.faults.clear(reason="the lab was started")
        if mended["ended"] or mended["removed"]:
            self.say(f"faults ended: {', '.join([*mended['ended'], *mended['removed']])}")

    def _running_server(self) -> None:
        server = self._service("server")
        if server.status != "running":
            raise LabError(f"the server is {server.status}; ./lab logs shows its last words, ./lab up starts it again")

    def _probe_runs(self) -> bool:
        try:
            return bool(self._service("probe").status == "running")
        except LabError:
            return False

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

    def _why(self, error: LabError) -> LabError:
        """Why the lab did not come up: the server's end, if it has ended, or else ``error``.

        With the server, PID 1 of their namespace, the kernel kills what the probe does there (pid_namespaces(7)): so
        the probe's failure may be known before the engine has told of the server's end.
        """
        deadline = time.monotonic() + _TOLD_SECONDS
        while not (death := self._death()) and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
        return death or error

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
        return sorted(found, key=lambda thing: (thing.kind, thing.project, thing.name))  # the engine's order is any

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
        """In the order given: containers first, which hold the rest. What has gone meanwhile is fine."""
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


def _is_traced(server: Container) -> bool:
    """Whether it was started behind the gate (images/gate)."""
    return (server.attrs["Config"]["Entrypoint"] or [])[:2] == ["sh", "gate"]


def _health(server: Container) -> str | None:
    health = server.attrs["State"].get("Health")
    return str(health["Status"]) if health else None


def _address(server: Container) -> str | None:
    bound = server.attrs["NetworkSettings"]["Ports"].get(f"{SERVER_PORT}/tcp")
    return f"{bound[0]['HostIp']}:{bound[0]['HostPort']}" if bound else None


def _look(probe: Container) -> Snapshot | None:
    try:
        return observe.snapshot(probe, ())
    except LabError:
        return None


def _host_pid(server: Container) -> int | None:
    """The server is the first child of the container's init (``State.Pid``), in the list of the engine's own ps."""
    try:
        top = server.top()
    except APIError:
        return None
    pid, ppid = top["Titles"].index("PID"), top["Titles"].index("PPID")
    rows = top["Processes"] or ()  # None: it has just ended
    children = [int(row[pid]) for row in rows if int(row[ppid]) == server.attrs["State"]["Pid"]]
    return min(children, default=None)
