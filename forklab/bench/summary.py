"""From samples to figures: medians, spread, errors, and ratios pair by pair.

A machine is never quiet: other work comes and goes, clocks change. So each round measures every entrant once, and two
entrants are compared within a round only; the figure is the median of those ratios (interleaved measurement: what
disturbs a round disturbs both). The first round warms caches up and counts for nothing but its errors.
"""

import statistics
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from forklab.bench.run import Run, Sample


@dataclass(frozen=True)
class Spread:
    """The median of some rounds, with the lowest and the highest of them."""

    median: float
    low: float
    high: float
    rounds: int

    @classmethod
    def of(cls, values: Iterable[float]) -> "Spread | None":
        """None where there is no value."""
        found = list(values)
        return cls(statistics.median(found), min(found), max(found), len(found)) if found else None


@dataclass(frozen=True)
class Row:
    """One entrant in one section.

    ``value`` is None where nothing was measured, and ``reason`` says why. ``of_best`` is 1 for the best of the section,
    less for the others, whether higher or lower is better. ``load`` is the median of the load generator's share of one
    core, ``limited`` in how many of the rounds it was the limit. ``errors`` counts those of the warm-up, too;
    ``skipped`` tells why rounds are missing, and how many.
    """

    entrant: str
    value: Spread | None
    of_best: float | None = None
    details: dict[str, float] = field(default_factory=dict)
    errors: dict[str, int] = field(default_factory=dict)
    load: float | None = None
    limited: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    reason: str = ""

    def notes(self) -> list[str]:
        """What a reader must know of the figure before it is believed."""
        found = [self.reason] if self.reason else []
        if self.value:
            found += [f"not measured in {_rounds(count)}: {reason}" for reason, count in self.skipped.items()]
        if self.errors:
            found.append("errors: " + ", ".join(f"{kind} {count:,}" for kind, count in self.errors.items()))
        if self.limited and self.value:
            found.append(f"limited by the load generator in {self.limited} of {_rounds(self.value.rounds)}")
        return found


@dataclass(frozen=True)
class Table:
    """One section: its rows, the best first, those without a value last."""

    section: str
    unit: str
    better: str
    rows: list[Row]


def tables(run: Run) -> list[Table]:
    """Each section that was planned or measured, in the order of the plan."""
    seen = [sample.section for sample in run.samples] + [skip.section for skip in run.skips]
    return [_table(run, section) for section in dict.fromkeys([*run.plan, *seen])]


def measured(run: Run, section: str, entrant: str, detail: str = "") -> dict[int, float]:
    """By round, without the warm-up: the values, or those of a detail such as p50_us."""
    found = {}
    for sample in run.samples:
        if (sample.section, sample.entrant, sample.warmup) == (section, entrant, False):
            value = sample.details.get(detail) if detail else sample.value
            if value is not None:
                found[sample.round] = float(value)
    return found


def ratio(run: Run, section: str, entrant: str, peer: str, detail: str = "") -> Spread | None:
    """``entrant`` divided by ``peer``, round by round; a round that lacks one of them does not count."""
    ours, theirs = (measured(run, section, each, detail) for each in (entrant, peer))
    return Spread.of(value / theirs[number] for number, value in ours.items() if theirs.get(number))


def errors(run: Run, section: str, entrant: str) -> dict[str, int]:
    """By kind, over all rounds."""
    total: Counter[str] = Counter()
    for sample in run.samples:
        if (sample.section, sample.entrant) == (section, entrant):
            total.update(sample.errors)
    return dict(total)


LEFT_OUT = "left out of this run"


def absence(run: Run, section: str, entrant: str) -> str:
    """Why an entrant has no value in a section."""
    for reason in _skipped(run, section, entrant):
        return f"not measured: {reason}"
    if entrant not in run.plan.get(section, []):
        return LEFT_OUT
    if errors(run, section, entrant):
        return "not measured: only errors"
    return "the run ended before it" if run.trouble else "not measured"


def _skipped(run: Run, section: str, entrant: str) -> dict[str, int]:
    reasons = [each.reason for each in run.skips if (each.section, each.entrant) == (section, entrant)]
    return dict(Counter(reasons))


def _rounds(count: int) -> str:
    return f"{count} round{'s' * (count != 1)}"


def _table(run: Run, section: str) -> Table:
    samples = [sample for sample in run.samples if sample.section == section]
    names = [*run.plan.get(section, []), *(skip.entrant for skip in run.skips if skip.section == section)]
    entrants = list(dict.fromkeys([*names, *(sample.entrant for sample in samples)]))
    unit, better = (samples[0].unit, samples[0].better) if samples else ("", "higher")
    sign = -1 if better == "higher" else 1
    medians = [value.median for each in entrants if (value := Spread.of(measured(run, section, each).values()))]
    best = min(medians, key=lambda median: sign * median, default=0.0)
    rows = [_row(run, section, entrant, samples, best, better) for entrant in entrants]
    rows.sort(key=lambda row: (row.value is None, sign * row.value.median if row.value else 0.0))
    return Table(section, unit, better, rows)


def _row(run: Run, section: str, entrant: str, samples: list[Sample], best: float, better: str) -> Row:
    own = [sample for sample in samples if sample.entrant == entrant and not sample.warmup]
    value = Spread.of(measured(run, section, entrant).values())
    loads = [sample.load for sample in own if sample.load]
    load = Spread.of(load.cpu for load in loads)
    return Row(
        entrant=entrant,
        value=value,
        of_best=_share(value.median, best, better) if value else None,
        details=_details(own),
        errors=errors(run, section, entrant),
        load=load.median if load else None,
        limited=sum(load.limits for load in loads),
        skipped=_skipped(run, section, entrant),
        reason="" if value else absence(run, section, entrant),
    )


def _share(value: float, best: float, better: str) -> float:
    if value == best:
        return 1.0
    above, below = (value, best) if better == "higher" else (best, value)
    return above / below if below else 0.0


def _details(samples: list[Sample]) -> dict[str, float]:
    """The median of each further figure that is a number."""
    names = dict.fromkeys(name for sample in samples for name in sample.details)
    found = {}
    for name in names:
        values = [sample.details.get(name) for sample in samples]
        numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
        if numbers:
            found[name] = float(statistics.median(numbers))
    return found
