"""A bench that never ran: lines as its container would say them, with figures that each test chooses."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from forklab.bench.run import Run

MACHINE = {
    "kernel": "6.18.0",
    "cpus": 2,
    "processor": "A processor",
    "python": "3.13.5",
    "memory_mib": 24_000,
    "versions": {"socat": "1.8.0.3", "uvloop": "0.21.0"},
}

HEADROOM = {"headroom": {"connections_per_second": 27_000.0, "load_cpu": 0.71}}

Figures = Mapping[str, Mapping[str, float]]
"""By section and entrant, the median that its rounds shall have."""

_CHURN = {
    "fork": 2300.0,
    "fork-spare": 2500,
    "prefork": 9100,
    "epoll": 15_200,
    "c-fork": 4700,
    "c-prefork": 9400,
    "c-epoll": 15_000,
    "forking-tcpserver": 620,
    "asyncio": 6500,
    "uvloop": 12_000,
    "tcpserver": 1300,
    "socat": 2000,
}
FIGURES: Figures = {
    "churn-1": {name: rate / 2 for name, rate in _CHURN.items()},
    "paced": {name: 2e6 / rate for name, rate in _CHURN.items()},
    "churn-8": _CHURN,
    "churn-64": _CHURN,
    "bulk-1": {"fork": 1800, "epoll": 2100, "c-fork": 1750},
    "bulk-4": {"fork": 2200, "epoll": 2300, "c-fork": 2100},
    "memory": {"fork": 165, "forking-tcpserver": 1400, "epoll": 2},
    "hold": {"fork": 10_000, "epoll": 15_000},
    "burst": {"fork": 310, "c-fork": 120, "epoll": 60},
    "unp": {"fork": 2.9, "c-fork": 1.2},
    "faults": {"fork": 84, "c-fork": 41, "forking-tcpserver": 700},
    "split": {"fork-split": 60_000, "lock-step": 49.5},
    "fsync": {"fsync-never": 90_000, "fsync-0.1": 80_000, "fsync-always": 900},
}
"""A run that meets every goal."""

_UNITS = {
    "paced": "us",
    "churn": "connections/s",
    "bulk": "MB/s",
    "memory": "kB",
    "hold": "connections",
    "burst": "ms",
    "unp": "s",
    "faults": "faults",
}
_LOWER = ("paced", "memory", "burst", "unp", "faults")


def sample(section: str, entrant: str, number: int, value: float | None, **others: Any) -> dict[str, Any]:
    """One sample, as the container says it; round 0 is the warm-up."""
    kind = section.split("-")[0]
    p50 = (value if kind == "paced" else 1e6 / value) if value else 0.0
    details = (
        {"p50_us": p50, "p90_us": 1.6 * p50, "p99_us": 3 * p50, "max_us": 9 * p50} if kind in ("churn", "paced") else {}
    )
    return {
        "event": "sample",
        "section": section,
        "entrant": entrant,
        "round": number,
        "warmup": number == 0,
        "value": value,
        "unit": _UNITS.get(kind, "lines/s"),
        "better": "lower" if kind in _LOWER else "higher",
        "details": details,
        "errors": {},
        "load": {"cpu": 0.62, "limits": False},
    } | others


def events(figures: Figures = FIGURES, rounds: int = 3) -> Iterator[dict[str, Any]]:
    """A whole run: a warm-up and ``rounds`` rounds; in each the machine is up to 10 % faster or slower, for all alike.

    The warm-up's figures are far off: whoever counts them sees it.
    """
    yield {"event": "machine"} | MACHINE
    plan = {section: list(entrants) for section, entrants in figures.items()}
    total = (rounds + 1) * sum(map(len, plan.values()))
    yield {"event": "plan", "rounds": rounds + 1, "sections": plan, "samples": total} | HEADROOM
    for number in range(rounds + 1):
        pace = 1 + 0.1 * ((number % 3) - 1) if number else 0.01
        for section, entrants in figures.items():
            fixed = section in ("hold", "faults", "memory")
            for entrant, value in entrants.items():
                yield sample(section, entrant, number, value if fixed and number else value * pace)
    yield {"event": "done"}


def run_of(said: Iterator[dict[str, Any]] | list[dict[str, Any]]) -> Run:
    """The run that these events make."""
    run = Run("./lab bench", "2026-01-02 03:04 UTC", "Docker Engine 29.0")
    for event in said:
        run.take(json.dumps(event))
    return run
