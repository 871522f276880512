"""Options of the test command, and which of two workers runs what."""

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


APART = ("tests/lab/test_scenario", "tests/lab/test_grade")
"""Start labs and containers of their own."""


class OneLab(LoadScopeScheduling):  # type: ignore[misc]
    """A file is run by one worker, and all of ``tests/lab`` by the same: its tests share a lab and an engine.

    Scenarios and grades may go on beside them.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "lab" if file.startswith("tests/lab/") and not file.startswith(APART) else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> OneLab:
    """Asked by xdist when there is more than one worker."""
    return OneLab(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs Docker by where it lives; put last what either worker may do, so that both end together."""
    items.sort(key=lambda item: item.nodeid.startswith(APART))
    for item in items:
        if "/tests/lab/" in item.path.as_posix():
            item.add_marker("lab")
