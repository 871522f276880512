"""Examines what the lab stands on, one line a thing, and says what would mend it; changes nothing."""

import json
import os
import platform
import re
import shutil
import socket
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import docker
import requests
from docker.errors import DockerException

from forklab import base, compose, engine, images
from forklab.errors import LabError
from protocol import exits, verdicts

_ROOM = 2_000_000_000
"""Bytes: the base, three images, and what a build needs beside them."""

_FOR = {
    "netem": "delaying, losing and reordering packets on their way out",
    "tbf": "limiting the rate of a link",
    "nftables": "dropping packets by rules",
    "nfqueue": "handing packets to a program",
    "sock_diag": "asking for a socket's queues and timers",
    "ptrace": "tracing system calls",
}
"""What a kernel feature is for; the names are those of ``python3 -m probe features``."""


@dataclass(frozen=True)
class Finding:
    """One thing examined; ``verdict`` is a word of ``protocol.verdicts``, ``mend`` is empty where all is well."""

    id: str
    verdict: str
    what: str
    mend: str = ""


def checks() -> Iterator[Finding]:
    """Every finding, each as soon as it is known. No engine: what needs one is INCONCLUSIVE, never reported as good."""
    yield Finding("python", verdicts.PASS, platform.python_version())
    yield _command()
    yield _compose()
    yield from _port()
    try:
        client = engine.connect(lambda line: None, provide=False)
    except LabError as error:
        yield Finding("engine", verdicts.FAIL, *_split(error))
        for check in list(_ON_ENGINE)[1:]:
            yield Finding(check, verdicts.INCONCLUSIVE, "not checked: no engine", "mend the engine first")
        return
    try:
        yield from _on_engine(client)
    finally:
        client.close()


def exit_code(findings: Iterable[Finding]) -> int:
    """FAILED if one FAILed, else INCONCLUSIVE if one could not be checked, else OK; a warning is no failure."""
    words = {finding.verdict for finding in findings}
    if verdicts.FAIL in words:
        return exits.FAILED
    return exits.INCONCLUSIVE if verdicts.INCONCLUSIVE in words else exits.OK


def _split(error: LabError) -> tuple[str, str]:
    """Our errors say what is wrong, then after a semicolon what to do."""
    what, _, mend = str(error).partition("; ")
    return what, mend


def _command() -> Finding:
    found = shutil.which("docker")
    if found:
        return Finding("docker-command", verdicts.PASS, found)
    return Finding(
        "docker-command",
        verdicts.WARN,
        "no docker command; ./lab does not need it, `docker compose run client` does",
        "install Docker's command line (docker-cli, or docker.io on older Debian and Ubuntu)",
    )


def _compose() -> Finding:
    try:
        found = compose.find()
    except LabError as error:
        return Finding("compose", verdicts.FAIL, *_split(error))
    return Finding("compose", verdicts.PASS, f"{found.version} ({found.origin})")


def _port() -> Iterator[Finding]:
    """Only a port that was asked for can be taken: without one the engine picks a free one."""
    wanted = os.environ.get("FORKLAB_PORT")
    if not wanted:
        return
    if not re.fullmatch("[0-9]{1,5}", wanted) or not 0 < int(wanted) < 65536:
        yield Finding("port", verdicts.FAIL, f'FORKLAB_PORT="{wanted}" is no port', "set a number from 1 to 65535")
        return
    # A connection tells a taken port from a free one on each system, also where only root may bind it.
    with socket.socket() as probe:
        probe.settimeout(1)
        taken = probe.connect_ex(("127.0.0.1", int(wanted))) == 0
    if taken:
        what = f"somebody listens at 127.0.0.1:{wanted} (FORKLAB_PORT)"
        yield Finding("port", verdicts.WARN, what, "fine if it is this lab; else unset FORKLAB_PORT, or choose another")
    else:
        yield Finding("port", verdicts.PASS, f"127.0.0.1:{wanted} (FORKLAB_PORT) is free")


