"""What a class looks like: a table for a spreadsheet, the matrix of submissions and checks, and each student's page."""

import csv
import io
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from forklab.errors import UsageError
from forklab.grade import page
from forklab.grade.classroom import STUDENTS, Student
from forklab.grade.outcome import LETTERS, TITLES, Outcome
from forklab.harness.page import render
from protocol import verdicts

INDEX, TABLE = "index.html", "grades.csv"
_TEMPLATES = Path(__file__).parent / "templates"
_SIGNS = {**LETTERS, verdicts.PASS: "\N{CHECK MARK}"}
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""With one of these a spreadsheet takes a text for a formula."""


def write(students: Sequence[Student], out: Path) -> Path:
    """Write all of it into the folder of a class; the file to begin with.

    Raises:
        UsageError: a file cannot be written.
    """
    checks = _checks(students)
    files = {INDEX: matrix(students, checks), TABLE: table(students, checks)}
    for student in students:
        if student.outcome:
            files[f"{STUDENTS}/{student.stem}.html"] = _page(student, student.outcome)
    for name, content in files.items():
        try:
            (out / name).write_text(content, encoding="utf-8", errors="replace", newline="")
        except OSError as error:
            raise UsageError(f"cannot write {out / name}: {error.strerror}") from None
    return out / INDEX


def _page(student: Student, outcome: Outcome) -> str:
    """The page of a student; where it cannot be drawn, what happened: the others have theirs all the same."""
    try:
        return page.page(outcome)
    except Exception as error:
        told = f"{type(error).__name__}: {error}"
        values = {"outcome": outcome, "error": told, "kept": f"{student.stem}.json"}
        return render(_TEMPLATES, "undrawn.html", values, {}, page.harmless)


def _checks(students: Sequence[Student]) -> list[str]:
    """The checks that somebody was examined by, in the order of their weight."""
    outcomes = [student.outcome for student in students if student.outcome]
    met = {result["id"] for outcome in outcomes for result in outcome.results}
    return [check for check in (outcomes[0].checks if outcomes else {}) if check in met]


def table(students: Sequence[Student], checks: Sequence[str]) -> str:
    """For a spreadsheet: a line for each student. It begins with a byte order mark, or Excel would garble the names."""
    text = io.StringIO()
    lines = csv.writer(text)
    lines.writerow(["submission", "score", "of", "model", "failed", "not graded", *checks])
    for student in students:
        found = student.outcome
        verdict_of = _verdicts(student)
        row = [
            student.name,
            f"{found.score:g}" if found else "",
            f"{found.rubric.total:g}" if found else "",
            found.model if found else "",
            " ".join(check for check in checks if verdict_of.get(check) == verdicts.FAIL),
            student.trouble,
            *(verdict_of.get(check, "") for check in checks),
        ]
        lines.writerow([f"'{cell}" if cell.startswith(_FORMULA) else cell for cell in row])
    return f"\ufeff{text.getvalue()}"


def matrix(students: Sequence[Student], checks: Sequence[str]) -> str:
    """The page of a class: who fails what, and what is failed most."""
    failed = {check: sum(_verdicts(student).get(check) == verdicts.FAIL for student in students) for check in checks}
    scores = [student.outcome.score for student in students if student.outcome]
    values = {
        "students": [_row(student, checks) for student in students],
        "checks": checks,
        "most": sorted(((count, check) for check, count in failed.items() if count), reverse=True)[:5],
        "count": len(scores),
        "median": statistics.median(scores) if scores else None,
        "letters": {_SIGNS[word]: (word, title) for word, title in TITLES.items()},
        "folder": STUDENTS,
        "table": TABLE,
    }
    return render(_TEMPLATES, "class.html", values, {}, page.harmless)


def _row(student: Student, checks: Sequence[str]) -> dict[str, Any]:
    found = _verdicts(student)
    cells = [(check, found.get(check, ""), _SIGNS.get(found.get(check, ""), "")) for check in checks]
    return {"student": student, "outcome": student.outcome, "cells": cells}


def _verdicts(student: Student) -> dict[str, str]:
    return {each["id"]: each["verdict"] for each in student.outcome.results} if student.outcome else {}
