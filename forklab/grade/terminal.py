"""A grading for a person: what failed first, with its evidence and how to mend it; what passed in one line."""

from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from forklab import show
from forklab.grade.catalogue import Check, groups
from forklab.grade.classroom import Student
from forklab.grade.outcome import TITLES, Outcome
from forklab.printable import printable
from protocol import verdicts


class Progress:
    """Says each result as it comes, on a terminal and beside one."""

    def __init__(self, console: Console, total: int) -> None:
        self._console, self._total, self._done = console, total, 0

    def tell(self, event: dict[str, Any]) -> None:
        """An event of the examiner."""
        if event["event"] == "model":
            self._say(f"it serves as {event['model']}; {self._total} checks")
        elif event["event"] == "result":
            self._done += 1
            self._say(f"{self._done:>3} {event['verdict']:<12} {event['id']} ({event['seconds']:.1f} s)")

    def _say(self, line: str) -> None:
        self._console.print(f"grade: {line}", markup=False, soft_wrap=True)


def report(outcome: Outcome) -> RenderableType:
    """The whole report."""
    parts: list[RenderableType] = []
    for verdict in (verdicts.FAIL, verdicts.ERROR, verdicts.WARN):
        parts += [_in_full(each, outcome.told(each)) for each in outcome.having(verdict)]
    for verdict in (verdicts.INCONCLUSIVE, verdicts.INFO):
        parts += [_in_short(each) for each in outcome.having(verdict)]
    for verdict in (verdicts.PASS, verdicts.SKIP):
        if found := outcome.having(verdict):
            names = ", ".join(each["id"] for each in found)
            parts.append(Text.assemble(show.verdict(verdict), f"  {len(found)} {TITLES[verdict]}: {names}"))
    return Group(*parts, Text(outcome.summary, style="bold"))


def _in_full(result: dict[str, Any], rows: Iterable[tuple[str, str]]) -> RenderableType:
    return Group(_heading(result), Padding(_filled(_grid(), rows), (0, 0, 1, 2)))


def _in_short(result: dict[str, Any]) -> RenderableType:
    rows = [("", result["actual"]), *(("", line) for line in result["evidence"]), ("again", result["replay"])]
    return Group(_heading(result), Padding(_filled(_grid(), rows), (0, 0, 1, 2)))


def _heading(result: dict[str, Any]) -> Text:
    return Text.assemble(show.verdict(result["verdict"]), "  ", (result["id"], "bold"))


def _grid() -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    return table


def _filled(table: Table, rows: Iterable[tuple[str, str]]) -> Table:
    for name, value in rows:
        if value:
            table.add_row(Text(name, style="dim"), Text(value))
    return table


def checks(known: Sequence[Check]) -> RenderableType:
    """All checks, in their groups."""
    table = _grid()
    for group, members in groups(known).items():
        table.add_row(Text(group, style="bold"), "")
        for check in members:
            table.add_row(Text(f"  {check.id}"), Text(check.summary))
    return table


def grades(students: Sequence[Student]) -> RenderableType:
    """A class: a line for each submission."""
    table = show.listing("", "submission", "score", "model", "failed")
    for student in students:
        found, name = student.outcome, Text(printable(student.name))
        if found is None:
            trouble = Text(f"not graded: {printable(student.trouble)}", style="red")
            table.add_row(name, Text("-"), Text(""), trouble)
            continue
        failed = ", ".join(each["id"] for each in found.having(verdicts.FAIL))
        table.add_row(name, Text(f"{found.score:g}"), Text(found.model), Text(failed))
    return table
