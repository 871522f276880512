"""The scenarios on the shelf: in teaching order, each loaded when it is asked for."""

import functools
import importlib
from collections.abc import Iterator

from forklab.errors import LabError, UsageError
from forklab.harness.scenario import LANGUAGES, Parameter, Scenario, Words
from forklab.registry import SCENARIOS
from protocol import lessons


def order() -> list[str]:
    """The ids of all scenarios as they are taught."""
    there = SCENARIOS.ids()
    return [*(name for name in lessons.SCENARIOS if name in there), *(n for n in there if n not in lessons.SCENARIOS)]


@functools.cache
def load(name: str) -> Scenario:
    """The scenario of that id.

    Raises:
        UsageError: there is none.
        LabError: its file does not load, or has no SCENARIO.
    """
    file = SCENARIOS.file(name)
    where = f"{file.parent.name}/{file.name}"
    try:
        found = getattr(importlib.import_module(f"forklab.scenarios.{file.stem}"), "SCENARIO", None)
    except Exception as error:  # whatever stands in a file that somebody has just written
        raise LabError(f"{where} does not load: {type(error).__name__}: {error}") from error
    if not isinstance(found, Scenario):
        raise LabError(f"{where} has no SCENARIO = Scenario(...); forklab/scenarios/__init__.py says what it needs")
    return found


def parameters() -> dict[str, list[tuple[str, Parameter | Words]]]:
    """Each parameter's name, and the scenarios that take it.

    A scenario that does not load is left out, so that every other command still works; it says so when it is run.
    """
    found: dict[str, list[tuple[str, Parameter | Words]]] = {}
    for name, scenario in _loading():
        for parameter, one in (scenario.parameters or {}).items():
            found.setdefault(parameter, []).append((name, one))
    return found


def _loading() -> Iterator[tuple[str, Scenario]]:
    for name in order():
        try:
            yield name, load(name)
        except LabError:
            continue


def language(word: str) -> str:
    """``word``, one of the languages that the texts are in.

    Raises:
        UsageError: it is none.
    """
    if word not in LANGUAGES:
        raise UsageError(f'no language "{word}"; there are: {", ".join(LANGUAGES)}')
    return word
