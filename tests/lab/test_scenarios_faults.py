"""The scenarios about faults say FAIL, and why, when the server they look at does not do what it should."""

import shutil
from pathlib import Path

import pytest
from docker import DockerClient

from forklab import base, images
from forklab.harness import NotSo, Scenario, Stage
from forklab.lab import Lab
from forklab.scenarios import kill_child, kill_parent, partition, peer_vanishes, reset

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def built(engine_client: DockerClient) -> DockerClient:
    """The engine, with images that are current."""
    base.ensure(engine_client, print)
    Lab.here(engine_client, print).build()
    assert not images.stale(engine_client)
    return engine_client


BROKEN = [
    pytest.param(
        kill_child.SCENARIO,
        "server/fork.py",
        "            reap(children)\n        if ready",
        "            pass\n        if ready",
        "no zombie stays",
        {"clients": "2", "bytes": "1"},
        id="kill-child",
    ),
    pytest.param(
        kill_parent.SCENARIO,
        "server/fork.py",
        "        stop.forget()\n        listener.close()\n",
        "        stop.forget()\n",
        "no orphan holds the listener",
        {"clients": "1"},
        id="kill-parent",
    ),
    pytest.param(
        partition.SCENARIO,
        "server/_conversation.py",
        "if self.idle > 0:\n            _limit_idleness(connection, self.idle)",
        "if True:\n            _limit_idleness(connection, 0.3)",
        "arrive whole",
        {"seconds": "1.5"},
        id="partition",
    ),
    pytest.param(
        reset.SCENARIO,
        "server/_conversation.py",
        "except OSError:  # ECONNRESET, EPIPE, ETIMEDOUT",
        "except ZeroDivisionError:  #",
        "the end of its one client",
        {"clients": "1"},
        id="reset",
    ),
    pytest.param(
        peer_vanishes.SCENARIO,
        "server/_listener.py",
        "self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)",
        "pass",
        "a keepalive timer",
        {"clients": "1"},
        id="peer-vanishes",
    ),
]
"""The scenario, a file of the server, what stands there, what the mistaken server has instead, and what FAIL names."""


@pytest.mark.parametrize(("scenario", "file", "right", "mistaken", "reason", "values"), BROKEN)
def test_a_broken_server_fails(
    built: DockerClient,
    tmp_path: Path,
    scenario: Scenario,
    file: str,
    right: str,
    mistaken: str,
    reason: str,
    values: dict[str, str],
) -> None:
    """With one mistake in the server the claim that is not so names it."""
    wrong = tmp_path / file
    wrong.parent.mkdir(parents=True)
    shutil.copy(ROOT / file, wrong)
    text = wrong.read_text()
    assert right in text
    wrong.write_text(text.replace(right, mistaken))
    with pytest.raises(NotSo, match=reason):
        scenario.run(Stage(built, scenario.read(values), print, subject=tmp_path))
