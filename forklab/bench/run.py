"""What one run of the bench said, as data: taken from the container's lines, kept in bench.json, read again.

Everything derived (medians, ratios, goals) is computed from the samples each time and only written beside them, so
that a reader of the file need not compute anything.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from forklab.errors import LabError, UsageError
from protocol import exits

INTERRUPTED = "interrupted"
"""The trouble of a run that a user has ended with Ctrl-C."""

_SIGINT = 2

SCHEMA = 1
"""Rises when a key of bench.json changes its meaning or goes."""


@dataclass(frozen=True)
class Load:
    """The load generator's own share of one core, 0 to 1, and whether it was what limited the sample."""

    cpu: float
    limits: bool


@dataclass(frozen=True)
class Sample:
    """One entrant, measured once in one section.

    ``value`` is in ``unit`` and None when nothing could be counted; ``better`` is "higher" or "lower"; ``details`` are
    further figures such as p50_us; ``errors`` tells kinds and how many.
    """

    section: str
    entrant: str
    round: int
    warmup: bool
    value: float | None
    unit: str
    better: str
    details: Mapping[str, Any] = field(default_factory=dict)
    errors: Mapping[str, int] = field(default_factory=dict)
    load: Load | None = None

    @classmethod
    def read(cls, row: Mapping[str, Any]) -> "Sample":
        """From an event of the container, or from bench.json; both have the same keys.

        Raises:
            KeyError, TypeError, ValueError: it is no sample.
        """
        load = row["load"]
        value = row["value"]
        if row["better"] not in ("higher", "lower"):
            raise ValueError(row["better"])
        return cls(
            section=str(row["section"]),
            entrant=str(row["entrant"]),
            round=int(row["round"]),
            warmup=bool(row["warmup"]),
            value=None if value is None else float(value),
            unit=str(row["unit"]),
            better=row["better"],
            details=dict(row["details"]),
            errors={str(kind): int(count) for kind, count in row["errors"].items() if count},
            load=Load(float(load["cpu"]), bool(load["limits"])) if load else None,
        )


@dataclass(frozen=True)
class Skip:
    """An entrant that could not be measured in a section in one round, and why."""

    section: str
    entrant: str
    round: int
    reason: str


@dataclass
class Run:
    """One run. ``trouble`` says why it is not complete; it is empty when it is.

    ``command`` is what the user typed, ``started`` a time in UTC (ISO 8601), ``engine`` names the Docker Engine.
    """

    command: str
    started: str
    engine: str
    machine: dict[str, Any] = field(default_factory=dict)
    rounds: int = 0
    plan: dict[str, list[str]] = field(default_factory=dict)
    total: int = 0
    headroom: dict[str, float] = field(default_factory=dict)
    """What the load generator reaches against the leanest server: connections_per_second, and load_cpu, its share of a
    core meanwhile. Nobody is seen to be faster."""
    samples: list[Sample] = field(default_factory=list)
    skips: list[Skip] = field(default_factory=list)
    done: bool = False
    trouble: str = ""

    @property
    def exit_code(self) -> int:
        """A missed goal is a finding, no failure: 0 for a run that is complete, whatever it found."""
        if self.trouble == INTERRUPTED:
            return exits.SIGNAL_BASE + _SIGINT
        return exits.LAB_FAILED if self.trouble else exits.OK

    def take(self, line: str) -> Sample | None:
        """Add one line of the container; the sample, if it is one.

        Raises:
            LabError: this is not what the bench of this checkout says.
        """
        try:
            event = json.loads(line)
            kind = event.pop("event")
            if kind == "machine":
                self.machine = event
            elif kind == "plan":
                self.rounds, self.total = int(event["rounds"]), int(event["samples"])
                self.headroom = {name: float(value) for name, value in event["headroom"].items()}
                self.plan = {str(section): list(entrants) for section, entrants in event["sections"].items()}
            elif kind == "sample":
                self.samples.append(Sample.read(event))
                return self.samples[-1]
            elif kind == "skip":
                self.skips.append(Skip(**event))
            elif kind == "done":
                self.done = True
            else:
                raise ValueError(kind)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise LabError(f"the bench said {line.strip()[:80]!r}, which is no event of it") from None
        return None

    def raw(self) -> dict[str, Any]:
        """What was measured, as bench.json keeps it."""
        return {
            "schema": SCHEMA,
            "command": self.command,
            "started": self.started,
            "complete": self.done and not self.trouble,
            "trouble": self.trouble,
            "engine": self.engine,
            "machine": self.machine,
            "rounds": self.rounds,
            "plan": self.plan,
            "planned_samples": self.total,
            "headroom": self.headroom,
            "skips": [asdict(skip) for skip in self.skips],
            "samples": [asdict(sample) for sample in self.samples],
        }

    @classmethod
    def read(cls, path: Path) -> "Run":
        """A run that was kept in a file.

        Raises:
            UsageError: it cannot be read, or is no bench.json.
        """
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
            if kept["schema"] != SCHEMA:
                raise UsageError(f"{path} has schema {kept['schema']}, this checkout reads {SCHEMA}; measure anew")
            return cls(
                command=kept["command"],
                started=kept["started"],
                engine=kept["engine"],
                machine=kept["machine"],
                rounds=kept["rounds"],
                plan=kept["plan"],
                total=kept["planned_samples"],
                headroom=kept["headroom"],
                samples=[Sample.read(row) for row in kept["samples"]],
                skips=[Skip(**row) for row in kept["skips"]],
                done=kept["complete"],
                trouble=kept["trouble"],
            )
        except OSError as error:
            raise UsageError(f"cannot read {path}: {error.strerror or error}") from None
        except (ValueError, KeyError, TypeError, AttributeError):
            raise UsageError(f"{path} is no bench.json of ./lab bench --out") from None
