"""Options of the test command."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--keep``: leave the lab of the run standing, to look at it; ``./lab clean`` removes it."""
    parser.addoption("--keep", action="store_true", help="leave the lab of this run standing; ./lab clean removes it")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs Docker by where it lives."""
    for item in items:
        if "/tests/lab/" in item.path.as_posix():
            item.add_marker("lab")
