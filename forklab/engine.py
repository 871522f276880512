"""Finds the Docker Engine as the docker CLI does, and says in one sentence why it cannot be used."""

import contextlib
import hashlib
import json
import os
import platform
import shutil
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any

import docker
import requests
from docker.constants import DEFAULT_NPIPE, IS_WINDOWS_PLATFORM
from docker.errors import APIError, DockerException, InvalidVersion, TLSParameterError
from docker.tls import TLSConfig
from docker.utils import parse_host

from forklab import provide as provider
from forklab.errors import LabError
from forklab.lock import Say

OLDEST_API = (1, 41)
"""Engine 20.10: the first one whose cgroup v2 support and build features the lab counts on."""

_FIRST_ANSWER = 10
"""Seconds for the first answer. A running engine needs milliseconds, a far one behind ssh a few seconds."""
_LATER_ANSWERS = 600
"""Seconds for each later answer: loading an image on a slow disk says nothing for minutes."""

_DEFAULT = "default socket"
_TROUBLE = (DockerException, requests.RequestException, OSError, ValueError)

_START = {
    "Linux": "start it: `sudo systemctl start docker` (without systemd: `sudo service docker start`)",
    "Darwin": "open Docker Desktop, or run `colima start`",
    "Windows": "open Docker Desktop and wait until it says that the engine runs",
}
_INSTALL = {
    "Linux": "install it: `sudo apt-get install docker.io` on Debian and Ubuntu, `sudo dnf install moby-engine` on"
    " Fedora, else https://docs.docker.com/engine/install/",
    "Darwin": "install Docker Desktop from https://docs.docker.com/desktop/, or run"
    " `brew install docker colima && colima start`",
    "Windows": "run `winget install Docker.DockerDesktop`, then open Docker Desktop",
}
_PERMIT = {
    "Windows": "add your user to the group docker-users, then log out and in again",
    "Darwin": "open Docker Desktop once and let it ask for the rights it needs",
    "Linux": "run `sudo usermod -aG docker $USER`, then log out and in again",
}


@dataclass(frozen=True)
class Endpoint:
    """Where the engine should answer.

    ``host`` is None for the default socket or pipe of this system, ``source`` says who chose it ("DOCKER_HOST",
    "docker context NAME", "default socket"), ``undo`` is the command that takes the choice back.
    """

    host: str | None
    tls: TLSConfig | None
    source: str
    undo: str = ""

    @property
    def is_default(self) -> bool:
        """Nobody chose it; only then may the lab provide an engine."""
        return self.source == _DEFAULT

    @property
    def url(self) -> str:
        """What the SDK is to be given."""
        return self.host or (DEFAULT_NPIPE if IS_WINDOWS_PLATFORM else f"unix://{provider.SOCKET}")

    def __str__(self) -> str:
        if self.is_default:
            return self.url.removeprefix("unix://")
        if self.source == "DOCKER_HOST":
            return f"DOCKER_HOST={self.host}"
        return f"{self.url} ({self.source})"


class _NoAnswerError(LabError):
    """Nobody listens there: the only refusal that an engine of ours could mend."""


def endpoint() -> Endpoint:
    """DOCKER_HOST, else DOCKER_CONTEXT, else the current context, else the default socket.

    The order of the docker CLI ("docker contexts" in its manual). The SDK's own ``ContextAPI`` is not
    used: it finds no context without a config.json, and drops TLS that has a CA but no client certificate.

    Raises:
        LabError: a context is chosen that does not exist or cannot be read.
    """
    host = os.environ.get("DOCKER_HOST")
    if host:
        return Endpoint(host, _environment_tls(host), "DOCKER_HOST", "unset DOCKER_HOST")
    name = os.environ.get("DOCKER_CONTEXT")
    undo = "unset DOCKER_CONTEXT" if name else "docker context use default"
    name = name or _current_context()
    if name == "default":
        return Endpoint(None, None, _DEFAULT)
    return _context(name, undo)


def connect(say: Say, *, provide: bool = True) -> "docker.DockerClient":
    """A client of an engine that answers and that the lab can use.

    With ``provide``, where nobody chose an endpoint and nobody answers, an engine is installed or started first if
    that is possible here (``forklab.provide``).

    Raises:
        LabError: what keeps the engine from being used, each cause in a sentence of its own.
    """
    where = endpoint()
    try:
        return _open(where)
    except _NoAnswerError:
        if not (provide and where.is_default and provider.possible()):
            raise
    provider.engine(say)
    return _open(where)


@contextlib.contextmanager
def trouble(doing: str) -> Iterator[None]:
    """Whatever the SDK raises inside becomes a LabError that begins with ``doing`` ("cannot read the images").

    Raises:
        LabError: the engine refused, failed, or went away.
    """
    try:
        yield
    except (DockerException, requests.RequestException) as error:
        raise LabError(f"{doing}: {explain(error)}") from None


