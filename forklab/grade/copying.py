"""What COPY and ADD of a Dockerfile copy: files of the submission, or of another container, as tars for the engine."""

import contextlib
import fnmatch
import io
import os
import posixpath
import re
import stat
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from forklab.errors import UsageError
from forklab.grade.box import Box
from forklab.grade.submission import Submission

MOST_BYTES = 256 << 20
"""That one COPY may take out of another stage."""

_IGNORE = ".dockerignore"
_ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
_MOST_PATTERNS, _LONGEST_IGNORE = 200, 8 << 10
_ANY = "**"
_MOST_NAMES = 1 << 20
"""Bytes of /etc/passwd."""


@dataclass(frozen=True)
class Look:
    """How files look in the image: whose they are, and their mode, if it is not that of the source."""

    uid: int = 0
    gid: int = 0
    mode: int | None = None

    def give(self, member: tarfile.TarInfo) -> tarfile.TarInfo:
        """Let a member look so."""
        member.uid, member.gid, member.uname, member.gname, member.pax_headers = self.uid, self.gid, "", "", {}
        if self.mode is not None and (member.isreg() or member.isdir()):
            member.mode = self.mode
        return member


@dataclass(frozen=True)
class Source:
    """One thing to copy.

    Attributes:
        name: of a file; empty: it is what a folder holds.
        tar: makes a tar of it, in which a file has the name that is given.
    """

    name: str
    tar: "Callable[[str, Look], AbstractContextManager[IO[bytes]]]"


def sent(submission: Submission) -> dict[str, Path]:
    """The files of a submission without those that its .dockerignore leaves out, by their names.

    Not by the SDK's ``exclude_paths``, whose regular expressions some patterns keep busy for ever.

    Raises:
        UsageError: it has too many patterns, or too long ones.
    """
    ignore = submission.files.get(_IGNORE)
    if not ignore or not ignore.is_file() or ignore.is_symlink():
        return submission.files
    with ignore.open(encoding="utf-8", errors="replace") as file:
        text = file.read(_LONGEST_IGNORE + 1)
    lines = [line.strip() for line in text.splitlines()]
    if len(text) > _LONGEST_IGNORE or max(len(lines), text.count(_ANY)) > _MOST_PATTERNS:
        raise UsageError(
            f"{_IGNORE} has more than {_LONGEST_IGNORE >> 10} KiB, {_MOST_PATTERNS} lines or {_MOST_PATTERNS} times **"
        )
    patterns = [_Pattern(line) for line in lines if line and not line.startswith("#")]
    return {name: path for name, path in submission.files.items() if not _ignored(name, patterns)}


class _Pattern:
    """A line of .dockerignore; ``takes`` is False behind a !."""

    def __init__(self, line: str) -> None:
        self.takes = not line.startswith("!")
        parts = posixpath.normpath(line.lstrip("!").strip().lstrip("/")).split("/")
        # Several ** say the same as one. Compiled by ourselves: fnmatch keeps few of them.
        kept = [part for part, before in zip(parts, ["", *parts], strict=False) if not part == before == _ANY]
        self._parts = [None if part == _ANY else re.compile(fnmatch.translate(part)).match for part in kept]

    def fits(self, parts: Sequence[str]) -> bool:
        """Whether it names a file, or a folder that it is in; ** stands for any number of parts.

        All places of the pattern where one may be are followed at once: one after the other they take a time that
        grows with each ``**``.
        """
        places, end = {0}, len(self._parts)
        for part in parts:
            places |= {place + 1 for place in places if not self._parts[place]}
            if end in places:
                return True
            ahead = {place + 1 for place in places if (fits := self._parts[place]) and fits(part)}
            if end in ahead:
                return True
            places = ahead | {place for place in places if not self._parts[place]}
        return False


def _ignored(name: str, patterns: Sequence[_Pattern]) -> bool:
    """Whether the last pattern that fits a file has no ! before it."""
    parts = name.split("/")
    return next((pattern.takes for pattern in reversed(patterns) if pattern.fits(parts)), False)


def of_folder(files: Mapping[str, Path], pattern: str, *, add: bool = False) -> list[Source]:
    """What a source of COPY names in the submission; ``add``: it is one of ADD.

    Raises:
        ValueError: nothing.
    """
    if add and pattern.endswith(_ARCHIVES):
        raise ValueError(f"ADD does not unpack {pattern} here: COPY it, and unpack it in a RUN")
    name = posixpath.normpath(pattern.lstrip("/") or ".")
    if name == ".":
        return [Source("", _packer(files))]
    found = []
    for match in sorted(_matching(files, name)):
        if match in files:
            found.append(Source(posixpath.basename(match), _packer({"": files[match]})))
        else:
            below = {
                each.removeprefix(f"{match}/"): path for each, path in files.items() if each.startswith(f"{match}/")
            }
            found.append(Source("", _packer(below)))
    if not found:
        raise ValueError(
            f"there is no {pattern} in the folder" + f", without what {_IGNORE} names" * (_IGNORE in files)
        )
    return found


