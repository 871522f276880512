"""Gets the Debian that all images are built on: from a registry, else from Debian's package mirrors."""

import contextlib
import email
import json
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

import docker
from docker.errors import DockerException, ImageNotFound

from forklab import engine, provide
from forklab.errors import LabError, UsageError
from forklab.lock import Say

BASE = "forklab-base:trixie"
"""The base's name here, wherever it came from; the official name stays the registry's."""
_NAME, _TAG = BASE.split(":")
_OFFICIAL = "debian:trixie-slim"
_SUITE = "trixie"

_FIRST_EVENT = 20
"""Seconds until a registry must have named the image; the engine alone would try a silent one for minutes."""
_NEXT_EVENT = 60

_APT = Path("/etc/apt")
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_STEP = re.compile(r"I: ((?:running|downloading|extracting|installing|creating) .*?)\.*")
_ARCHITECTURES = {"386": "i386", "arm": "armhf", "ppc64le": "ppc64el"}
"""Where Go, and so the engine, names an architecture otherwise than Debian."""

# What Docker Hub's slim leaves out too. The image keeps the rules, so python3 comes without documentation as well.
_SLIM = (
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",
    "path-exclude=/usr/share/info/*",
    "path-exclude=/usr/share/locale/*",
    "path-exclude=/usr/share/man/*",
)


def ensure(client: "docker.DockerClient", say: Say) -> None:
    """Have ``BASE`` on the engine. Already there: nothing is done, and nobody asked.

    Else Docker Hub's image is pulled, unless FORKLAB_PULL is ``never``; else mmdebstrap makes the same Debian.

    Raises:
        UsageError: FORKLAB_PULL is neither empty nor ``missing`` nor ``never``.
        LabError: no way led to a base; the message has each one's reason.
    """
    policy = os.environ.get("FORKLAB_PULL", "")
    if policy not in ("", "missing", "never"):
        raise UsageError(f'FORKLAB_PULL="{policy}" is not one of: missing (the default), never')
    if present(client):
        return
    reasons = ["FORKLAB_PULL=never forbids to ask a registry"] if policy == "never" else []
    ways: list[Callable[[docker.DockerClient, Say], None]] = [_make] if policy == "never" else [_pull, _make]
    for way in ways:
        try:
            return way(client, say)
        except LabError as error:
            reasons.append(str(error))
            say(f"base: {error}")
    raise LabError(
        f"there is no base image: {'; '.join(reasons)}. "
        "Connect this computer once, or `./lab load FILE` what a colleague wrote with `./lab save FILE`"
    )


def present(client: "docker.DockerClient") -> bool:
    """The engine has ``BASE``.

    Raises:
        LabError: the engine does not tell.
    """
    return _image(client) is not None


def origin(client: "docker.DockerClient") -> str:
    """Where the base on the engine came from, in words; empty when there is none.

    Raises:
        LabError: the engine does not tell.
    """
    image = _image(client)
    if image is None:
        return ""
    return "made by mmdebstrap" if image.labels.get("forklab") == "base" else f"{_OFFICIAL} from a registry"


def sparingly(say: Say, seconds: float = 3.0) -> Say:
    """``say``, at most once in ``seconds``: for progress that comes in thousands of steps."""
    last = time.monotonic()

    def now_and_then(line: str) -> None:
        nonlocal last
        if time.monotonic() - last >= seconds:
            last = time.monotonic()
            say(line)

    return now_and_then


def _image(client: "docker.DockerClient") -> Any:
    with engine.trouble(f"cannot look for {BASE}"):
        try:
            return client.images.get(BASE)
        except ImageNotFound:
            return None


def pull(client: "docker.DockerClient", name: str, say: Say) -> None:
    """Get an image from its registry.

    Raises:
        LabError: it does not come, or the registry is silent.
    """
    say(f"base: pulling {name}")
    tell = sparingly(say)
    layers: dict[str, tuple[int, int]] = {}
    with engine.trouble(f"{name} cannot be pulled"):
        for event in _events(lambda: client.api.pull(name, stream=True, decode=True), name):
            if "error" in event:
                raise LabError(f"{name} cannot be pulled: {event['error']}")
            detail = event.get("progressDetail") or {}
            if event.get("status") == "Downloading" and detail.get("total"):
                layers[event["id"]] = (detail["current"], detail["total"])
                have, need = (sum(column) / 1e6 for column in zip(*layers.values(), strict=True))
                tell(f"base: pulling {name}, {have:.0f} of {need:.0f} MB")


