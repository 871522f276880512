"""Where a scenario happens: programs and labs that are started for it alone, and gone when it is over."""

import contextlib
import json
import secrets
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from docker import DockerClient
from docker.errors import APIError, NotFound
from docker.models.containers import Container
from docker.types import Ulimit

from forklab import engine, images, recording
from forklab.compose import Compose
from forklab.errors import LabError
from forklab.faults import Faults
from forklab.harness.scenario import Inconclusive, NotSo, broken
from forklab.harness.wire import Wire
from forklab.lab import LABEL, Lab
from forklab.lock import Say
from forklab.observe import Snapshot, snapshot, wait_listening
from forklab.settings import TRACED, Settings
from forklab.stream import answer
from forklab.timeline import picture
from forklab.timeline.model import Timeline
from forklab.timeline.replay import INLINE, replay

_T = TypeVar("_T")
_PROGRAM_SECONDS = 60
"""Longer than any program of a scenario takes under strace on a busy machine."""
_OPEN_FILES = 8192
"""Descriptors that a server may have, whatever the engine's default is: some allow 1,024."""
_MOST_MEMORY = "1g"
"""A wrong server that keeps all that it is sent ends here, and not at the end of the computer's memory."""
_STAGE = "forklab.stage"
"""The label of a stage's containers, with its key."""
_PATIENCE = 20.0
"""Seconds in which what happens at once has happened, also on a busy machine."""
_POLL_SECONDS = 0.02
_END_SECONDS = 5.0
"""Until the engine knows that a container has ended."""
_PROBE_CAPABILITIES = ["SYS_PTRACE", "NET_ADMIN", "NET_RAW", "DAC_READ_SEARCH", "KILL"]


@dataclass(frozen=True)
class Program:
    """What a program did: its calls as a time-line, what it printed, how it ended."""

    timeline: Timeline
    said: str
    code: int


@dataclass(frozen=True)
class Picture:
    """One picture of the page: a drawing, or a time-line with its own zoom; ``note`` says what one sees."""

    title: str
    drawing: Any = None
    timeline: Timeline | None = None
    note: str = ""

    def svg(self) -> str:
        """It as SVG.

        Raises:
            ImportError: this computer has no vl-convert, which draws charts.
        """
        if self.timeline:
            return picture.svg(self.timeline, "")
        made = self.drawing() if callable(self.drawing) else self.drawing
        return made if isinstance(made, str) else _svg(made)


@dataclass
class Finding:
    """What a run has gathered so far."""

    measured: dict[str, Any] = field(default_factory=dict)
    evidence: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)


