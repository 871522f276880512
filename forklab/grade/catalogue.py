"""Which checks there are, read from the files of ``examiner/checks/`` without importing them."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from forklab.errors import LabError, UsageError
from forklab.registry import CHECKS

CLIENT = "client"

GROUPS = ("core", "high", "breadth", "advisory", CLIENT)
"""In the order of their weight; advisory ones never lower a score. The last one's are of clients, all others' not."""

WEIGHTS = {"core": 3, "high": 2, "breadth": 1, "advisory": 0, CLIENT: 1}
"""Points of a check."""

SERVICES = ("echo", "store", "line")
"""What a subject may be for: send back each byte; record lines, too; send back whole lines."""


@dataclass(frozen=True)
class Check:
    """What a check says of itself; see ``examiner/_check.py``."""

    id: str
    summary: str
    requirement: str
    reference: str
    expected: str
    cause: str
    mend: str
    group: str = GROUPS[0]
    models: tuple[str, ...] = ()
    services: tuple[str, ...] = ()
    where: str = ""
    follows: tuple[str, ...] = ()


def known() -> list[Check]:
    """All checks, by group and id.

    Raises:
        LabError: one of the files is no check.
    """
    return list(_known())


@functools.cache
def _known() -> tuple[Check, ...]:
    """Read once: several threads may ask, and not every CPython parses in two threads at once (gh-106905)."""
    found = [_read(check) for check in CHECKS.ids()]
    return tuple(sorted(found, key=lambda check: (GROUPS.index(check.group), check.id)))


def choose(names: str, *, core: bool = False, client: bool = False) -> list[str]:
    """The ids in ``names``, with commas between them, or all of a server or of a ``client``; ``core``: only those.

    Raises:
        UsageError: there is no such check, or it examines the other of the two.
    """
    fit = [check.id for check in known() if (check.group == CLIENT) == client and (not core or check.group == "core")]
    chosen = [CHECKS.check(name.strip()) for name in names.split(",")] if names else fit
    if other := [check for check in chosen if check not in fit]:
        raise UsageError(f"{other[0]} examines {'servers: leave --client out' if client else 'clients: add --client'}")
    return chosen


def _read(check: str) -> Check:
    said: dict[str, Any] = {"id": check, "summary": CHECKS.summary(check), **CHECKS.keywords(check, "CHECK")}
    names = [field.name for field in fields(Check)]
    missing = [name for name in names[:7] if name not in said]
    if missing:
        raise LabError(f"examiner/checks/{CHECKS.file(check).name} does not state {', '.join(missing)} as a literal")
    return Check(**{name: said[name] for name in names if name in said})


def groups(checks: Sequence[Check]) -> dict[str, list[Check]]:
    """The checks of each group that has some."""
    found = {group: [check for check in checks if check.group == group] for group in GROUPS}
    return {group: members for group, members in found.items() if members}
