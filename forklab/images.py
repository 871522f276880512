"""Knows which images the lab has, whether they fit this checkout, and carries them on a stick."""

import contextlib
import errno
import gzip
import hashlib
import json
import os
import shutil
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import docker
from docker.errors import ImageNotFound

from forklab import engine
from forklab.base import BASE, sparingly
from forklab.errors import LabError, UsageError
from forklab.lock import Say
from forklab.registry import ROOT

IMAGES = ("forklab-server", "forklab-client", "forklab-demo", "forklab-probe")
"""As docker-compose.yml names them; the tag is latest."""

ON_DEMAND = ("forklab-bench", "forklab-examiner")
"""Built only when asked for by name: what needs one builds it first. Saved if they are there."""

_BESIDES = {"forklab-bench": ("server", "client"), "forklab-demo": ("demos",), "forklab-examiner": ("probe",)}
"""The packages in an image besides the one of its name."""

_LABEL = "forklab.source"
_PIECE = 1 << 20


@dataclass(frozen=True)
class Saved:
    """A written file: its path, its size in bytes, and of each image the short id and the size in bytes."""

    path: Path
    size: int
    images: dict[str, tuple[str, int]]


def source(name: str) -> str:
    """The digest of what goes into the image ``name``: its packages, the protocol, the folder images.

    Line ends do not count, so a checkout on Windows has the same digest as the one the images came from.
    """
    packages = ("images", "protocol", name.removeprefix("forklab-"), *_BESIDES.get(name, ()))
    folders = [ROOT / package for package in packages]
    files = [file for folder in folders for file in folder.rglob("*")]
    digest = hashlib.sha256()
    for file in sorted(files, key=lambda file: file.relative_to(ROOT).as_posix()):
        if file.is_file() and "__pycache__" not in file.parts:
            content = file.read_bytes()
            text = content if b"\0" in content else content.replace(b"\r\n", b"\n")
            digest.update(f"{file.relative_to(ROOT).as_posix()}\0{len(text)}\0".encode() + text)
    return digest.hexdigest()


def environment() -> dict[str, str]:
    """The variables with which docker-compose.yml labels what it builds."""
    return {f"{name.upper().replace('-', '_')}_SOURCE": source(name) for name in IMAGES + ON_DEMAND}


def stale(client: "docker.DockerClient", names: Sequence[str] = IMAGES) -> list[str]:
    """The images among ``names`` that are missing, or were built from other sources than this checkout.

    Raises:
        LabError: the engine does not tell.
    """
    with engine.trouble("cannot look at the images"):
        return [name for name in names if _label(client, name) != source(name)]