class Hand:
    """A client container that opens, uses and closes connections as it is told: ``hand.open(3, "hello")``.

    Its deeds are the functions of ``client/_hand.py``.
    """

    def __init__(self, process: subprocess.Popen[bytes], network: str) -> None:
        self._process, self.network = process, network

    def __getattr__(self, deed: str) -> Any:
        def do(*words: Any) -> Any:
            return self.begin(deed, *words)()

        return do

    def begin(self, deed: str, *words: Any) -> Callable[[], Any]:
        """Have it begin a deed that takes its time; what is returned waits for the answer."""
        assert self._process.stdin
        assert self._process.stdout
        heard = self._process.stdout

        def end() -> Any:
            try:
                answer = json.loads(heard.readline())
            except (OSError, ValueError):
                raise broken(f"the client did not answer to {deed}") from None
            if "ok" not in answer:
                raise OSError(answer["error"])
            return answer["ok"]

        try:
            self._process.stdin.write(json.dumps([deed, words]).encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            raise broken(f"the client has gone before {deed}") from None
        return end


class Pod:
    """A program in a container of its own with a probe beside it, as long as it is looked at."""

    def __init__(self, client: DockerClient, container: Container, probe: Container) -> None:
        self.container, self._probe = container, probe
        parts = {"server": container, "probe": probe}
        self.faults = Faults(client, str(container.name), parts.__getitem__, list)

    def snapshot(self, details: tuple[str, ...] | None = None) -> Snapshot:
        """What the kernel says of it now; ``details`` as for :func:`forklab.observe.snapshot`."""
        return snapshot(self._probe, details)

    def probe(self) -> Container:
        """The probe beside it."""
        return self._probe

    def has_ended(self) -> bool:
        """Whether the program has, as the engine knows, which is a moment later than the kernel."""
        self.container.reload()
        return bool(self.container.status != "running")

    def cpu(self) -> float:
        """Seconds of processor time of all its processes so far, also of those that have ended (cgroups(7))."""
        assert self.container.client
        seen: Any = self.container.client.api.stats(str(self.container.id), stream=False, one_shot=True)
        return float(seen["cpu_stats"]["cpu_usage"]["total_usage"]) / 1e9

    def wait_listening(self) -> None:
        """Wait until it listens on the server's port.

        Raises:
            LabError: it does not.
        """
        if not wait_listening(self._probe, _PROGRAM_SECONDS):
            said = self.container.logs(tail=1).decode(errors="replace").strip()
            raise broken(f"{self.container.name} does not listen ({said or 'it said nothing'})")

    def signal(self, pid: int, name: str, *more: int) -> None:
        """Send the signal ``name`` (``KILL``) from the probe, a stranger to the program, to processes of it."""
        code, _, said = answer(self._probe, ["sh", "-c", 'kill -s "$0" "$@"', name, *map(str, (pid, *more))])
        if code:
            raise broken(f"kill: {said.decode(errors='replace').strip()}")


class Stage:
    """What a scenario works with.

    Args:
        client: the engine.
        values: the scenario's parameters, read by ``stage["clients"]``.
        say: is told what goes on.
        subject: a folder whose files stand in for those of the same path in the containers (``server/fork.py``): the
            program under observation, when it is not the lab's own.
    """

    def __init__(self, client: DockerClient, values: Mapping[str, Any], say: Say, subject: Path | None = None) -> None:
        self.client, self._values, self.say, self._subject = client, values, say, subject
        self.found = Finding()
        self._key = secrets.token_hex(4)
        self._labs: list[Lab] = []

    def __getitem__(self, parameter: str) -> Any:
        return self._values[parameter]

    def evidence(self, line: str) -> None:
        """Keep a line that decides, as the kernel shows it."""
        self.found.evidence.append(line)
        self.say(line)

    def says(self, line: str) -> None:
        """Keep a line that the program under observation printed."""
        self.found.said.append(line)

    def measure(self, **values: Any) -> None:
        """Keep figures under names that carry their unit: ``zombie_ms=33``."""
        self.found.measured.update(values)

    def expect(self, true: bool, claim: str) -> None:
        """Go on only if ``claim`` is true.

        Raises:
            NotSo: it is not.
        """
        if not true:
            raise NotSo(claim)

    def inconclusive(self, reason: str) -> NoReturn:
        """End it without a verdict on the theory.

        Raises:
            Inconclusive: always.
        """
        raise Inconclusive(reason)

    def until(self, look: Callable[[], _T], seconds: float = _PATIENCE) -> _T:
        """Poll until ``look()`` is true, at most for ``seconds``; what it answered last, true or not."""
        deadline = time.monotonic() + seconds
        while not (seen := look()) and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
        return seen

    def draw(self, title: str, drawing: Any, note: str = "") -> None:
        """Add a picture: an altair chart, SVG as text, or a function that makes one of them if a page is wanted.

        The title says what one sees.
        """
        self.found.pictures.append(Picture(title, drawing, note=note))

    def timeline(self, title: str, timeline: Timeline, note: str = "") -> None:
        """Add a time-line of processes to the page."""
        self.found.pictures.append(Picture(title, timeline=timeline, note=note))

    def program(self, *words: str) -> Program:
        """Run ``python3 WORDS`` (``-m demos zombie``) to its end in a container of its own, every call recorded.

        Raises:
            Inconclusive: strace is not allowed here.
            LabError: the container does not run, or does not end.
        """
        with self._container(["sh", "recorded", "python3", *words], entrypoint="") as container:
            container.start()
            try:
                code = container.wait(timeout=_PROGRAM_SECONDS)["StatusCode"]
            except OSError:  # what requests raises when the time is up
                raise broken(f"{' '.join(words)} has not ended within {_PROGRAM_SECONDS} s") from None
            calls = container.logs(stdout=True, stderr=False)
            said = container.logs(stdout=False, stderr=True).decode(errors="replace")
        if not calls:
            raise Inconclusive(f"strace shows nothing here: {(said.splitlines() or ['not a word'])[-1]}")
        return Program(replay({"server-1": calls}), said, code)

    def demo(self, name: str, **constants: Any) -> Program:
        """Run a demo to its end, every call recorded.

        Args:
            name: its id.
            constants: other values for constants of its module: ``POLLS=50``.

        Raises:
            Inconclusive, LabError: as for :meth:`program`.
        """
        if not constants:
            return self.program("-m", "demos", name)
        module = f"demos.{name.replace('-', '_')}"
        lines = ["import importlib, sys", "from demos._run import run", f"demo = importlib.import_module({module!r})"]
        lines += [f"demo.{constant} = {value!r}" for constant, value in constants.items()]
        code = "\n".join([*lines, f"sys.exit(run({name!r}, as_json=False))"])
        program = self.program("-c", code)
        for lane in program.timeline.lanes:
            if lane.name == INLINE:
                lane.name = f"demos {name}"
        return program

    @contextlib.contextmanager
    def pod(self, *words: str, init: bool = True, pids: int = 128) -> Iterator[Pod]:
        """Run ``python3 WORDS`` with a probe beside it, for as long as the block lasts.

        Args:
            words: the program.
            init: whether docker's init is PID 1, or the program itself.
            pids: how many processes it may have.

        Raises:
            LabError: a container does not run.
        """
        with self._watched(["python3", *words], entrypoint="", init=init, pids_limit=pids) as pod:
            yield pod

    @contextlib.contextmanager
    def client_alone(self) -> Iterator[Hand]:
        """A client container on a network of its own, to compare servers: see :meth:`server`.

        Raises:
            LabError: it does not start.
        """
        with self._lab(Settings(), {}) as lab, self.hand(lab) as hand:
            hand.close()  # it has answered, so its network is there
            yield hand

    @contextlib.contextmanager
    def server(
        self, hand: Hand, model: str, service: str = "echo", options: str = "", *, pids: int = 2048
    ) -> Iterator[Pod]:
        """One more server, with a probe beside it, on the network of ``hand``, who turns to it.

        It is what a lab's server is, made in a fraction of the time: for what compares models.

        Raises:
            LabError: it does not start.
            NotSo: it has ended before the block has.
        """
        self.say(f"a server of the model {model}")
        files = [Ulimit(name="nofile", soft=_OPEN_FILES, hard=_OPEN_FILES)]
        limits = {"pids_limit": pids, "ulimits": files, "mem_limit": _MOST_MEMORY}
        more = {"image": "forklab-server", "network_mode": hand.network, **limits}
        with self._watched([model, "--service", service, *options.split()], **more) as pod:
            pod.wait_listening()
            hand.turn_to(pod.container.attrs["NetworkSettings"]["Networks"][hand.network]["IPAddress"])
            try:
                yield pod
            except (LabError, OSError):  # the probe ends with the server, and so do the client's connections
                if not self.until(pod.has_ended, _END_SECONDS):
                    raise
                code = pod.container.attrs["State"]["ExitCode"]
                raise NotSo(
                    f"the server {model} lives on, whatever comes; it has ended with exit code {code}"
                ) from None

    @contextlib.contextmanager
    def lab(
        self,
        model: str = "fork",
        service: str = "echo",
        options: str = "",
        *,
        pids: str = "2048",
        trace: bool = False,
        server: Mapping[str, Any] | None = None,
    ) -> Iterator[Lab]:
        """A lab of its own, as ``./lab up`` makes one; values as for :class:`forklab.settings.Settings`.

        ``server`` is what its service has otherwise than in docker-compose.yml, in compose's words.

        Raises:
            LabError: it does not come up.
        """
        settings = Settings(model, service, options=options, pids=pids, trace=TRACED if trace else "")
        with self._lab(settings, server or {}) as lab:
            lab.start(settings)
            yield lab

    @contextlib.contextmanager
    def _lab(self, settings: Settings, server: Mapping[str, Any]) -> Iterator[Lab]:
        """A lab that is not up yet; removed at the end. ``server`` as for :meth:`lab`."""
        environment = settings.environment() | images.environment()
        with tempfile.TemporaryDirectory() as folder:
            over = (_compose_over(self._subject, server, Path(folder)),) if self._subject or server else ()
            project = f"forklab-stage-{self._key}-{secrets.token_hex(2)}"
            lab = Lab(self.client, Compose(project, environment, over=over), self.say)
            self._labs.append(lab)
            try:
                yield lab
            finally:
                lab.down()
                self._labs.remove(lab)

    @contextlib.contextmanager
    def traced(self, lab: Lab | Pod) -> Iterator[Timeline]:
        """Record every call of the running server for the block, and the segments that open and end connections.

        Yields:
            The time-line; it is filled when the block is over.

        Raises:
            Inconclusive: strace is not allowed here.
        """
        timeline = Timeline(start=0)
        with contextlib.ExitStack() as stack:
            try:
                files = stack.enter_context(recording.during(lab.probe()))
            except LabError as error:
                raise Inconclusive(str(error)) from None
            yield timeline
        vars(timeline).update(vars(replay(files)))

    @contextlib.contextmanager
    def hand(self, lab: Lab) -> Iterator[Hand]:
        """A client container in ``lab`` that does as it is told."""
        words = ["--progress", "quiet", "run", "--rm", "-T", "--no-deps", "--entrypoint", "python3", "client"]
        pipe = subprocess.PIPE
        process = lab.compose.start(*words, "-m", "client._hand", "server", stdin=pipe, stdout=pipe)
        with process:
            try:
                yield Hand(process, f"{lab.project}_default")
            finally:
                assert process.stdin
                with contextlib.suppress(OSError):
                    process.stdin.close()  # it ends by itself then, and its connections with it

    def signal(self, lab: Lab, name: str, pid: int) -> None:
        """Send the signal ``name`` (``KILL``) from the probe, a stranger to the server, to one of its processes."""
        code, _, said = answer(lab.probe(), ["sh", "-c", 'kill -s "$0" "$1"', name, str(pid)])
        if code:
            raise broken(f"kill: {said.decode(errors='replace').strip()}")

    def table(self, lab: Lab) -> str:
        """What the kernel says of the TCP sockets beside the server, also of those that no process has: proc_net(5)."""
        return answer(lab.probe(), ["cat", "/proc/net/tcp"])[1].decode()

    def wire(self, lab: Lab) -> Wire:
        """A context manager: what goes over the wire in ``lab`` for as long as the block lasts."""
        return Wire(lab.probe())

    def clear(self) -> None:
        """Remove what an interruption, or an engine that stumbled, has left of it.

        Raises:
            LabError: something cannot be removed; ``./lab clean`` does it later.
        """
        with engine.trouble("cannot look for what the scenario started"):
            if not self.until(lambda: not self._remove_left()):
                raise LabError("the engine does not remove what the scenario started; ./lab clean does it later")
        for lab in self._labs:  # those whose end was interrupted; last, for their networks have to be empty
            lab.clean(lab.project)

    @contextlib.contextmanager
    def _watched(self, words: list[str], **more: Any) -> Iterator[Pod]:
        """A container that runs, and a probe in its namespaces; both as for :meth:`_container`."""
        with self._container(words, **more) as container:
            container.start()
            container.reload()
            namespaces = {"network_mode": f"container:{container.id}", "pid_mode": f"container:{container.id}"}
            # Containers that hold a fault meet the probe in its /dev/shm.
            rights = {"cap_add": _PROBE_CAPABILITIES, "init": False, "ipc_mode": "shareable"}
            with self._container(["stay"], image="forklab-probe", **rights, **namespaces) as probe:
                probe.start()
                yield Pod(self.client, container, probe)

    def _remove_left(self) -> int:
        """How many of its containers were there, to be removed; by one call, for each may be gone at any moment."""
        left = self.client.api.containers(all=True, filters={"label": f"{_STAGE}={self._key}"})
        for row in left:
            with contextlib.suppress(NotFound, APIError):  # a busy engine may fail once: it is asked again
                self.client.api.remove_container(row["Id"], force=True, v=True)
        return len(left)

    @contextlib.contextmanager
    def _container(self, words: list[str], **more: Any) -> Iterator[Container]:
        """A container with nothing but what ``more`` allows it, not started yet; removed at the end."""
        options: dict[str, Any] = {
            "image": "forklab-demo",
            "labels": {LABEL: "container", _STAGE: self._key},
            "network_mode": "none",
            "cap_drop": ["ALL"],
            "security_opt": ["no-new-privileges:true"],
            "read_only": True,
            "init": True,
            "pids_limit": 128,
            "volumes": _overlay(self._subject),
        }
        with engine.trouble("a container of the scenario failed"):
            container = self.client.containers.create(command=words, **(options | more))
        try:
            yield container
        finally:
            with contextlib.suppress(NotFound, APIError):
                container.remove(force=True, v=True)


def _overlay(subject: Path | None) -> list[str]:
    """Each file of ``subject`` over the one of the same path in the image."""
    files = [file for file in sorted(subject.rglob("*")) if file.is_file()] if subject else []
    return [f"{file.resolve()}:/lab/{file.relative_to(subject).as_posix()}:ro" for file in files if subject]


def _compose_over(subject: Path | None, server: Mapping[str, Any], folder: Path) -> Path:
    """The same for a lab, and what else its server has otherwise: a compose file, JSON being YAML."""
    volumes = {"volumes": _overlay(subject)}
    services = {"server": {**volumes, **server}, "client": volumes}
    file = folder / "subject.json"
    file.write_text(json.dumps({"services": services}), encoding="utf-8")
    return file


def _svg(chart: Any) -> str:
    import vl_convert

    return str(vl_convert.vegalite_to_svg(chart.to_dict()))
