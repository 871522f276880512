"""The lab, without an engine: what it makes of answers that come when a container is about to end."""

from types import SimpleNamespace
from typing import Any

from forklab.lab import _host_pid


def test_a_server_that_has_just_ended_has_no_pid() -> None:
    """The engine's list of its processes is then null."""
    titles = ["UID", "PID", "PPID", "CMD"]
    server: Any = SimpleNamespace(attrs={"State": {"Pid": 7}}, top=lambda: {"Titles": titles, "Processes": None})
    assert _host_pid(server) is None
    server.top = lambda: {"Titles": titles, "Processes": [["0", "7", "1", "init"], ["0", "8", "7", "python3"]]}
    assert _host_pid(server) == 8
