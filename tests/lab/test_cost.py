"""What a connection costs, in figures that a busy machine does not change: page faults, mappings, system calls."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.lab.conftest import Lone, Rig

SCRIPT = (Path(__file__).parent / "cost.py").read_text()


def cost(server: Lone) -> dict[str, Any]:
    """What ``cost.py`` counts beside this server."""
    code, said = server.probe.exec_run(["python3", "-c", SCRIPT, str(server.snapshot().server)])
    assert isinstance(said, bytes)
    assert code == 0, said.decode()
    found: dict[str, Any] = json.loads(said)
    print(found)
    return found


def test_fork(rig: Rig) -> None:
    """A connection of ``fork`` costs few page faults and system calls, and its parent has few mappings to copy."""
    with rig.server("fork", "--log", "none") as server:
        found = cost(server)
    assert found["faults"] <= 200
    assert found["mappings"] <= 48
    assert sum(found["calls"].values()) <= 30
    assert found["calls"]["accept4"] == pytest.approx(1, abs=0.1)
    # One finds the child, one more says that there is no other.
    assert found["calls"]["wait4"] <= 2.1


@pytest.mark.parametrize(("model", "most"), [("prefork", 12), ("epoll", 14), ("poll", 14), ("select", 14)])
def test_without_fork(rig: Rig, model: str, most: int) -> None:
    """Models that do not fork for a client fault no page for it, and make few system calls."""
    with rig.server(model, "--log", "none") as server:
        found = cost(server)
    assert found["faults"] <= 2
    assert sum(found["calls"].values()) <= most
