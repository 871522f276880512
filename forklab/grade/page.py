"""A grading as one HTML file that loads nothing and needs no script: what failed first, with the time-line of each.

Everything that comes from the subject is text to be escaped and cut, and no control character of it reaches the page.
"""

import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from forklab.grade import picture
from forklab.grade.moments import timeline
from forklab.grade.outcome import TITLES, Outcome
from forklab.harness.page import render
from protocol import verdicts

IN_FULL = (verdicts.FAIL, verdicts.ERROR, verdicts.WARN, verdicts.INCONCLUSIVE, verdicts.INFO)
IN_SHORT = (verdicts.PASS, verdicts.SKIP)
MOST_LETTERS = 600
"""Of anything on the page."""
MOST_LINES = 40
"""Of evidence."""

_TEMPLATES = Path(__file__).parent / "templates"

_ROUND = r"\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\)"
"""What stands in brackets, three deep."""
_CODE = re.compile(
    rf"\b(?:while|if) {_ROUND}(?: \{{[^}}]*\}}|;| \w+(?:\([^()]*\))?;)?"
    rf"|\bint \*?\w+ = [^;]+;|\*?\b\w+ \+?= [\w.]+(?:{_ROUND}|;)"
    rf"|\b[\w.]+(?:-\w+)?{_ROUND}|\b[\w.]+\[\w+\]"
    r"|\b[a-z]\w*(?:\.\w+)+\b|\b\w*Error\b|\bSystemExit\b|(?<!\w)b''"
    r"|\b(?:[A-Z]+(?:_[A-Z]+)+|SIG[A-Z]{3,}|E[A-Z]{4,}|POLL[A-Z]+|WNOHANG|SOMAXCONN)\b"
)
"""What in a sentence is code, in C or in Python: calls, statements, names of constants and of modules' parts."""


def page(outcome: Outcome) -> str:
    """The page of one submission."""
    values = {
        "outcome": outcome,
        "counts": [(word, len(found)) for word in TITLES if (found := outcome.having(word))],
        "full": [(TITLES[word], _told(outcome, word)) for word in IN_FULL if outcome.having(word)],
        "short": [(TITLES[word], outcome.having(word)) for word in IN_SHORT if outcome.having(word)],
    }
    return render(_TEMPLATES, "report.html", values, {"code": code}, harmless)


def _told(outcome: Outcome, verdict: str) -> list[dict[str, Any]]:
    """The results with a verdict, each with what the page says of it."""
    return [_one(outcome, result) for result in outcome.having(verdict)]


def _one(outcome: Outcome, result: dict[str, Any]) -> dict[str, Any]:
    check = outcome.checks.get(result["id"])
    line = timeline(result.get("moments", []))
    number = outcome.results.index(result)
    evidence: Sequence[str] = result["evidence"]
    return {
        **result,
        "reference": check.reference if check else "",
        "explained": outcome.explained(result),
        "evidence": evidence[:MOST_LINES],
        "more": max(0, len(evidence) - MOST_LINES),
        "line": line,
        "svg": picture.svg(line, f"p{number}-", harmless) if line else "",
        "steps": picture.rows(line) if line else [],
    }


def code(text: str) -> list[tuple[bool, str]]:
    """A sentence in pieces: whether each is code, and the piece."""
    found, at = [], 0
    for match in _CODE.finditer(text):
        found += [(False, text[at : match.start()]), (True, match[0])]
        at = match.end()
    return [(is_code, piece) for is_code, piece in [*found, (False, text[at:])] if piece]


def harmless(value: object) -> object:
    """Text without what a browser acts on or UTF-8 has not, and not too long. What is HTML already stays."""
    if type(value) is not str:
        return value
    cut = value if len(value) <= MOST_LETTERS else f"{value[:MOST_LETTERS]} … ({len(value):,} letters)"
    return "".join("�" if unicodedata.category(letter) in ("Cc", "Cf", "Cs") else letter for letter in cut)