def _pull(client: "docker.DockerClient", say: Say) -> None:
    pull(client, _OFFICIAL, say)
    with engine.trouble(f"{_OFFICIAL} cannot be named {BASE}"):
        client.api.tag(_OFFICIAL, _NAME, _TAG)


def _events(pull: Callable[[], Iterator[dict[str, Any]]], name: str) -> Iterator[dict[str, Any]]:
    """What ``pull`` yields, as long as it does not fall silent.

    The SDK waits for a pull without limit, hence the thread. One that is given up ends with this process.
    """
    arrived: queue.Queue[dict[str, Any] | Exception | None] = queue.Queue()

    def collect() -> None:
        try:
            for event in pull():
                arrived.put(event)
            arrived.put(None)
        except Exception as error:  # raised again where it is waited for
            arrived.put(error)

    threading.Thread(target=collect, daemon=True).start()
    patience = _FIRST_EVENT
    while True:
        try:
            event = arrived.get(timeout=patience)
        except queue.Empty:
            raise LabError(f"{name} cannot be pulled: the registry was silent for {patience} s") from None
        if event is None:
            return
        if isinstance(event, Exception):
            raise event
        yield event
        patience = _NEXT_EVENT


def _make(client: "docker.DockerClient", say: Say) -> None:
    """Mmdebstrap's tar goes straight into the engine: a run that is killed leaves no file and no image."""
    if not sys.platform.startswith("linux"):
        raise LabError("only a Debian or Ubuntu can make the base itself")
    _have_mmdebstrap(say)
    architecture = _architecture(client)
    mirror = _mirror()
    say(f"base: making Debian {_SUITE} with mmdebstrap from {mirror or 'the mirror it knows'}")
    command = [
        "mmdebstrap",
        "--variant=minbase",
        f"--architectures={architecture}",
        "--include=ca-certificates",
        '--aptopt=Acquire::Languages "none"',
        *(f"--dpkgopt={rule}" for rule in _SLIM),
        _SUITE,
        "-",
        *([f"deb [signed-by={_KEYRING}] {mirror} {_SUITE} main"] if mirror else []),
    ]
    with _tar_of(command, say) as tar, engine.trouble("the engine did not take the base"):
        answer = client.api.import_image_from_data(tar, _NAME, _TAG, changes=["LABEL forklab=base", 'CMD ["/bin/sh"]'])
        for line in answer.splitlines():
            if "error" in (event := json.loads(line)):
                raise DockerException(event["error"])


def _have_mmdebstrap(say: Say) -> None:
    missing = [] if shutil.which("mmdebstrap") else ["mmdebstrap"]
    if not _KEYRING.exists():
        missing.append("debian-archive-keyring")
    if not missing:
        return
    if not provide.debian_root():
        raise LabError(f"it cannot be made here without `sudo apt-get install {' '.join(missing)}`")
    provide.packages(say, *missing)


