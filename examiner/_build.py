"""Makes a program of what was submitted: as a user and within limits, for a compiler can be bombed, too."""

import contextlib
import os
import re
import resource
import shlex
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from examiner import _jail
from examiner._subject import Program, since
from probe.processes import status

HOST, PORT = "{host}", "{port}"

COMMENT = re.compile(r"/\*.*?(?:\*/|\Z)|//[^\n]*", re.DOTALL)
"""Also one that does not end: else each ``/*`` after it would be looked for up to the end of the file."""

MAKEFILES = ("Makefile", "makefile", "GNUmakefile")

C_FLAGS = ("-g", "-O1", "-Wall", "-Wextra", "-pthread")
"""-O1: enough for the warnings that need the flow of the program, and the lines still fit in a debugger."""

LIMITS = {
    resource.RLIMIT_NPROC: (128, 128),
    resource.RLIMIT_AS: (2 << 30, 2 << 30),
    resource.RLIMIT_CPU: (20, 20),
    resource.RLIMIT_FSIZE: (64 << 20, 64 << 20),
}
_SECONDS = 60.0
_IDLE_SECONDS = 10.0
"""A build in which nothing runs for so long waits for what never comes."""
_PAUSE = 0.02
_LINES, _FEW = 40, 10
_MOST_FILES, _MOST_BYTES = 2000, 16 << 20
"""Of the folder in which an image is started: as many as a submission may have."""


class CannotBuild(Exception):
    """There is no program: what was wrong; ``said`` are the compiler's words."""

    def __init__(self, words: str, said: list[str]) -> None:
        super().__init__(words)
        self.said = said


@dataclass
class Built:
    """How to start the subject, and what the compiler said although it compiled."""

    program: Program
    warnings: list[str] = field(default_factory=list)


def build(
    source: Path, target: Path, user: _jail.User, *, main: str, command: str, arguments: tuple[str, ...] = (PORT,)
) -> Built:
    """Make the program of the submission in ``source``, in the folder ``target``.

    Args:
        source: what was submitted.
        target: a folder to make, of ``user``.
        user: who compiles.
        main: the file to compile or start; empty: the folder says how, by CMakeLists.txt, Makefile, or its only source.
        command: how to start it, with ``{port}``; empty: the program and the ``arguments``.
        arguments: for a server the port, for a client the host, too.

    Raises:
        CannotBuild: it does not compile, or it is not clear what to start.
    """
    user.make_folder(target, source)
    said: list[str] = []
    program = ""
    if main:
        program, said = _of_sources([main], target, user)
    elif (target / "CMakeLists.txt").is_file():
        said = _run(["cmake", "-S", ".", "-B", "."], target, user, "cmake does not take CMakeLists.txt")
        said += _run(["cmake", "--build", "."], target, user, "the project does not build")
        program = "" if command else _made(target)
    elif any((target / name).is_file() for name in MAKEFILES):
        said = _run(["make"], target, user, "make fails")
        program = "" if command else _made(target)
    elif sources := _sources(
        target, ("client", "main") if HOST in arguments else ("server", "main"), told=bool(command)
    ):
        program, said = _of_sources(sources, target, user)
    elif not command:
        raise CannotBuild(
            "the folder has no Makefile, CMakeLists.txt or Dockerfile, and no .c or .py file at its top: "
            "say how to start it with --run",
            [],
        )
    words = tuple(shlex.split(command)) if command else (*_start(program), *arguments)
    warnings = [line for line in said if "warning:" in line]
    return Built(Program(words, target), warnings[:_LINES])


def of_image(image: Mapping[str, Any], root: Path) -> Built:
    """The program of an image that the host has built, in the file system ``root``.

    Args:
        image: ``words``, ``folder`` and ``environment`` as a Dockerfile says them, and the ``warnings`` of compilers;
            or its ``trouble``, with what was ``said``.
        root: as ``_jail.User`` has it.

    Raises:
        CannotBuild: there is no image.
    """
    if "trouble" in image:
        raise CannotBuild(image["trouble"], image["said"])
    folder = Path(image["folder"])
    copied = _jail.User(None, root).run(lambda: _check_small(folder))
    program = Program(tuple(image["words"]), folder, image["environment"], in_place=not copied)
    return Built(program, image["warnings"][:_LINES])


def _check_small(folder: Path) -> None:
    """Each run gets a copy of it.

    Raises:
        ValueError: it is too large for that.
    """
    files = size = 0
    for place, folders, names in os.walk(folder):
        files += len(folders) + len(names)
        size += sum(os.lstat(os.path.join(place, name)).st_size for name in names)
        if files > _MOST_FILES or size > _MOST_BYTES:
            raise ValueError(folder)


