"""Makes a program of what was submitted: as a user and within limits, for a compiler can be bombed, too."""

import contextlib
import os
import resource
import shlex
import time
from dataclasses import dataclass, field
from pathlib import Path

from examiner import _jail
from examiner._subject import Program

HOST, PORT = "{host}", "{port}"

C_FLAGS = ("-g", "-O1", "-Wall", "-Wextra", "-pthread")
"""-O1: enough for the warnings that need the flow of the program, and the lines still fit in a debugger."""

LIMITS = {
    resource.RLIMIT_NPROC: (128, 128),
    resource.RLIMIT_AS: (2 << 30, 2 << 30),
    resource.RLIMIT_CPU: (30, 30),
    resource.RLIMIT_FSIZE: (64 << 20, 64 << 20),
}
_SECONDS = 60.0
_LINES = 40


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
        main: the file to compile or start; empty: the folder says how, by CMakeLists.txt or Makefile.
        command: how to start it, with ``{port}``; empty: the program and the ``arguments``.
        arguments: for a server the port, for a client the host, too.

    Raises:
        CannotBuild: it does not compile, or it is not clear what to start.
    """
    user.make_folder(target, source)
    said: list[str] = []
    if main.endswith(".c"):
        program = "server" if main != "server" else "program"
        said = _run(["gcc", *C_FLAGS, "-o", program, main, "-lm"], target, user, f"{main} does not compile")
    elif main.endswith(".py") or main:
        program = main
    elif (target / "CMakeLists.txt").is_file():
        said = _run(["cmake", "-S", ".", "-B", "."], target, user, "cmake does not take CMakeLists.txt")
        said += _run(["cmake", "--build", "."], target, user, "the project does not build")
        program = "" if command else _made(target)
    elif any((target / name).is_file() for name in ("Makefile", "makefile", "GNUmakefile")):
        said = _run(["make"], target, user, "make fails")
        program = "" if command else _made(target)
    elif command:
        program = ""
    else:
        raise CannotBuild(
            "the folder has no Makefile, CMakeLists.txt or Dockerfile: say how to start it with --run", []
        )
    words = tuple(shlex.split(command)) if command else (*_start(program), *arguments)
    warnings = [line for line in said if "warning:" in line]
    return Built(Program(words, target), warnings[:_LINES])


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
        there = f"there are {', '.join(found)}" if found else "there is none"
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
    deadline = time.monotonic() + _SECONDS
    try:
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
    finally:
        in_time = process.poll() is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
        code = process.wait()
        user.sweep()
        lines = output.text(ended=True).splitlines()
        process.stdout.close()
    if not in_time:
        raise CannotBuild(f"{trouble}: {words[0]} did not end within {_SECONDS:.0f} seconds", lines[:_LINES])
    if code != 0:
        raise CannotBuild(f"{trouble}: {_end(words[0], code)}", lines[:_LINES])
    return lines


def _end(name: str, code: int) -> str:
    if code < 0:
        return f"{name} was killed by signal {-code}; it may take 30 s of processor time and 2 GiB of memory"
    return f"{name} ended with exit status {code}"