def _architecture(client: "docker.DockerClient") -> str:
    """The engine's, as Debian names it: the image has to run there.

    Raises:
        LabError: this computer's packages are for another one; mmdebstrap runs what it unpacks.
    """
    with engine.trouble("the engine does not tell its architecture"):
        go = client.version()["Arch"]
    wanted = _ARCHITECTURES.get(go, go)
    try:
        here = subprocess.run(["dpkg", "--print-architecture"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        raise LabError("dpkg does not tell this computer's architecture") from None
    if here.strip() != wanted:
        raise LabError(f"the engine needs a base for {wanted}, this computer makes one for {here.strip()}")
    return str(wanted)


def _mirror() -> str | None:
    """The mirror this Debian itself uses, if a container can use it too; None leaves the choice to mmdebstrap."""
    if provide.os_release("ID") != "debian":
        return None
    files = [_APT / "sources.list", *sorted((_APT / "sources.list.d").glob("*"))]
    codename = provide.os_release("VERSION_CODENAME")
    for file in files:
        with contextlib.suppress(OSError, UnicodeDecodeError):
            text = file.read_text(encoding="utf-8")
            sources = _deb822(text) if file.suffix == ".sources" else _one_line(text)
            for uri, suites, components, signed_by in sources:
                debians = codename in suites and "main" in components and (not signed_by or _KEYRING.stem in signed_by)
                if debians and _usable(uri):
                    return uri.rstrip("/")
    return None


_Source = tuple[str, list[str], list[str], str]
"""URI, suites, components, and the key that must have signed it."""


def _one_line(text: str) -> Iterator[_Source]:
    """One-line-style format of sources.list(5)."""
    for line in text.splitlines():
        match = re.match(r"\s*deb\s+(?:\[([^]]*)\]\s+)?(\S+)\s+(\S+)\s+([^#]*)", line)
        if match:
            options, uri, suite, components = match.groups(default="")
            signed_by = re.search(r"signed-by=(\S+)", options)
            yield uri, [suite], components.split(), signed_by[1] if signed_by else ""


def _deb822(text: str) -> Iterator[_Source]:
    """deb822-style format of sources.list(5): stanzas of fields, as in a mail's head."""
    plain = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE)
    for stanza in re.split(r"\n\s*\n", plain):
        fields = email.message_from_string(stanza)
        types, uris, suites, components = (
            fields.get(key, "").split() for key in ("Types", "URIs", "Suites", "Components")
        )
        if "deb" in types and fields.get("Enabled", "yes").lower() != "no":
            for uri in uris:
                yield uri, suites, components, fields.get("Signed-By", "")


def _usable(uri: str) -> bool:
    """Also from a container, where apt in a build uses it: not file:, not cdrom:, not on this computer's loopback."""
    parts = urlsplit(uri)
    local = parts.hostname in (None, "localhost", "::1") or str(parts.hostname).startswith("127.")
    return parts.scheme in ("http", "https") and not local and "debian" in uri


@contextlib.contextmanager
def _tar_of(command: list[str], say: Say) -> Iterator[Iterator[bytes]]:
    """What ``command`` writes, in pieces. However this is left, mmdebstrap is ended and cleans up after itself.

    It has a process group of its own, because it sends SIGHUP to all of its group when its tar finds no reader; and as
    its main process ignores SIGTERM while the others work, it is the group that is told to end.

    Its words go to a file. A pipe would break when this process is killed, and mmdebstrap would die of SIGPIPE at its
    next word, with /proc and /sys still mounted in its folder; the broken pipe for the tar it expects.
    """
    with tempfile.TemporaryFile() as words:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=words, start_new_session=True
        )
        assert process.stdout
        ended = threading.Event()
        teller = threading.Thread(target=_tell_steps, args=(words.fileno(), ended, say), daemon=True)
        teller.start()
        try:
            yield _pieces(process, process.stdout, words)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
            process.stdout.close()
            process.wait()
            ended.set()
            teller.join()


def _pieces(process: "subprocess.Popen[bytes]", output: IO[bytes], words: IO[bytes]) -> Iterator[bytes]:
    while piece := output.read(1 << 20):
        yield piece
    if process.wait():
        words.seek(0)
        # Raised in the middle of the upload, which then never ends well: the engine drops what it has.
        raise LabError(f"mmdebstrap failed: {_errors(words.read().decode(errors='replace').splitlines())}")


def _tell_steps(words: int, ended: threading.Event, say: Say) -> None:
    """Mmdebstrap names each step as "I: running apt-get update..."; pread(2) leaves its own place in the file alone."""
    began, done, rest = time.monotonic(), 0, b""
    while not ended.wait(0.2):
        new = os.pread(words, 65536, done)
        done += len(new)
        *lines, rest = (rest + new).split(b"\n")
        for line in lines:
            step = _STEP.fullmatch(line.decode(errors="replace").strip())
            if step:
                say(f"base: {step[1]}, {time.monotonic() - began:.0f} s")


def _errors(lines: list[str]) -> str:
    errors = [line for line in lines if line.startswith("E:")] or [line for line in lines if line.strip()]
    return " / ".join(errors[-3:]) or "(it said nothing)"