def explain(error: Exception) -> str:
    """The engine's own words where it said some, else the deepest cause."""
    for cause in _causes(error):
        if isinstance(cause, APIError) and cause.explanation:
            return str(cause.explanation).strip()
    return _reason(_causes(error))


def _config() -> Path:
    return Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")


def _current_context() -> str:
    """The docker CLI, too, goes on with the default when config.json cannot be read."""
    try:
        config = json.loads((_config() / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return "default"
    name = config.get("currentContext") if isinstance(config, dict) else None
    return name if isinstance(name, str) and name else "default"


def _context(name: str, undo: str) -> Endpoint:
    """The store of the docker CLI: contexts/meta/SHA256(NAME)/meta.json, and TLS material beside it."""
    contexts = _config() / "contexts"
    key = hashlib.sha256(name.encode()).hexdigest()
    meta = contexts / "meta" / key / "meta.json"
    try:
        docker_endpoint = json.loads(meta.read_text(encoding="utf-8"))["Endpoints"]["docker"]
        host, unverified = docker_endpoint.get("Host") or None, bool(docker_endpoint.get("SkipTLSVerify"))
    except FileNotFoundError:
        raise LabError(
            f'docker context "{name}" is selected but does not exist; `docker context ls` lists them, '
            f"`{undo}` goes back to this computer's own engine"
        ) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise LabError(f'docker context "{name}" is broken: {meta} cannot be read; `{undo}`') from None
    folder = contexts / "tls" / key / "docker"
    tls = _tls(folder, verify=not unverified) if folder.is_dir() or unverified else None
    return Endpoint(host, tls if host and _is_network(host) else None, f"docker context {name}", undo)


def _environment_tls(host: str) -> TLSConfig | None:
    verify = bool(os.environ.get("DOCKER_TLS_VERIFY"))
    if not _is_network(host) or not (verify or os.environ.get("DOCKER_TLS")):
        return None
    return _tls(Path(os.environ.get("DOCKER_CERT_PATH") or _config()), verify=verify)


def _is_network(host: str) -> bool:
    return not host.startswith(("unix:", "npipe:", "ssh:", "http+unix:"))


def _tls(folder: Path, *, verify: bool) -> TLSConfig:
    """Without ca.pem the system's authorities decide; without cert.pem and key.pem the client does not name itself."""
    ca, cert, key = (folder / name for name in ("ca.pem", "cert.pem", "key.pem"))
    pair = (str(cert), str(key)) if cert.is_file() and key.is_file() else None
    return TLSConfig(client_cert=pair, ca_cert=str(ca) if ca.is_file() else None, verify=verify)


def _open(where: Endpoint) -> "docker.DockerClient":
    try:
        parse_host(where.url, IS_WINDOWS_PLATFORM, bool(where.tls))
    except (DockerException, ValueError):
        raise _no_address(where) from None
    try:
        with contextlib.closing(_client(where, version="auto", timeout=_FIRST_ANSWER)) as first:
            answer = first.version()
        _check(answer)
        return _client(where, version=answer["ApiVersion"], timeout=_LATER_ANSWERS)
    except LabError:
        raise
    except _TROUBLE as error:
        raise _refusal(where, error) from None


def _client(where: Endpoint, *, version: str, timeout: int) -> "docker.DockerClient":
    return docker.DockerClient(
        base_url=where.url,
        version=version,
        timeout=timeout,
        tls=where.tls or False,
        # The user's ssh, as the CLI does: it knows the keys, the agent and ~/.ssh/config.
        use_ssh_client=True,
    )


def _check(answer: dict[str, Any]) -> None:
    version, api = answer.get("Version", "?"), answer["ApiVersion"]
    if tuple(int(part) for part in api.split(".")) < OLDEST_API:
        raise LabError(
            f"Docker Engine {version} (API {api}) is too old: 20.10 (API 1.41) or newer is needed; update it, "
            "https://docs.docker.com/engine/install/"
        )
    if answer.get("Os") == "windows":
        raise LabError(
            "the engine runs Windows containers; switch Docker Desktop to Linux containers "
            "(its menu: Switch to Linux containers), then try again"
        )


def _no_address(where: Endpoint) -> LabError:
    return LabError(
        f"{where} is not the address of an engine; such a one is unix:///var/run/docker.sock, tcp://HOST:2375 or "
        f"ssh://USER@HOST. `{where.undo}` goes back to this computer's own engine"
    )


def _refusal(where: Endpoint, error: Exception) -> LabError:
    """The sentence for what happened; the most telling cause first."""
    causes = _causes(error)
    words = str(error)
    back = f", or `{where.undo}`" if where.undo else ""
    if _any(causes, InvalidVersion):
        return LabError(f"the engine at {where} is too old: 20.10 (API 1.41) or newer is needed; update it{back}")
    if _any(causes, requests.exceptions.InvalidURL):
        return _no_address(where)
    if where.url.startswith("ssh:"):
        return _ssh_refusal(where, words, back)
    if _any(causes, ssl.SSLError, TLSParameterError) or "HTTP request to an HTTPS server" in words:
        return LabError(
            f"TLS with the engine at {where} failed: {_reason(causes)}; check DOCKER_TLS_VERIFY and the "
            f"ca.pem, cert.pem, key.pem in DOCKER_CERT_PATH or the context{back}"
        )
    if _any(causes, PermissionError) or 5 in _windows_errors(causes):
        return LabError(f"no permission to use the Docker socket {where}; {_PERMIT[_system()]}{back}")
    if _any(causes, requests.Timeout, TimeoutError):
        return LabError(
            f"the engine at {where} did not answer within {_FIRST_ANSWER} s; it hangs or is still starting: "
            f"wait, or restart it{back}"
        )
    return _unusable(where, causes, back)


def _unusable(where: Endpoint, causes: list[BaseException], back: str) -> LabError:
    """Nobody is there, or somebody who is not an engine, or one that fails."""
    http = [c for c in causes if isinstance(c, APIError)]
    if any(cause.is_server_error() for cause in http):
        return LabError(f"the engine at {where} answers with an error: {explain(http[0])}; restart it{back}")
    system = [c for c in causes if isinstance(c, OSError) and c.errno and not isinstance(c, HTTPException)]
    if system or 2 in _windows_errors(causes):
        return _no_answer(where, _reason(causes), back)
    if http or _any(causes, HTTPException, ValueError, KeyError, TypeError):
        return LabError(f"what answers at {where} is not a Docker Engine; check the address{back}")
    return LabError(f"the engine at {where} cannot be used: {_reason(causes)}{back}")


def _no_answer(where: Endpoint, reason: str, back: str) -> LabError:
    if not where.is_default:
        return _NoAnswerError(f"nobody answers at {where}: {reason}; {_start(where)}{back}")
    forbidden = " (FORKLAB_ENGINE=off: the lab leaves that to you)" if provider.forbidden() else ""
    if provider.installed() or shutil.which("docker"):
        return _NoAnswerError(f"the Docker Engine does not run ({where}: {reason}); {_START[_system()]}{forbidden}")
    return _NoAnswerError(f"there is no Docker Engine on this computer; {_INSTALL[_system()]}{forbidden}")


def _start(where: Endpoint) -> str:
    """Two products name the contexts they make; who made another one knows how to start it."""
    context = where.source.removeprefix("docker context ")
    if context.startswith("desktop"):
        return "open Docker Desktop"
    return "run `colima start`" if context.startswith("colima") else "start that engine"


def _ssh_refusal(where: Endpoint, words: str, back: str) -> LabError:
    if "paramiko" in words:
        return LabError(
            f"{where} needs the Python package paramiko; install it beside forklab: `pip install paramiko`{back}"
        )
    host = where.url.removeprefix("ssh://")
    return LabError(
        f"the engine at {where} does not answer; `ssh {host} docker version` must work without asking anything{back}"
    )


def _causes(error: BaseException) -> list[BaseException]:
    """``error`` and all it came from: requests and urllib3 hand the real cause on in args, reason or the context."""
    found: list[BaseException] = []
    todo: list[object] = [error]
    while todo:
        cause = todo.pop(0)
        if isinstance(cause, BaseException) and not any(cause is known for known in found):
            found.append(cause)
            todo += [cause.__cause__, cause.__context__, getattr(cause, "reason", None), *cause.args]
    return found


def _any(causes: list[BaseException], *kinds: type[BaseException]) -> bool:
    return any(isinstance(cause, kinds) for cause in causes)


def _windows_errors(causes: list[BaseException]) -> set[int]:
    """A named pipe fails with pywintypes.error, which is no OSError but carries the code: 2 not found, 5 denied."""
    return {code for cause in causes if isinstance(code := getattr(cause, "winerror", None), int)}


def _reason(causes: list[BaseException]) -> str:
    """The operating system's words if it said some, else the innermost ones."""
    for cause in causes:
        if isinstance(cause, OSError) and cause.strerror and not isinstance(cause, requests.RequestException):
            return str(cause.strerror).rstrip(".").lower()
    return str(causes[-1]).strip() or type(causes[-1]).__name__


def _system() -> str:
    """Linux, Darwin or Windows; anything else is told what Linux is told."""
    return platform.system() if platform.system() in _START else "Linux"
