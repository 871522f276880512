"""Several runs of one scenario: how often each verdict, and how far each figure spreads."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from forklab.harness.conduct import Result, worst
from forklab.harness.median import median


@dataclass(frozen=True)
class Span:
    """A figure over the runs that measured it."""

    low: float
    median: float
    high: float
    runs: int


@dataclass(frozen=True)
class Runs:
    """What ``--repeat`` has found."""

    results: Sequence[Result]

    def worst(self) -> Result:
        """The run that is shown whole."""
        return worst(list(self.results))

    def verdicts(self) -> dict[str, int]:
        """How often each verdict."""
        return dict(Counter(result.verdict for result in self.results).most_common())

    def spans(self) -> dict[str, Span]:
        """Each figure that is a number, in the order of the first run that has it."""
        found: dict[str, list[float]] = {}
        for result in self.results:
            for name, value in result.found.measured.items():
                if isinstance(value, int | float) and not isinstance(value, bool):
                    found.setdefault(name, []).append(value)
        return {name: Span(min(v), median(v), max(v), len(v)) for name, v in found.items()}

    def document(self, language: str) -> dict[str, Any]:
        """The worst run's document, with ``repeat`` when there were several."""
        whole = self.worst().document(language)
        if len(self.results) > 1:
            spread = {name: vars(span) for name, span in self.spans().items()}
            whole["repeat"] = {"runs": len(self.results), "verdicts": self.verdicts(), "spread": spread}
        return whole