def _on_engine(client: "docker.DockerClient") -> Iterator[Finding]:
    for name, check in _ON_ENGINE.items():
        try:
            yield from check(client)
        except LabError as error:
            yield Finding(name, verdicts.FAIL, *_split(error))
        except (DockerException, requests.RequestException) as error:
            yield Finding(name, verdicts.FAIL, engine.explain(error), "restart the engine, then run doctor again")


def _engine(client: "docker.DockerClient") -> Iterator[Finding]:
    version, info = client.version(), client.info()
    yield Finding(
        "engine",
        verdicts.PASS,
        f"{version['Version']} (API {version['ApiVersion']}), {version['Os']}/{version['Arch']}, "
        f"cgroup v{info.get('CgroupVersion', '1')}, {info['Driver']}, kernel {info['KernelVersion']}, "
        f"at {engine.endpoint()}",
    )


def _disk(client: "docker.DockerClient") -> Iterator[Finding]:
    """The API does not tell; the engine's folder does, if it is on this computer."""
    folder = client.info()["DockerRootDir"]
    try:
        free = shutil.disk_usage(folder).free
    except OSError:
        yield Finding("disk", verdicts.INFO, "the engine's disk cannot be seen from here")
        return
    what = f"{free / 1e9:.1f} GB free in {folder}"
    if free < _ROOM:
        yield Finding("disk", verdicts.WARN, what, "`docker system prune` frees what no container uses")
    else:
        yield Finding("disk", verdicts.PASS, what)


def _base(client: "docker.DockerClient") -> Iterator[Finding]:
    origin = base.origin(client)
    if origin:
        yield Finding("base", verdicts.PASS, f"{base.BASE}, {origin}")
    else:
        yield Finding("base", verdicts.INFO, f"no {base.BASE} yet", "./lab build gets or makes it")


def _images(client: "docker.DockerClient") -> Iterator[Finding]:
    stale = images.stale(client)
    for name in images.IMAGES:
        if name in stale:
            yield Finding(name, verdicts.INFO, "missing, or from other sources", "./lab build, or ./lab up, builds it")
        else:
            yield Finding(name, verdicts.PASS, "built from this checkout's sources")


def _leftovers(client: "docker.DockerClient") -> Iterator[Finding]:
    """All labs on the engine: this checkout's, and those of other checkouts and runs."""
    containers = client.api.containers(all=True, filters={"label": "forklab"})
    count = Counter((_project(c), c["State"] == "running") for c in containers)
    for (project, running), number in sorted(count.items()):
        what = f"{project}: {number} {'running' if running else 'stopped'} container{'s' * (number > 1)}"
        if running:
            yield Finding("labs", verdicts.INFO, what)
        else:
            yield Finding("labs", verdicts.WARN, what, "./lab clean removes them (--dry-run shows what)")
    if not count:
        yield Finding("labs", verdicts.PASS, "no container of a lab")


def _project(container: dict[str, Any]) -> str:
    return container["Labels"].get("com.docker.compose.project") or "without a project"


def _features(client: "docker.DockerClient") -> Iterator[Finding]:
    """Tried for real by the probe, with its rights, in a network namespace of its own that goes with it."""
    if "forklab-probe" in images.stale(client):
        yield Finding("kernel", verdicts.INFO, "its features were not tried: no current probe image", "./lab build")
        return
    answer = client.containers.run(
        "forklab-probe",
        ["features"],
        network_mode="none",
        cap_drop=["ALL"],
        cap_add=["SYS_PTRACE", "NET_ADMIN", "NET_RAW"],
        labels={"forklab": "container"},
        read_only=True,
        security_opt=["no-new-privileges:true"],
        remove=True,
    )
    for name, works in json.loads(answer)["features"].items():
        if works:
            yield Finding(f"kernel-{name}", verdicts.PASS, "works")
        else:
            what = f"does not work here: {_FOR.get(name, 'it is tried and missed')}"
            yield Finding(f"kernel-{name}", verdicts.WARN, what, "a kernel that has it, if you need it")


_ON_ENGINE: dict[str, Callable[["docker.DockerClient"], Iterator[Finding]]] = {
    "engine": _engine,
    "disk": _disk,
    "base": _base,
    "images": _images,
    "labs": _leftovers,
    "kernel": _features,
}
"""What is examined on an engine that answers, in this order: first the engine itself."""