def of_container(box: Box, name: str) -> Source:
    """What a source of COPY --from names in a container.

    Raises:
        ValueError: nothing.
    """
    if set(name) & set("*?["):
        raise ValueError(f"COPY --from takes names, no patterns: {name}")
    kind, path = box.look(posixpath.join("/", name))
    if kind == "dir":
        return Source("", lambda target, look: _moved(box.get(f"{path.rstrip('/')}/."), target, look))
    if kind == "file":
        return Source(posixpath.basename(name), lambda target, look: _moved(box.get(path), target, look))
    raise ValueError(f"there is no {name} there")


def look(box: Box, owner: str, mode: str) -> Look:
    """What --chown and --chmod say; the container knows names.

    Raises:
        ValueError: there is no such user or group, or the mode is no number.
    """
    user, _, group = owner.partition(":")
    uid = _number(box, user, "/etc/passwd") if user else 0
    gid = _number(box, group, "/etc/group") if group else uid
    try:
        return Look(uid, gid, int(mode, 8) if mode else None)
    except ValueError:
        raise ValueError(f"--chmod={mode} is no mode such as 755") from None


def _number(box: Box, name: str, file: str) -> int:
    if name.isascii() and name.isdigit():
        return int(name)
    kind, path = box.look(file)
    rows: Iterable[bytes] = ()
    if kind == "file":
        with _moved(box.get(path), "names", Look(), most=_MOST_NAMES) as copy, tarfile.open(fileobj=copy) as tar:
            text = tar.extractfile("names")
            rows = text.read().splitlines() if text else ()
    for row in rows:
        fields = row.decode(errors="replace").split(":")
        if fields[0] == name and len(fields) > 2 and fields[2].isdigit():
            return int(fields[2])
    raise ValueError(f"there is no {name} in its {file}")


def _matching(files: Mapping[str, Path], pattern: str) -> set[str]:
    """The files and folders whose names fit, part by part: * stands for no / (path.Match of Go)."""
    parts = pattern.split("/")
    there = {"/".join(name.split("/")[: len(parts)]) for name in files}
    return {
        name
        for name in there
        if name.count("/") == len(parts) - 1
        and all(fnmatch.fnmatchcase(each, part) for each, part in zip(name.split("/"), parts, strict=True))
    }


def _packer(files: Mapping[str, Path]) -> "Callable[[str, Look], AbstractContextManager[IO[bytes]]]":
    return lambda target, look: _packed({name or target: path for name, path in files.items()}, look)


@contextlib.contextmanager
def _packed(files: Mapping[str, Path], look: Look) -> Iterator[IO[bytes]]:
    """A tar of files, with the folders that their names have: the engine would let everybody write into those."""
    folders: set[str] = set()
    with tempfile.TemporaryFile() as made:
        with tarfile.open(fileobj=made, mode="w") as tar:
            for name, path in sorted(files.items()):
                parts = name.split("/")
                for above in ("/".join(parts[:depth]) for depth in range(1, len(parts))):
                    if above not in folders:
                        folders.add(above)
                        folder = tarfile.TarInfo(above)
                        folder.type, folder.mode = tarfile.DIRTYPE, 0o755
                        tar.addfile(look.give(folder))
                tar.inodes.clear()  # type: ignore[attr-defined]  # as in Submission.packed
                member = tar.gettarinfo(path, name)
                member.mode = stat.S_IMODE(member.mode) if os.name == "posix" else 0o755  # Windows has no execute bit
                if member.isreg():
                    with path.open("rb") as content:
                        tar.addfile(look.give(member), content)
                elif member.issym():
                    tar.addfile(look.give(member))
        made.seek(0)
        yield made


@contextlib.contextmanager
def _moved(pieces: Iterator[bytes], target: str, look: Look, *, most: int = MOST_BYTES) -> Iterator[IO[bytes]]:
    """The tar of a file or folder as the engine hands it out, with other names: a file is ``target``.

    Raises:
        ValueError: it is larger than ``most`` bytes.
    """
    top, size = "", 0
    with tempfile.TemporaryFile() as made:
        with tarfile.open(fileobj=_Pieces(pieces), mode="r|") as given, tarfile.open(fileobj=made, mode="w") as tar:
            for member in given:
                size += tarfile.BLOCKSIZE + member.size
                if size > most:
                    raise ValueError(f"it has more than {most >> 20} MiB")
                if not top:
                    top = member.name
                    if member.isdir():
                        continue
                    member.name = target
                else:
                    member.name = member.name[len(top) + 1 :]
                member.linkname = member.linkname[len(top) + 1 :] if member.islnk() else member.linkname
                if member.isreg():
                    tar.addfile(look.give(member), given.extractfile(member))
                elif member.isdir() or member.issym() or member.islnk():
                    tar.addfile(look.give(member))
        made.seek(0)
        yield made


class _Pieces(io.RawIOBase):
    """Bytes that come in pieces, as a file."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces, self._rest = pieces, b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._rest = self._rest or next(self._pieces, b"")
        count = min(len(buffer), len(self._rest))
        buffer[:count], self._rest = self._rest[:count], self._rest[count:]
        return count