def _of_sources(names: list[str], folder: Path, user: _jail.User) -> tuple[str, list[str]]:
    """The program of these files, which are all in C or only one; what the compiler said.

    Raises:
        CannotBuild: it does not compile.
    """
    if not names[0].endswith(".c"):
        return names[0], []
    program = "program" if (folder / "server").exists() else "server"
    trouble = f"{' '.join(names)} {'does' if len(names) == 1 else 'do'} not compile"
    return program, _run(["gcc", *C_FLAGS, "-o", program, *names, "-lm"], folder, user, trouble)


def _sources(folder: Path, usual: tuple[str, ...], *, told: bool) -> list[str]:
    """The files at the top of a folder that are the program, the one with its ``main`` first; empty if there are none.

    Args:
        folder: of the submission, without anything that says how it is built.
        usual: how the file that is started is called, without its ending.
        told: it is known how to start it: then what is not clear need not be.

    Raises:
        CannotBuild: several could be it.
    """
    there = (path for path in sorted(folder.iterdir()) if path.is_file() and not path.is_symlink())
    files = [path for path in there if path.suffix in (".c", ".py")]
    others = {path.name for path in files if path.suffix == ".c" and not _has_main(path)}
    starts = [path.name for path in files if path.name not in others] or sorted(others)[:1]
    for stem in usual if len(starts) > 1 else ():
        starts = [name for name in starts if Path(name).stem == stem] or starts
    if len(starts) > 1:
        if told:
            return []
        raise CannotBuild(
            f"which file is to be started? there are {', '.join(starts)}: call one {usual[0]}.c or {usual[0]}.py, "
            "add a Makefile, or say how to start it with --run",
            [],
        )
    return starts + (sorted(others - {*starts}) if starts and starts[0].endswith(".c") else [])


def _has_main(path: Path) -> bool:
    text = COMMENT.sub("", path.read_text(errors="replace"))
    return bool(re.search(r"\bmain\s*\(", text))


def _start(program: str) -> tuple[str, ...]:
    return ("python3", program) if program.endswith(".py") else (f"./{program}",)


def _made(folder: Path) -> str:
    """The one program in a folder that was built: ``server``, or the only one.

    Raises:
        CannotBuild: there is none, or there are several.
    """
    found = sorted(
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if "CMakeFiles" not in path.parts and os.access(path, os.X_OK) and _jail.is_program(path)
    )
    chosen = [name for name in found if Path(name).name == "server"] or found
    if len(chosen) != 1:
        more = f" and {len(found) - _FEW} more" if len(found) > _FEW else ""
        there = f"there are {', '.join(found[:_FEW])}{more}" if found else "there is none"
        raise CannotBuild(f"which program is the server? {there}; say it with --run './NAME {{port}}'", [])
    return chosen[0]


def _run(words: list[str], folder: Path, user: _jail.User, trouble: str) -> list[str]:
    """Run a compiler; the lines that it said.

    Raises:
        CannotBuild: it failed, or did not end.
    """
    try:
        process = _jail.start(words, folder, user, LIMITS)
    except OSError as error:
        raise CannotBuild(f"{words[0]} cannot be started: {error.strerror}", []) from None
    assert process.stdout
    output = _jail.Output(process.stdout.fileno())
    spent = idle = 0.0
    before = time.monotonic()
    try:
        while process.poll() is None and spent < _SECONDS and idle < _IDLE_SECONDS:
            time.sleep(_PAUSE)
            passed, before = since(before)
            spent += passed
            idle = 0.0 if user.runs() else idle + passed
    finally:
        in_time = process.poll() is not None
        left = "" if in_time else _names(user.processes())
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
        code = process.wait()
        user.sweep()
        lines = output.text(ended=True).splitlines()
        process.stdout.close()
    if not in_time:
        waits = f"waits for something: nothing of it ran for {_IDLE_SECONDS:.0f} seconds; asleep: {left}"
        why = waits if spent < _SECONDS else f"did not end within {_SECONDS:.0f} seconds"
        raise CannotBuild(f"{trouble}: {words[0]} {why}", lines[:_LINES])
    if code != 0:
        raise CannotBuild(f"{trouble}: {_end(words[0], code)}", lines[:_LINES])
    return lines


def _names(pids: Iterable[int]) -> str:
    names = []
    for pid in pids:
        with contextlib.suppress(OSError):  # it has just ended
            names.append(status(pid)["Name"])
    return ", ".join(names[:_FEW])


def _end(name: str, code: int) -> str:
    if code < 0:
        return f"{name} was killed by signal {-code}; it may take 20 s of processor time and 2 GiB of memory"
    return f"{name} ended with exit status {code}"
