"""The scenarios that compare models, and of shortages, fail when what they observe is broken, and name the reason."""

from pathlib import Path

import docker
import pytest

from forklab.harness import NotSo, Stage, library
from tests.lab.conftest import ROOT, Rig

FORK = (ROOT / "server" / "fork.py").read_text(encoding="utf-8")
EPOLL = (ROOT / "server" / "epoll_loop.py").read_text(encoding="utf-8")

BROKEN = {
    "waiting-time": (
        "server/fork.py",
        "if parked and start_child(*parked, children, listener, handle, stop):",
        "if parked and [handle(*parked)]:",
        "fork lets nobody wait for the others",
    ),
    "select-wall": ("server/select_loop.py", "highest=FD_SETSIZE - 1", "highest=None", "the server select lives on"),
    "multiplexing": (
        "demos/multiplexing.py",
        "    serve(list(",
        "    one_after_the_other(list(",
        "each client that spoke",
    ),
    "thread-race": ("demos/thread_race.py", "with self._lock:", "if True:", "with a lock nobody writes between"),
    "cost": ("server/epoll_loop.py", EPOLL, FORK, "costs fork more memory than epoll"),
    "slow-reader": (
        "server/services/echo.py",
        "        sent = talk.send(data)",
        "        talk.connection.setblocking(True)\n        sent = talk.connection.sendall(data) or len(data)",
        "epoll answers others beside a client that never reads",
    ),
    "fork-fails": (
        "server/fork.py",
        "        listener.pause(events.FORK_FAILED, error, peer=peer)",
        "        raise",
        "the server fork lives on",
    ),
    "fd-exhaustion": (
        "server/_listener.py",
        "                self.pause(events.ACCEPT_FAILED, error)",
        "                pass",
        "the server pauses before it asks again",
    ),
}
"""A file, what it has, what it has instead when it is wrong, and the claim that must fail."""

SMALL = {
    "waiting-time": {"clients": "10", "service": "0.2", "models": "fork"},
    "select-wall": {"clients": "1030"},
    "multiplexing": {"clients": "2"},
    "thread-race": {"rounds": "2"},
    "cost": {"connections": "20", "rounds": "2", "models": "epoll"},
    "slow-reader": {"trips": "10", "models": "epoll"},
    "fork-fails": {"clients": "3", "room": "1", "seconds": "0.5"},
    "fd-exhaustion": {"clients": "3", "room": "1", "seconds": "0.5"},
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_wrong_subject_fails(name: str, engine_client: docker.DockerClient, rig: Rig, tmp_path: Path) -> None:
    """The claim that does not hold is the one that the mistake breaks."""
    place, right, mistaken, claim = BROKEN[name]
    text = (ROOT / place).read_text(encoding="utf-8")
    assert right in text
    (tmp_path / place).parent.mkdir(parents=True)
    (tmp_path / place).write_text(text.replace(right, mistaken), encoding="utf-8")
    scenario = library.load(name)
    stage = Stage(engine_client, scenario.read(SMALL[name]), print, subject=tmp_path)
    with pytest.raises(NotSo) as failed:
        scenario.run(stage)
    assert claim in str(failed.value)
