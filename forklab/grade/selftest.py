"""Examines the examiner: each flaw must fail its own check and no other, each good twin none."""

import contextlib
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from forklab import show
from forklab.errors import LabError, UsageError
from forklab.grade import container, crew, flaws
from forklab.grade.catalogue import CLIENT
from forklab.grade.crew import Job
from forklab.grade.flaws import Flaw
from forklab.grade.outcome import LETTERS
from forklab.grade.rubric import Rubric
from forklab.grade.submission import Submission
from forklab.grade.wish import Wish
from forklab.lab import Lab
from forklab.registry import CHECKS
from protocol import exits, verdicts


@dataclass
class Row:
    """One server of the matrix: the verdict of each check, what it found, and which FAIL another one explains."""

    flaw: Flaw
    found: dict[str, str] = field(default_factory=dict)
    actual: dict[str, str] = field(default_factory=dict)
    explained: set[str] = field(default_factory=set)

    @property
    def wrong(self) -> list[str]:
        """In words."""
        fails, allowed = self.flaw.fails, {*self.flaw.fails, *self.flaw.also, *self.explained}
        found = (verdicts.FAIL, verdicts.WARN, verdicts.INFO)
        missed = [check for check in fails if self.found.get(check) not in found]
        bad = (verdicts.FAIL, verdicts.ERROR)
        more = [check for check, word in self.found.items() if word in bad and check not in allowed]
        return [
            f"{check} is {self.found[check]}: {self.actual[check]}" if check in self.found else f"{check} is not run"
            for check in missed + more
        ]


def choose(only: str) -> list[Flaw]:
    """All flaws and twins, or those of one check: the flaws that it must find, and their kind of twin.

    Raises:
        UsageError: there is no such check.
    """
    known = flaws.known()
    if not only:
        return known
    check = CHECKS.check(only)
    found = [flaw for flaw in known if check in flaw.fails]
    if not found:
        raise UsageError(f"there is no flaw yet that {check} must find; see tests/flawed/")
    services = {flaw.service for flaw in found}
    good = [flaw for flaw in known if not flaw.fails and flaw.service in services]
    # What else such a server fails is not examined now.
    return [*good, *(replace(flaw, fails=(check,)) for flaw in found)]


def run(lab: Lab, chosen: list[Flaw], only: str, jobs: int, tell: Callable[[Row], None]) -> list[Row]:
    """Grade each one, so many at once (0: as processors and memory allow); ``tell`` gets each row as it is complete.

    Raises:
        LabError: the examiner broke.
    """
    lab.build([container.IMAGE])
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        flaws_of = {_job(flaw, Path(folder, str(number)), only): flaw for number, flaw in enumerate(chosen)}
        with contextlib.closing(crew.run(lab, list(flaws_of), jobs)) as done:
            for job in done:
                if job.outcome is None:
                    raise LabError(f"{flaws_of[job].name}: {job.trouble}")
                results = job.outcome.results
                found = {each["id"]: each["verdict"] for each in results}
                actual = {each["id"]: each["actual"] for each in results}
                explained = {each["id"] for each in results if job.outcome.explained(each)}
                rows[job] = Row(flaws_of[job], found, actual, explained)
                tell(rows[job])
    return [rows[job] for job in flaws_of]


def _job(flaw: Flaw, folder: Path, only: str) -> Job:
    folder.mkdir()
    path = folder / flaw.file_name
    path.write_text(flaw.program, encoding="utf-8", newline="\n")
    client = flaw.service == CLIENT
    service = "echo" if client else flaw.service
    wish = Wish.of(run="", service=service, model="any", check=only, core=False, client=client)
    submission = Submission.at(path)
    return Job(submission, submission.packed(), wish, Rubric())


def document(rows: list[Row]) -> dict[str, Any]:
    """For ``--json``."""
    return {
        "rows": [
            {
                "name": row.flaw.name,
                "language": row.flaw.language,
                "fails": row.flaw.fails,
                "verdicts": row.found,
                "wrong": row.wrong,
            }
            for row in rows
        ]
    }


def exit_code(rows: list[Row]) -> int:
    """1 if something is not as it must be."""
    return exits.FAILED if any(row.wrong for row in rows) else exits.OK


def line(row: Row) -> str:
    """One row as it is said while the others still run."""
    return f"{row.flaw.language} {row.flaw.name}: {'; '.join(row.wrong) or 'as it must be'}"


def report(rows: list[Row]) -> RenderableType:
    """The matrix: servers by checks, one letter each, and below it a line for each that is not as it must be."""
    checks = sorted({check for row in rows for check in row.found})
    width = max(len(row.flaw.name) for row in rows) + 1
    tens = "".join(str(number // 10) if number % 10 == 0 else " " for number in range(1, len(checks) + 1))
    units = "".join(str(number % 10) for number in range(1, len(checks) + 1))
    lines = []
    for language in sorted({row.flaw.language for row in rows}):
        lines += [Text(f"{'':{width}}{tens}"), Text(f"{language:{width}}{units}", style="bold")]
        for row in (row for row in rows if row.flaw.language == language):
            lines.append(Text.assemble(f"{row.flaw.name:{width}}", *(_cell(row, check) for check in checks)))
    names = "\n".join(f"{number:>3} {check}" for number, check in enumerate(checks, 1))
    letters = ", ".join(f"{letter} {word}" for word, letter in LETTERS.items())
    bad = [Text(line(row), style="bold red") for row in rows if row.wrong]
    verdict = show.verdict(verdicts.FAIL if bad else verdicts.PASS)
    last = Text.assemble(verdict, f"  {len(rows)} servers, {len(bad)} of them not as they must be")
    return Group(*lines, Text(names), Text(letters), *bad, last)


def _cell(row: Row, check: str) -> Text:
    word = row.found.get(check, "")
    style = "bold red" if any(wrong.startswith(f"{check} is") for wrong in row.wrong) else ""
    return Text(LETTERS.get(word, " "), style=style)
