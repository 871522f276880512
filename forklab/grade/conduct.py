"""One grading from beginning to end: the image, the container, the progress, the outcome."""

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forklab import engine
from forklab.errors import UsageError
from forklab.grade import catalogue, container
from forklab.grade.outcome import Outcome
from forklab.grade.submission import Submission
from forklab.lab import Lab
from forklab.registry import MODELS
from protocol import verdicts

ANY = "any"
_MOST_LANES = 4


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


def grade(lab: Lab, path: Path, wish: Wish, tell: Callable[[dict[str, Any]], None]) -> Outcome:
    """Have a submission examined; ``tell`` gets each event of the examiner as it comes.

    Raises:
        UsageError: there is nothing to grade at ``path``.
        LabError: the image cannot be made, or the examiner broke.
    """
    submission = Submission.at(path)
    packed = submission.packed()
    lab.build([container.IMAGE])
    with engine.trouble("the engine does not tell of its processors"):
        lanes = max(1, min(_MOST_LANES, int(lab.client.info()["NCPU"])))
    words = ["--lanes", str(lanes), "--service", wish.service, "--model", wish.model, "--checks", ",".join(wish.checks)]
    words += ["--main", submission.main] if submission.main else []
    words += ["--command", wish.run] if wish.run else []
    checks = {check.id: check for check in catalogue.known()}
    outcome = Outcome.of(str(path), list(checks.values()))
    for event in container.examine(lab.client, words, packed, lanes=lanes):
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
    return {**result, "evidence": evidence, "replay": shlex.join(replay)}