def save(client: "docker.DockerClient", path: Path, say: Say) -> Saved:
    """Write all images that there are, and the base, into one file for ``load``, gzipped when ``path`` ends in .gz.

    The file appears under its name only when it is complete and was read back.

    Raises:
        UsageError: ``path`` cannot be a file.
        LabError: an image is missing, the disk is full, or the engine failed. Nothing is left of the file.
    """
    if path.is_dir() or not path.parent.is_dir():
        raise UsageError(f"cannot write {path}: {'it is a folder' if path.is_dir() else f'no folder {path.parent}'}")
    images = _to_save(client)
    need = _bytes(client, images)
    # A fixed name: what a killed run left is overwritten by the next one.
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as file:
            _write(client, list(images), file, zipped=path.suffix == ".gz", need=need, say=say)
            file.flush()
            os.fsync(file.fileno())
        say("save: reading it back")
        _contents(part)
        part.replace(path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise LabError(_cannot_write(path, error, need)) from None
        raise
    return Saved(path, path.stat().st_size, images)


def load(client: "docker.DockerClient", path: Path, say: Say) -> list[str]:
    """Take the images of a file that ``save`` wrote into the engine; answers with their names.

    Raises:
        UsageError: the file cannot be read, is not one of ours, is damaged, or is for another processor.
        LabError: the engine did not take it.
    """
    say(f"load: looking into {path}")
    architectures = _contents(path)
    _check_architecture(client, path, architectures)
    with engine.trouble(f"the engine did not take {path}"), path.open("rb") as file:
        pieces: Any = _pieces(file, path.stat().st_size, sparingly(say))
        loaded = client.images.load(pieces)
    if not loaded:
        raise LabError(f"the engine did not take {path}, and does not say why; restart it and try again")
    for name in stale(client):
        say(f"load: {name} was made from other sources than this checkout; the next ./lab up builds it anew")
    return list(architectures)


def _label(client: "docker.DockerClient", name: str) -> str | None:
    try:
        return client.images.get(f"{name}:latest").labels.get(_LABEL) or ""
    except ImageNotFound:
        return None


def _tags() -> list[str]:
    return [*(f"{name}:latest" for name in IMAGES), BASE]


def _more_tags() -> list[str]:
    return [f"{name}:latest" for name in ON_DEMAND]


def _to_save(client: "docker.DockerClient") -> dict[str, tuple[str, int]]:
    found, missing = {}, []
    with engine.trouble("cannot look at the images"):
        for tag in _tags() + _more_tags():
            try:
                image = client.images.get(tag)
                found[tag] = (image.short_id.removeprefix("sha256:"), image.attrs["Size"])
            except ImageNotFound:
                missing += [tag] if tag in _tags() else []
    if missing:
        raise LabError(f"nothing to save yet: there is no image {', '.join(missing)}; build first: ./lab build")
    return found


def _bytes(client: "docker.DockerClient", images: dict[str, tuple[str, int]]) -> int:
    """About how long the tar gets. What images share is in it once: those steps are the same in each history."""
    api: Any = client.api
    with engine.trouble("cannot look at the images"):
        steps = [step for tag in images for step in api.history(tag)]
    return sum({(step["Created"], step["CreatedBy"]): int(step["Size"]) for step in steps}.values())


def _write(
    client: "docker.DockerClient", tags: list[str], file: IO[bytes], *, zipped: bool, need: int, say: Say
) -> None:
    """The SDK saves one image a call; only one call with all of them writes what they share once."""
    tell = sparingly(say)
    api = client.api
    say(f"save: {', '.join(tags)}")
    with contextlib.ExitStack() as stack:
        stack.enter_context(engine.trouble("the engine did not hand out the images"))
        url = f"{api.base_url}/v{api.api_version}/images/get"
        answer = stack.enter_context(api.get(url, params={"names": tags}, stream=True, timeout=api.timeout))
        if not answer.ok:
            raise LabError(f"the engine did not hand out the images: {answer.text.strip()}")
        target = stack.enter_context(gzip.open(file, "wb", compresslevel=6)) if zipped else file
        done = 0
        for piece in answer.iter_content(_PIECE):
            target.write(piece)
            done += len(piece)
            tell(f"save: {done / 1e6:.0f} of about {need / 1e6:.0f} MB")


def _cannot_write(path: Path, error: OSError, need: int) -> str:
    if error.errno == errno.ENOSPC:
        free = shutil.disk_usage(path.parent).free
        return f"no space left for {path}: about {need / 1e6:.0f} MB are needed, {free / 1e6:.0f} MB are free"
    return f"cannot write {path}: {error.strerror or error}; choose another place"


def _contents(path: Path) -> dict[str, str]:
    """The names in a file of ours, each with its architecture, read without an engine.

    Raises:
        UsageError: it cannot be read, is damaged, or is not a file of ours.
    """
    try:
        with tarfile.open(path, "r:*") as tar:
            # Reads to the end: a file that was cut off has no manifest, or not the layers that it names.
            names = set(tar.getnames())
            manifest = _json(tar, "manifest.json")
            needed = {part for image in manifest for part in [image["Config"], *image["Layers"]]}
            if not needed <= names:
                raise UsageError(f"{path} is damaged: layers are missing; copy it again")
            found = {tag: _json(tar, image["Config"]) for image in manifest for tag in image["RepoTags"] or ()}
    except (EOFError, zlib.error):
        raise UsageError(f"{path} is damaged: it was cut off or changed; copy it again") from None
    except tarfile.ReadError as error:
        if "unexpected end" in str(error):
            raise UsageError(f"{path} is damaged: it was cut off; copy it again") from None
        raise UsageError(f"{path} is no file of ./lab save: it is no tar") from None
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from None
    except (KeyError, TypeError, ValueError):
        raise UsageError(f"{path} is no file of ./lab save: it is a tar without images, or was cut off") from None
    missing = [tag for tag in _tags() if tag not in found]
    if missing:
        raise UsageError(f"{path} is no file of ./lab save: it holds {', '.join(found) or 'no name'}, not {missing[0]}")
    return {tag: found[tag]["architecture"] for tag in _tags() + _more_tags() if tag in found}


def _json(tar: tarfile.TarFile, name: str) -> Any:
    member = tar.extractfile(name)
    if member is None:
        raise KeyError(name)
    with member:
        return json.load(member)


def _check_architecture(client: "docker.DockerClient", path: Path, architectures: dict[str, str]) -> None:
    """Even where the engine can emulate the other processor, strace cannot: ptrace(2) is not emulated."""
    with engine.trouble("the engine does not tell its architecture"):
        here = client.version()["Arch"]
    others = sorted(set(architectures.values()) - {here})
    if others:
        raise UsageError(
            f"{path} holds images for {', '.join(others)}, this engine runs {here}; save them on a computer with {here}"
        )


def _pieces(file: IO[bytes], size: int, tell: Say) -> Iterator[bytes]:
    done = 0
    while piece := file.read(_PIECE):
        yield piece
        done += len(piece)
        tell(f"load: {done / 1e6:.0f} of {size / 1e6:.0f} MB")
