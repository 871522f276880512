"""What a fault answers while it is held, and how it says that it cannot be."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from protocol import exits


class Refused(Exception):
    """The fault cannot be had here; nothing was done. The message says why, and what to do instead."""

    def __init__(self, message: str, code: int = exits.INCONCLUSIVE) -> None:
        super().__init__(message)
        self.code = code


def _nothing() -> dict[str, Any]:
    return {}


def _never() -> float | None:
    return None


@dataclass(frozen=True)
class Effect:
    """A fault that is held.

    ``way`` names the kernel's means, for example ``netem`` or ``nfqueue``; ``did`` says in a sentence what is the case
    now. ``evidence`` counts what it did so far. ``watch`` is called when its descriptor can be read. ``work`` does what
    is due and returns when it wants to be called next, in seconds of CLOCK_MONOTONIC, None for not at all. ``over``
    says that there is nothing left to hold.
    """

    way: str
    did: str
    evidence: Callable[[], dict[str, Any]] = _nothing
    watch: Mapping[int, Callable[[], None]] = field(default_factory=dict)
    work: Callable[[], float | None] = _never
    over: Callable[[], bool] = bool
