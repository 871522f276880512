"""What came of a grading: the results, their score, the exit code; pure data, so that it can be kept."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from forklab.grade.catalogue import Check
from forklab.grade.rubric import Rubric
from protocol import exits, verdicts

KEYS = ("id", "verdict", "requirement", "expected", "actual", "evidence", "cause", "mend")
"""Of a check in the document, as scripts rely on them."""

TITLES = {
    verdicts.FAIL: "failed",
    verdicts.ERROR: "the examiner failed",
    verdicts.WARN: "allowed, not good",
    verdicts.INCONCLUSIVE: "inconclusive",
    verdicts.INFO: "worth knowing",
    verdicts.PASS: "passed",
    verdicts.SKIP: "does not apply",
}
"""The verdicts in words, the worst first."""

LETTERS = {
    verdicts.FAIL: "F",
    verdicts.ERROR: "E",
    verdicts.WARN: "w",
    verdicts.INCONCLUSIVE: "?",
    verdicts.INFO: "i",
    verdicts.PASS: ".",
    verdicts.SKIP: "-",
}
"""The same in a matrix."""

_EARN = {verdicts.PASS: True, verdicts.WARN: True, verdicts.FAIL: False, verdicts.INCONCLUSIVE: False}
"""Whether a verdict earns its check's points; what is not here counts neither way."""


@dataclass
class Outcome:
    """One graded submission.

    Attributes:
        subject: the path as it was given.
        model: how it serves, as it was found.
        command: how it was started.
        results: a mapping with KEYS, ``seconds``, ``replay`` and, where the verdict is not good, ``moments``
            (``examiner/_moments.py``), for each check, in the order of the checks.
        checks: all that there are, by id, in the order of their weight.
        rubric: what each is worth.
    """

    subject: str
    model: str = "unknown"
    command: str = ""
    results: list[dict[str, Any]] = field(default_factory=list)
    checks: dict[str, Check] = field(default_factory=dict)
    rubric: Rubric = field(default_factory=Rubric)

    @classmethod
    def of(cls, subject: str, checks: Sequence[Check], rubric: Rubric | None = None) -> "Outcome":
        """An empty one."""
        return cls(subject, checks={check.id: check for check in checks}, rubric=rubric or Rubric())

    @classmethod
    def kept(cls, document: dict[str, Any], checks: Sequence[Check], rubric: Rubric) -> "Outcome":
        """What :meth:`document` gave, once more, maybe with another rubric.

        Raises:
            KeyError, TypeError: this is no such document.
        """
        made = cls.of(document["subject"], checks, rubric)
        made.model, made.command, made.results = document["model"], document["command"], list(document["checks"])
        for result in made.results:
            for key in (*KEYS, "seconds", "replay"):
                result[key]
        return made

    def having(self, *words: str) -> list[dict[str, Any]]:
        """The results with one of these verdicts, in the order of the checks."""
        return [result for result in self.in_order() if result["verdict"] in words]

    def explained(self, result: dict[str, Any]) -> list[str]:
        """The checks whose FAIL explains this one, too: what to mend first."""
        failed = {each["id"] for each in self.results if each["verdict"] == verdicts.FAIL}
        check = self.checks.get(result["id"])
        return [other for other in check.follows if other in failed] if check and result["id"] in failed else []

    def in_order(self) -> list[dict[str, Any]]:
        """All results. What is no check, such as the compiler's warnings, comes first."""
        order = list(self.checks)
        return sorted(self.results, key=lambda each: order.index(each["id"]) if each["id"] in order else -1)

    def group(self, result: dict[str, Any]) -> str:
        """The group of a result's check; empty for what is no check."""
        check = self.checks.get(result["id"])
        return check.group if check else ""

    def told(self, result: dict[str, Any]) -> list[tuple[str, str]]:
        """All that a report says of a result: what a line is, and the line; of further lines the first is empty."""
        first = " and ".join(self.explained(result))
        rows = [
            ("required", result["requirement"]),
            ("expected", result["expected"]),
            ("actual", result["actual"]),
            *(("evidence" if number == 0 else "", line) for number, line in enumerate(result["evidence"])),
            ("first", f"mend {first}, from which this may follow" if first else ""),
            ("likely", result["cause"]),
            ("mend", result["mend"]),
            ("again", result["replay"]),
        ]
        return [(name, line) for name, line in rows if line]

    def points(self, result: dict[str, Any]) -> tuple[float, float]:
        """What a result earns, and what it might: shares of the rubric's total. What does not apply has none."""
        if not self._possible or result["verdict"] not in _EARN:
            return 0.0, 0.0
        most = self.rubric.total * self._worth(result) / self._possible
        return (most if _EARN[result["verdict"]] else 0.0), most

    @property
    def _possible(self) -> float:
        return sum(self._worth(each) for each in self.results if each["verdict"] in _EARN)

    def _worth(self, result: dict[str, Any]) -> float:
        return self.rubric.worth(result["id"], self.group(result))

    @property
    def lacking(self) -> list[str]:
        """The checks that the rubric requires and that are not met: then there are no points."""
        bad = {each["id"] for each in self.results if _EARN.get(each["verdict"]) is False}
        return [check for check in self.rubric.required if check in bad]

    @property
    def score(self) -> float:
        """The points earned, of the rubric's total. What is inconclusive earns nothing."""
        return 0.0 if self.lacking else round(sum(self.points(each)[0] for each in self.results), 1)

    @property
    def summary(self) -> str:
        """All of it in one line."""
        counts = [f"{len(found)} {TITLES[word]}" for word in TITLES if (found := self.having(word))]
        lacking = f" (required, and not met: {', '.join(self.lacking)})" if self.lacking else ""
        points = f"score {self.score:g} of {self.rubric.total:g}{lacking}"
        return f"{self.subject}: model {self.model}, {points}; {', '.join(counts)}"

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
            "total": self.rubric.total,
            "checks": [
                {
                    **{key: each[key] for key in KEYS},
                    "group": self.group(each),
                    "points": [round(number, 2) for number in self.points(each)],
                    "follows": self.explained(each),
                    "seconds": each["seconds"],
                    "replay": each["replay"],
                    "moments": each.get("moments", []),
                }
                for each in self.in_order()
            ],
        }
