"""The servers with one flaw each, and their good twins: what the examiner itself is examined with (``tests/flawed/``).

``tests/flawed/twins/`` holds good servers. A flaw is a file ``tests/flawed/LANGUAGE/NAME.diff``: what is wrong, in a
sentence; a head; and changes of its twin, which read as those of ``diff -u`` without line numbers::

    The SIGCHLD handler waits once, however many children have ended.

    twin: fork.c
    fails: reap-burst

    @@
    -    while (waitpid(-1, NULL, WNOHANG) > 0)
    -        ;
    +    waitpid(-1, NULL, WNOHANG);

``fails`` names the check that must FAIL. ``also`` names those that may FAIL, too, for the same reason; ``service`` is
what it is graded for, if not ``echo``. What a change takes away must be in the twin exactly once.
"""

from dataclasses import dataclass, field
from pathlib import Path

from forklab.errors import LabError
from forklab.registry import ROOT

FOLDER = ROOT / "tests" / "flawed"
TWINS = FOLDER / "twins"
LANGUAGES = {"c": ".c", "python": ".py"}
_KEYS = {"twin", "fails", "also", "service"}


@dataclass(frozen=True)
class Flaw:
    """A server and what the examiner must find in it; ``fails`` is empty for a good twin.

    Attributes:
        name: of the flaw, or of the twin's file.
        language: ``c`` or ``python``.
        summary: what is wrong.
        program: its text.
        fails: the checks that must FAIL.
        also: those that may.
        service: what it is graded for.
    """

    name: str
    language: str
    summary: str
    program: str
    fails: tuple[str, ...] = ()
    also: tuple[str, ...] = field(default=())
    service: str = "echo"

    @property
    def file_name(self) -> str:
        """As a submission is called."""
        return f"{self.name.replace('-', '_').removesuffix(LANGUAGES[self.language])}{LANGUAGES[self.language]}"


def known() -> list[Flaw]:
    """The twins, then the flaws.

    Raises:
        LabError: a file is not as it must be.
    """
    flaws = [_read(file, language) for language in LANGUAGES for file in sorted((FOLDER / language).glob("*.diff"))]
    return [*twins(), *flaws]


def twins() -> list[Flaw]:
    """The good servers. What one is graded for stands in its name: ``store_fork.c``, ``client.c``; else it echoes."""
    found = []
    for language, suffix in LANGUAGES.items():
        for file in sorted(TWINS.glob(f"*{suffix}")):
            service = next((word for word in ("store", "client") if file.name.startswith(word)), "echo")
            text = file.read_text(encoding="utf-8")
            found.append(Flaw(file.name, language, "a good server", text, service=service))
    return found


def _read(file: Path, language: str) -> Flaw:
    text = file.read_text(encoding="utf-8")
    head, *hunks = text.split("\n@@\n")
    summary, *rows = (line for line in head.splitlines() if line.strip())
    said = dict(row.split(": ", 1) for row in rows)
    if not {"twin", "fails"} <= set(said) <= _KEYS:
        raise LabError(f"{_name(file)}: after the sentence come twin: and fails:, and maybe also: and service:")
    program = (TWINS / said["twin"]).read_text(encoding="utf-8")
    for hunk in hunks:
        program = _change(program, hunk.removesuffix("\n"), file)
    lists = {key: tuple(name.strip() for name in said.get(key, "").split(",") if name) for key in ("fails", "also")}
    return Flaw(file.stem, language, summary, program, service=said.get("service", "echo"), **lists)


def _change(program: str, hunk: str, file: Path) -> str:
    """Make one change.

    Raises:
        LabError: what it takes away is not in the program exactly once.
    """
    lines = hunk.strip("\n").split("\n")
    wrong = [line for line in lines if line[:1] not in ("", " ", "+", "-")]
    if wrong:
        raise LabError(f'{_name(file)}: a line of a change begins with a blank, "-" or "+", not as this: {wrong[0]}')
    old = "\n".join(["", *(line[1:] for line in lines if not line.startswith("+")), ""])
    new = "\n".join(["", *(line[1:] for line in lines if not line.startswith("-")), ""])
    if (count := f"\n{program}".count(old)) != 1:
        raise LabError(f"{_name(file)}: {count} places of the twin look like this, and not one:{old}")
    return f"\n{program}".replace(old, new)[1:]


def _name(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()
