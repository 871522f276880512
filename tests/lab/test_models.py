"""Every model in its container, one after the other under the same demands: what differs is only what should."""

import signal

import pytest

from forklab.registry import MODELS
from tests.deadline import until
from tests.lab.conftest import Rig, holders

AT_ONCE = {"iterative": 1}
"""How many of five clients are answered at once, where it is not all of them."""


@pytest.mark.parametrize("model", MODELS.ids())
@pytest.mark.parametrize("init", [True, False], ids=["init", "pid-1"])
def test_serves_half_closes_drains(rig: Rig, model: str, init: bool) -> None:
    """Clients are answered in reverse order of connecting, get every byte and FIN, and SIGTERM ends it with 0.

    Each connection has one holder, none has two, and nothing is left when all have gone; as PID 1 too.
    """
    with rig.server(model, init=init) as server, rig.hand(server.address) as hand:
        at_rest = len(server.snapshot().processes)
        peers = hand.open(AT_ONCE.get(model, 5), "hello")
        assert [hand.say(peer, "again") for peer in reversed(peers)] == ["again"] * len(peers)
        assert holders(server.snapshot, peers)
        assert hand.finish(peers[0], 1 << 16) == {"same": True, "end": "FIN"}
        hand.close()
        until(lambda: len(server.snapshot().processes) == at_rest, "as before the clients came")
        assert not server.snapshot().zombies()
        server.container.kill(signal.SIGTERM)
        assert server.container.wait(timeout=20)["StatusCode"] == 0
        assert "stopped" in server.log()
