"""A grading as Gradescope reads it from an autograder: results.json, with the points of each check.

Its form: gradescope-autograders.readthedocs.io, "Autograder Specifications", "Output Format".
"""

from typing import Any

from forklab.grade.outcome import Outcome
from protocol import verdicts

_MOST_CHARACTERS = 20_000
"""Of the words about one check; Gradescope shows them in a page."""


def document(outcome: Outcome) -> dict[str, Any]:
    """The content of results.json."""
    return {
        "score": outcome.score,
        "execution_time": round(sum(each["seconds"] for each in outcome.results)),
        "output": outcome.summary,
        "output_format": "text",
        "visibility": "visible",
        "stdout_visibility": "hidden",
        "tests": [_test(outcome, result) for result in outcome.in_order()],
    }


def refusal(words: str) -> dict[str, Any]:
    """For a submission that cannot be examined: no points, and why."""
    return {"score": 0, "output": words, "output_format": "text", "visibility": "visible", "tests": []}


def _test(outcome: Outcome, result: dict[str, Any]) -> dict[str, Any]:
    earned, most = outcome.points(result)
    words = "\n".join(f"{name:<9} {line}" for name, line in outcome.told(result))
    return {
        "name": f"{result['id']}: {result['verdict']}",
        "score": round(earned, 2),
        "max_score": round(most, 2),
        "status": "failed" if result["verdict"] in (verdicts.FAIL, verdicts.INCONCLUSIVE) else "passed",
        "output": words[:_MOST_CHARACTERS],
        "output_format": "text",
        "tags": [outcome.group(result) or "build"],
        "visibility": "visible",
    }
