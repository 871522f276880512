"""What a server brings along, for each page of it is copied by each fork."""

import subprocess
import sys

import pytest

from tests.unit.serving import MODELS, ROOT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the server runs in Linux containers")

LEFT_BEHIND = {"argparse", "asyncio", "enum", "json", "logging", "pathlib", "re", "signal", "socket", "typing"}


@pytest.mark.parametrize("service", ["echo", "store", "compute"])
@pytest.mark.parametrize("model", MODELS)
def test_what_is_not_needed_is_not_loaded(model: str, service: str) -> None:
    """No model and no service loads a module that costs each fork more than it is worth; one thread needs no other."""
    module = f"{model}_loop" if model in ("select", "poll", "epoll") else model
    names = f"server._serve, server.{module}, server.services.{service}"
    look = f"import sys; sys.path[:0] = [{str(ROOT)!r}]; import {names}; print(*sys.modules)"
    loaded = set(subprocess.check_output([sys.executable, "-I", "-S", "-c", look], text=True).split())
    assert not loaded & LEFT_BEHIND
    assert ("threading" in loaded) == (model == "thread")
