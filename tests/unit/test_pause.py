"""A server that pauses, because the kernel refused it something, goes on afterwards, whenever the pause runs out."""

import itertools
import resource
import sys
from functools import partial
from pathlib import Path

import pytest

from protocol import events
from tests.deadline import until
from tests.unit.serving import Server, serving

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the server runs in Linux containers")

CLOCK = """
import itertools, time

steps = itertools.cycle((0.011, 0.023, 0.037, 0.053, 0.071))
now = 0.0


def monotonic():
    global now
    now += next(steps)
    return now


time.monotonic = monotonic
"""
"""Each look at the clock is tens of milliseconds after the last one: so a pause ends between any two lines, as it does
where many programs want the processors."""
ROUNDS = 12


def lowest_free(pid: int) -> int:
    """The number that the next descriptor of a process would get; at this limit it gets none (getrlimit(2))."""
    taken = {int(path.name) for path in Path(f"/proc/{pid}/fd").iterdir()}
    return next(number for number in itertools.count() if number not in taken)


def refused(server: Server, times: int) -> bool:
    """Whether the server has told that often that it cannot accept."""
    return len(server.events(events.ACCEPT_FAILED)) == times


@pytest.mark.parametrize("model", ["iterative", "fork", "thread", "select", "poll", "epoll"])
def test_a_pause_that_ends_between_two_lines_ends(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No descriptor is free, then some are: each time the client who waited in the backlog is answered."""
    (tmp_path / "sitecustomize.py").write_text(CLOCK)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with serving(tmp_path, model) as server:
        pid = server.process.pid
        usual = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        for number in range(1, ROUNDS + 1):
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (lowest_free(pid), usual[1]))
            with server.connect() as client:
                until(partial(refused, server, number), "accept has failed")
                resource.prlimit(pid, resource.RLIMIT_NOFILE, usual)
                client.sendall(b"x")
                assert client.recv(1) == b"x"
            until(server.at_rest, "it has left")
