"""Waits for what should happen at once, and gives up at a deadline instead of sleeping for a guessed time."""

import time
from collections.abc import Callable
from typing import Any

PATIENCE = 20.0
"""Seconds until a test gives up; many times what a busy machine needs."""


def until(true: Callable[[], Any], what: str, patience: float = PATIENCE) -> Any:
    """Poll until ``true()`` is; AssertionError with ``what`` when it never becomes so."""
    deadline = time.monotonic() + patience
    while not (value := true()):
        assert time.monotonic() < deadline, f"never happened: {what}"
        time.sleep(0.005)
    return value
