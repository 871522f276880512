"""What came of a grading: the results, their score, the exit code; pure data, so that it can be kept."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from forklab.grade.catalogue import WEIGHTS, Check
from protocol import exits, verdicts

KEYS = ("id", "verdict", "requirement", "expected", "actual", "evidence", "cause", "mend")
"""Of a check in the document, as scripts rely on them."""

_EARN = {verdicts.PASS: True, verdicts.WARN: True, verdicts.FAIL: False, verdicts.INCONCLUSIVE: False}
"""Whether a verdict earns its check's points; what is not here counts neither way."""


@dataclass
class Outcome:
    """One graded submission.

    Attributes:
        subject: the path as it was given.
        model: how it serves, as it was found.
        command: how it was started.
        results: a mapping with KEYS, ``seconds``, and ``replay``, for each check, in the order of the checks.
        checks: all that there are, by id, in the order of their weight.
    """

    subject: str
    model: str = "unknown"
    command: str = ""
    results: list[dict[str, Any]] = field(default_factory=list)
    checks: dict[str, Check] = field(default_factory=dict)

    @classmethod
    def of(cls, subject: str, checks: Sequence[Check]) -> "Outcome":
        """An empty one."""
        return cls(subject, checks={check.id: check for check in checks})

    def having(self, *words: str) -> list[dict[str, Any]]:
        """The results with one of these verdicts, in the order of the checks."""
        return [result for result in self._in_order() if result["verdict"] in words]

    def explained(self, result: dict[str, Any]) -> list[str]:
        """The checks whose FAIL explains this one, too: what to mend first."""
        failed = {each["id"] for each in self.results if each["verdict"] == verdicts.FAIL}
        check = self.checks.get(result["id"])
        return [other for other in check.follows if other in failed] if check and result["id"] in failed else []

    def _in_order(self) -> list[dict[str, Any]]:
        """What is no check, such as the compiler's warnings, comes first."""
        order = list(self.checks)
        return sorted(self.results, key=lambda each: order.index(each["id"]) if each["id"] in order else -1)

    def _group(self, result: dict[str, Any]) -> str:
        check = self.checks.get(result["id"])
        return check.group if check else ""

    @property
    def score(self) -> float:
        """0 to 100: the points earned, of those of all checks that apply. What is inconclusive earns nothing."""
        counted = [each for each in self.results if each["verdict"] in _EARN]
        weights = [(WEIGHTS.get(self._group(each), 0), _EARN[each["verdict"]]) for each in counted]
        total = sum(weight for weight, _ in weights)
        return round(100 * sum(weight for weight, earned in weights if earned) / total, 1) if total else 0.0

    @property
    def exit_code(self) -> int:
        """1 if something FAILed, 4 if the examiner did, 3 if something is inconclusive, else 0."""
        found = {each["verdict"] for each in self.results}
        for verdict, code in (
            (verdicts.FAIL, exits.FAILED),
            (verdicts.ERROR, exits.LAB_FAILED),
            (verdicts.INCONCLUSIVE, exits.INCONCLUSIVE),
        ):
            if verdict in found:
                return code
        return exits.OK

    def document(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "subject": self.subject,
            "model": self.model,
            "command": self.command,
            "score": self.score,
            "checks": [
                {
                    **{key: each[key] for key in KEYS},
                    "group": self._group(each),
                    "follows": self.explained(each),
                    "seconds": each["seconds"],
                    "replay": each["replay"],
                }
                for each in self._in_order()
            ],
        }
