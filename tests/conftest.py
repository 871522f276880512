"""Options of the test command, and which worker runs what."""

from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]
from xdist.workermanage import NodeManager  # type: ignore[import-untyped]

from tests.chromium import browser as browser

# After Ctrl-C each worker takes its labs down; xdist would kill it after ten seconds.
NodeManager.EXIT_TIMEOUT = 60


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--keep``: leave the lab of the run standing, to look at it; ``./lab clean`` removes it."""
    parser.addoption("--keep", action="store_true", help="leave the lab of this run standing; ./lab clean removes it")


GRADES = ("tests/lab/test_grade", "tests/hostile/", "tests/good/")
"""Count the containers of examiners, and so do not run beside each other."""

SCENARIOS = "tests/lab/test_scenario"
"""Start labs of their own, and look whether any of them is left."""


_LAB, _GRADES, _SCENARIOS, _OTHERS = range(4)


def _turn(nodeid: str) -> int:
    """What begins when: first the three that take longest, last what any worker may do, so that all end together."""
    if nodeid.startswith(GRADES):
        return _GRADES
    if nodeid.startswith(SCENARIOS):
        return _SCENARIOS
    return _LAB if nodeid.startswith("tests/lab/") else _OTHERS


class OneLab(LoadScopeScheduling):  # type: ignore[misc]
    """A file is run by one worker, and all of ``tests/lab`` by the same: its tests share a lab.

    Scenarios and grades go on beside them, each kind in a worker.
    """

    def _split_scope(self, nodeid: str) -> str:
        kinds = {_LAB: "lab", _GRADES: "grades", _SCENARIOS: "scenarios"}
        return kinds.get(_turn(nodeid)) or nodeid.partition("::")[0]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> OneLab:
    """Asked by xdist when there are workers."""
    return OneLab(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs Docker by where it lives, and put all in their turn."""
    items.sort(key=lambda item: _turn(item.nodeid))
    for item in items:
        if any(f"/tests/{folder}/" in item.path.as_posix() for folder in ("lab", "hostile", "good")):
            item.add_marker("lab")
