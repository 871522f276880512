"""What a user wants to have graded, what the examiner is told of it, and what its events amount to.

No engine is needed here: the image for an autograder has this, too.
"""

import os
import shlex
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from forklab.errors import UsageError
from forklab.grade import catalogue
from forklab.grade.outcome import Outcome
from forklab.grade.rubric import Rubric
from forklab.grade.submission import Submission
from forklab.printable import printable
from forklab.registry import MODELS
from protocol import verdicts

ANY = "any"

Tell = Callable[[dict[str, Any]], None]
"""Gets each event of the examiner as it comes."""


@dataclass(frozen=True)
class Wish:
    """How to grade: each as on the command line of ``grade``, already checked."""

    run: str = ""
    service: str = "echo"
    model: str = ANY
    checks: tuple[str, ...] = ()

    @classmethod
    def of(cls, *, run: str, service: str, model: str, check: str, core: bool, client: bool = False) -> "Wish":
        """From what the user typed.

        Raises:
            UsageError: a word is not one that is known.
        """
        if run and "{port}" not in run:
            raise UsageError(f'run "{run}" has no place for the port: write {{port}} where it belongs')
        try:
            shlex.split(run)
        except ValueError as error:
            raise UsageError(f'run "{run}" cannot be split into words: {error}') from None
        if service not in catalogue.SERVICES:
            raise UsageError(f'no service "{service}" is graded; there are: {", ".join(catalogue.SERVICES)}')
        if model != ANY:
            MODELS.check(model)
        if client and (service != "echo" or model != ANY or core):
            raise UsageError("--client examines a client: leave --service, --model and --core out")
        if check and core:
            raise UsageError("--check names what is examined; leave --core out")
        chosen = catalogue.choose(check, core=core, client=client)
        return cls(run, catalogue.CLIENT if client else service, model, tuple(chosen))

    def words(self) -> list[str]:
        """The flags of ``grade`` that say the same, without the choice of checks."""
        found = ["--run", self.run] if self.run else []
        if self.service == catalogue.CLIENT:
            return [*found, "--client"]
        found += ["--service", self.service] if self.service != "echo" else []
        return found + (["--model", self.model] if self.model != ANY else [])

    def order(self, submission: Submission, lanes: int) -> list[str]:
        """The examiner's command line for a submission; ``lanes`` is how many checks at once."""
        words = ["--lanes", str(lanes), "--service", self.service, "--model", self.model]
        words += ["--checks", ",".join(self.checks)]
        words += [f"--main={submission.main}"] if submission.main else []
        return words + ([f"--command={self.run}"] if self.run else [])


def gather(
    events: Iterable[dict[str, Any]], submission: Submission, wish: Wish, rubric: Rubric | None, tell: Tell
) -> Outcome:
    """What the events of an examiner amount to.

    Raises:
        what ``events`` raises.
    """
    checks = {check.id: check for check in catalogue.known()}
    outcome = Outcome.of(printable(str(submission.path)), list(checks.values()), rubric)
    for event in events:
        if event["event"] == "result":
            outcome.results.append(_complete(event, submission, checks.get(event["id"]), wish))
        elif event["event"] == "done":
            outcome.model, outcome.command = event["model"], event["command"]
        tell(event)
    return outcome


def _complete(
    result: dict[str, Any], submission: Submission, check: catalogue.Check | None, wish: Wish
) -> dict[str, Any]:
    """A result with what only this side knows: the lines to look at, and the command that examines it alone."""
    evidence = list(result["evidence"])
    if check and check.where and result["verdict"] in (verdicts.FAIL, verdicts.WARN):
        evidence += [f"look at {line}" for line in submission.lines(check.where)]
    replay = ["./lab", "grade", str(submission.path), *wish.words(), *(["--check", check.id] if check else [])]
    return {**result, "evidence": printable(evidence), "replay": printable(" ".join(map(_quoted, replay)))}


def _quoted(word: str) -> str:
    """In double quotes where it needs some: every shell takes those, also cmd and PowerShell."""
    plain = shlex.quote(word)
    means_something = set('"$`!' if os.name == "nt" else '"$`!\\')  # a path of Windows has backslashes
    return plain if plain == word or means_something & set(word) else f'"{word}"'
