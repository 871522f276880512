"""Which of the target's processes a fault is for."""

import os
import signal
from dataclasses import dataclass
from typing import Any

from probe.faults._effect import Refused
from probe.snapshot import snapshot
from protocol import exits

HELPERS = {"keeper", "recorder"}
"""Processes of the service store that serve no client; they name themselves (protocol of server/_recorder.py)."""


@dataclass(frozen=True)
class Who:
    """A process; ``start`` tells it from another one that gets its number later."""

    pid: int
    name: str
    state: str
    start: float


def chosen(which: str) -> list[Who]:
    """The processes that ``which`` names: ``all``, ``parent``, ``child`` (the oldest), ``recorder``, or a PID.

    Raises:
        Refused: there is none such now.
    """
    seen = snapshot(frozenset())
    main, tree = seen["server"], seen["processes"]
    living = [found for found in tree if found["state"] not in "ZX"]
    found = [Who(one["pid"], one["name"], one["state"], one["start"]) for one in _choose(which, main, living)]
    if not found:
        there = ", ".join(f"{one['pid']} ({one['name']})" for one in living) or "none"
        code = exits.USAGE if which.isdigit() else exits.INCONCLUSIVE
        raise Refused(f'no process "{which}" of the target runs now; there are: {there}', code)
    return found


def _choose(which: str, main: int | None, living: list[dict[str, Any]]) -> list[dict[str, Any]]:
    if which == "all":
        return living
    if which == "parent":
        return [one for one in living if one["pid"] == main]
    if which == "recorder":
        return [one for one in living if one["name"] == "recorder"]
    if which == "child":
        children = [one for one in living if one["ppid"] == main and one["name"] not in HELPERS]
        return sorted(children, key=lambda one: (float(one["start"]), int(one["pid"])))[:1]
    return [one for one in living if str(one["pid"]) == which]


def number(name: str) -> int:
    """A signal's number by its name, with or without SIG, or by its number.

    Raises:
        Refused: there is no such signal.
    """
    try:
        return int(
            signal.Signals(int(name)) if name.isdigit() else signal.Signals[f"SIG{name.upper().removeprefix('SIG')}"]
        )
    except (KeyError, ValueError):
        names = ", ".join(one.name.removeprefix("SIG") for one in signal.Signals)
        raise Refused(f'no signal "{name}"; there are: {names}', exits.USAGE) from None


def send(pid: int, what: int) -> bool:
    """Send a signal; False when the process has gone."""
    try:
        os.kill(pid, what)
    except ProcessLookupError:
        return False
    return True


def names(processes: list[Who]) -> str:
    """For a sentence: ``7 (python3), 21 (python3)``."""
    return ", ".join(f"{one.pid} ({one.name})" for one in processes)
