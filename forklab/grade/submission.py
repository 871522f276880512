"""What is graded: a file or a folder of this computer, packed for the examiner. Nothing of it is run here."""

import io
import os
import posixpath
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from forklab.errors import UsageError

MOST_BYTES = 16 << 20
"""Of all files together with their headers in the tar; the examiner takes no more."""
MOST_FILES = 2000
_DEEPEST = 100
"""Folders within folders: who unpacks them goes down one by one."""

LEFT_OUT = {".git", ".hg", ".svn", "__pycache__", ".venv", "venv", "node_modules", ".idea", ".vscode"}
"""Folders that are no part of a program."""

SOURCES = {".c", ".h", ".cc", ".cpp", ".hpp", ".py"}
_MOST_READ = 1 << 20
"""Letters of all sources together: every check that fails looks through them."""
_MOST_LINES = 3
_LONGEST_LINE = 100
_LONGEST_NAME = 3000
"""Bytes: a path may have 4095 (path_resolution(7)), and the examiner puts its own before it."""


@dataclass(frozen=True)
class Submission:
    """A program to grade.

    Attributes:
        path: as the user gave it.
        main: the file to compile or to start; empty: what is in the folder says how.
        files: what is in it, by the name that it has in there.
    """

    path: Path
    main: str
    files: dict[str, Path]

    @classmethod
    def at(cls, path: Path) -> "Submission":
        """What is there.

        Raises:
            UsageError: there is nothing that could be graded.
        """
        if path.is_file():
            # To gcc a - in front is an option; bytes that are no text do not reach the examiner's command line.
            plain = path.name.isprintable() and not path.name.startswith("-")
            name = path.name if plain else "submission" + (path.suffix if path.suffix in SOURCES else "")
            return cls(path, name, {name: path.resolve()})
        if not path.is_dir():
            raise UsageError(f"there is no {path}; grade takes a .c or .py file, an executable, or a folder")
        files = dict(_walk(path))
        if not files:
            raise UsageError(f"the folder {path} is empty; grade takes a .c or .py file, an executable, or a folder")
        return cls(path, "", files)

    @property
    def dockerfile(self) -> Path | None:
        """The Dockerfile of a folder that is built by one."""
        found = self.files.get("Dockerfile") if not self.main else None
        return found if found and found.is_file() and not found.is_symlink() else None

    def packed(self) -> bytes:
        """A tar of its files, and of the links that stay in it: the same bytes, whoever packs it where.

        Raises:
            UsageError: it is too large, or cannot be read.
        """
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            for name, file in sorted(self.files.items()):
                try:
                    if len(os.fsencode(name)) > _LONGEST_NAME:
                        raise UsageError(f"{file} is too deep: its name has more than {_LONGEST_NAME} bytes")
                    # A second name of a file must have its content, too, and not be a hard link to the first.
                    tar.inodes.clear()  # type: ignore[attr-defined]
                    member = tar.gettarinfo(file, name)
                    if member is None:  # a socket
                        continue
                    member.uid = member.gid = member.mtime = 0
                    member.uname = member.gname = ""
                    self._check(buffer.tell() + member.size)
                    if member.isreg():
                        with file.open("rb") as content:
                            tar.addfile(member, content)
                    elif member.issym() and self._leads_inside(file, name):
                        # With its .. in front: behind a name they would depend on which links are there already.
                        member.linkname = posixpath.normpath(member.linkname)
                        tar.addfile(member)
                except OSError as error:
                    raise UsageError(f"cannot read {file}: {error.strerror or error}") from None
        self._check(buffer.tell())
        return buffer.getvalue()

    def _leads_inside(self, link: Path, name: str) -> bool:
        """Whether a link leads to a place in the folder; others are left out: in the container nothing is there.

        Also by its words: one that leads out and in again needs the name of the folder, which the container's has not.
        """
        target = os.readlink(link)
        place = posixpath.normpath(posixpath.join(posixpath.dirname(name), target))
        if os.path.isabs(target) or place.split("/")[0] == "..":
            return False
        try:
            return link.resolve().is_relative_to(self.path.resolve())
        except (OSError, RuntimeError):  # it leads to itself
            return False

    def _check(self, size: int) -> None:
        if size > MOST_BYTES:
            raise UsageError(
                f"{self.path} has more than {MOST_BYTES >> 20} MiB; leave out what is no part of the program"
            )

    def lines(self, pattern: str) -> list[str]:
        """The first lines of its sources that fit: ``name:number: text``."""
        wanted = re.compile(pattern)
        found, left = [], _MOST_READ
        for name, file in sorted(self.files.items()):
            if file.suffix in SOURCES and file.is_file() and not file.is_symlink():
                with file.open(encoding="utf-8", errors="replace") as source:
                    text = source.read(left)
                left -= len(text)
                code = _without_comments(text, file.suffix)
                for number, (line, shown) in enumerate(zip(code.splitlines(), text.splitlines(), strict=False), 1):
                    if wanted.search(line):
                        found.append(f"{name}:{number}: {shown.strip()[:_LONGEST_LINE]}")
        return found[:_MOST_LINES]


def _without_comments(text: str, suffix: str) -> str:
    """The same lines; what only looks like a comment, in a string, is lost too, which a hint can bear."""
    if suffix == ".py":
        return re.sub(r"#.*", "", text)
    # What has no end reaches to the end: else each further /* would be looked at as far as that.
    blank = re.sub(r"/\*.*?(?:\*/|\Z)", lambda found: "\n" * found[0].count("\n"), text, flags=re.DOTALL)
    return re.sub(r"//.*", "", blank)


def _walk(folder: Path) -> Iterator[tuple[str, Path]]:
    """Every file and link below a folder; links are not followed.

    Raises:
        UsageError: there are too many, they are too deep, or a folder cannot be read.
    """
    count, waiting = 0, [folder]
    while waiting:
        folder_now = waiting.pop()
        if len(folder_now.parts) - len(folder.parts) > _DEEPEST:
            raise UsageError(
                f"{folder} has more than {_DEEPEST} folders within each other; move the program further up"
            )
        try:
            inside = sorted(folder_now.iterdir())
        except OSError as error:
            raise UsageError(f"cannot read {folder_now}: {error.strerror or error}") from None
        for path in inside:
            if path.is_dir() and not path.is_symlink():
                if path.name not in LEFT_OUT:
                    waiting.append(path)
                continue
            count += 1
            if count > MOST_FILES:
                raise UsageError(f"{folder} has more than {MOST_FILES} files; is it the folder of one submission?")
            yield path.relative_to(folder).as_posix(), path
