"""Servers that are known to be good: what the examiner says of each is true, and nobody is told of a bug he has not."""

from pathlib import Path

import pytest

from forklab.grade import catalogue, container
from forklab.lab import Lab
from tests import grading
from tests.good import image
from tests.good.table import PROGRAMS, TABLE, demanded, submit, wrong

IN_FULL = ("forking_tcp_server.py", "forklab-fork")
"""Against all checks, and not the core only; ``python3 -m tests.good`` examines all of them so."""
BRIEF = (
    *IN_FULL,
    "threading_tcp_server.py",
    "asyncio_streams.py",
    "socat-exec",
    "tcpserver",
    "xinetd.sh",
    "forklab-epoll",
)
"""Those that every run of the suite grades."""
CORE = {check.id for check in catalogue.known() if check.group == "core"}


@pytest.fixture(scope="module")
def lab() -> Lab:
    """The engine, with the image that has these servers."""
    made = grading.lab()
    made.build([container.IMAGE])
    image.build(made.client)
    return made


def test_each_program_is_in_the_table() -> None:
    """And each finding in docs/grading.md."""
    assert {path.name for path in PROGRAMS.iterdir()} <= set(TABLE)
    text = (Path(__file__).parents[2] / "docs" / "grading.md").read_text(encoding="utf-8")
    _, _, told = text.partition("## Good programs, graded")
    for name, good in TABLE.items():
        for check in good.findings:
            assert f"`{check}`" in told, f"{name}: docs/grading.md does not explain {check}"


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in BRIEF else [pytest.mark.long]) for name in TABLE]
)
def test_a_good_server_is_told_the_truth(lab: Lab, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exactly the findings of the table."""
    monkeypatch.setattr(container, "IMAGE", image.IMAGE)
    monkeypatch.setattr(lab, "build", lambda names: [])
    submit(name, tmp_path)
    checks = "" if name in IN_FULL else ",".join(sorted(CORE))
    outcome = grading.examine(lab, tmp_path, run=TABLE[name].run, model=demanded(name), check=checks).outcome
    assert wrong(name, outcome) == [], grading.printed(outcome)
