"""One run of a scenario from beginning to end: whatever happens on the stage becomes a verdict."""

import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from docker import DockerClient

from forklab import engine, errors
from forklab.errors import LabError
from forklab.harness.scenario import Inconclusive, NotSo, Scenario
from forklab.harness.stage import Finding, Stage
from forklab.lock import Say
from protocol import exits, verdicts

CODES = {
    verdicts.FAIL: exits.FAILED,
    verdicts.ERROR: exits.LAB_FAILED,
    verdicts.INCONCLUSIVE: exits.INCONCLUSIVE,
    verdicts.PASS: exits.OK,
}
"""What each verdict of a scenario means to the exit code, the worst first."""


@dataclass(frozen=True)
class Result:
    """What a run has found.

    ``values`` are its parameters, ``words`` what its verdict says in one sentence, ``seconds`` how long it took,
    ``error`` what broke when the verdict is ERROR.
    """

    id: str
    scenario: Scenario
    values: Mapping[str, Any]
    verdict: str
    words: str
    found: Finding
    seconds: float
    error: Exception | None = None

    def document(self, language: str) -> dict[str, Any]:
        """The run as JSON takes it; the first six keys are those that scripts rely on."""
        scenario = self.scenario
        return {
            "scenario": self.id,
            "verdict": self.verdict,
            "question": scenario.question.said(language),
            "theory": scenario.expectation.said(language),
            "measured": self.found.measured,
            "evidence": self.found.evidence,
            "words": self.words,
            "parameters": dict(self.values),
            "source": scenario.source,
            "explanation": scenario.explanation.said(language),
            "seconds": round(self.seconds, 3),
        }


def conduct(
    client: DockerClient,
    name: str,
    scenario: Scenario,
    values: Mapping[str, Any],
    say: Say,
    subject: Path | None = None,
) -> Result:
    """Run ``scenario``, called ``name``, with the parameters ``values``; the images are there.

    Args:
        client: the engine.
        name: its id.
        scenario: what is run.
        values: what ``scenario.read`` made of the user's words.
        say: is told what goes on.
        subject: as for :class:`~forklab.harness.stage.Stage`.

    Raises:
        KeyboardInterrupt: after everything that the stage had started is gone.
    """
    stage = Stage(client, values, say, subject)
    begin = time.monotonic()
    verdict, words, error = _play(scenario, stage)
    return Result(name, scenario, values, verdict, words, stage.found, time.monotonic() - begin, error)


def _play(scenario: Scenario, stage: Stage) -> tuple[str, str, Exception | None]:
    """The verdict, its words, and what broke."""
    try:
        try:
            with engine.trouble("the engine failed"):
                return verdicts.PASS, scenario.run(stage), None
        finally:
            _clear(stage)
    except NotSo as claim:
        return verdicts.FAIL, str(claim), None
    except (Inconclusive, errors.Inconclusive) as reason:
        return verdicts.INCONCLUSIVE, str(reason), None
    except LabError as error:
        return verdicts.ERROR, str(error), error
    except Exception as error:  # a mistake in the scenario's own file; the others still run
        return verdicts.ERROR, f"the scenario itself broke: {type(error).__name__}: {error}", error


def _clear(stage: Stage) -> None:
    """Remove what is left, also when Ctrl-C comes once more; then it goes on its way."""
    try:
        stage.clear()
    except KeyboardInterrupt:
        with contextlib.suppress(KeyboardInterrupt):
            stage.clear()
        raise


def worst(results: list[Result]) -> Result:
    """The one whose verdict weighs most; the first of those."""
    weight = list(CODES)
    return min(results, key=lambda result: weight.index(result.verdict))
