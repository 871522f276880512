"""When the proof says FAIL: what the kernel must not show for each model."""

from typing import Any, cast

import pytest
from docker import DockerClient
from docker.models.containers import Container

from forklab import observe, proof
from forklab.compose import Compose
from forklab.observe import Snapshot
from forklab.proof import Proof
from tests.unit.test_observe import answer, process, row

PEERS = ["10.0.0.1:1", "10.0.0.2:2", "10.0.0.3:3"]
ALONE = Snapshot.parse(answer([process(7, 1)], []))


def look(held_by: list[tuple[int, ...]], *extra: dict[str, Any]) -> Snapshot:
    """The server 7 with children 8, 9 and 10, and three connections held as told."""
    sockets = [row(20 + i if held else 0, PEERS[i], holders=held) for i, held in enumerate(held_by)]
    return Snapshot.parse(answer([process(7, 1), *extra], sockets))


CHILDREN = (process(8, 7), process(9, 7), process(10, 7))


class FakeTalker:
    """A client that is answered at once and leaves when asked."""

    silent = False
    gone = False

    def __init__(self, compose: Any, token: str, line: bytes, answers: Any) -> None:
        if not self.silent:
            answers.put(line)

    def leave(self) -> None:
        """It does."""
        type(self).gone = True

    def over(self) -> bool:
        """Once it was asked to."""
        return self.gone

    def trouble(self, deadline: float) -> str:
        """None."""
        return ""


def prove(monkeypatch: pytest.MonkeyPatch, model: str, during: Snapshot, after: Snapshot) -> Proof:
    """The proof of a server that looks ``during`` until the clients leave, and ``after`` from then on."""
    monkeypatch.setattr(proof, "_GRACE_SECONDS", 0.0)
    monkeypatch.setattr(proof, "Talker", FakeTalker)
    monkeypatch.setattr(FakeTalker, "gone", False)
    monkeypatch.setattr(proof, "_addresses", lambda engine, token: {peer.split(":")[0] for peer in PEERS})
    monkeypatch.setattr(observe, "snapshot", lambda probe: after if FakeTalker.gone else during)
    return proof.prove(cast(DockerClient, None), cast(Compose, None), cast(Container, None), model)


@pytest.mark.parametrize(
    ("model", "during", "after", "reason"),
    [
        ("fork", look([(8,), (9,), (10,)], *CHILDREN), ALONE, ""),
        ("fork", look([(7, 8), (9,), (10,)], *CHILDREN), ALONE, "held by 2 processes"),
        ("fork", look([(8,), (8,), (10,)], *CHILDREN), ALONE, "more than one of the connections"),
        ("fork", look([(7,), (9,), (10,)], *CHILDREN), ALONE, "no child of the server"),
        ("fork", look([(8,), (9,), (10,)], *CHILDREN), look([], process(8, 7, "Z")), "zombies 1"),
        ("fork", look([(8,), (9,), (10,)], *CHILDREN), look([], process(9, 7)), "processes 1"),
        ("fork", look([(8,), (9,), (10,)], *CHILDREN), look([(7,)]), "connections 1"),
        ("fork", look([(8,), (9,)], *CHILDREN), ALONE, "1 of 3 clients not connected"),
        ("iterative", look([(7,), (), ()]), ALONE, ""),
        ("iterative", look([(7,), (7,), ()]), ALONE, "2 connections are accepted at once"),
        ("iterative", look([(8,), (), ()], *CHILDREN), ALONE, "held by process 8, which is not the server itself"),
        ("iterative", look([(7, 8), (), ()], *CHILDREN), ALONE, "held by process 8, which is not"),
        ("iterative", look([(7,), (), ()], *CHILDREN), ALONE, ""),
        ("epoll", look([(7,), (7,), (7,)]), ALONE, ""),
        ("epoll", look([(7,), (7,), ()]), ALONE, "no process holds the connection of 10.0.0.3:3"),
        ("prefork", look([(8,), (9,), (10,)], *CHILDREN), look([], *CHILDREN), ""),
    ],
)
def test_the_verdict_is_what_the_kernel_showed(
    monkeypatch: pytest.MonkeyPatch, model: str, during: Snapshot, after: Snapshot, reason: str
) -> None:
    """PASS without a reason, FAIL with the one fact that contradicts the model."""
    shown = prove(monkeypatch, model, during, after)
    assert shown.verdict == ("FAIL" if reason else "PASS")
    assert reason in shown.reason
    assert bool(shown.reason) == bool(reason)


def test_clients_that_nobody_answers_prove_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cap or another client keeps them waiting: that is not the model's fault, and not good either."""
    monkeypatch.setattr(FakeTalker, "silent", True)
    monkeypatch.setattr(proof, "_SERVE_SECONDS", 0.1)
    shown = prove(monkeypatch, "iterative", look([(), (), ()]), ALONE)
    assert shown.verdict == "INCONCLUSIVE"
    assert "only 0 of 3" in shown.reason


def test_the_evidence_joins_client_process_and_descriptor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who holds which connection by which descriptor, and who that process's parent is."""
    shown = prove(monkeypatch, "fork", look([(8,), (9,), (10,)], *CHILDREN), ALONE)
    first = shown.clients[0]
    assert (first.client, first.inode, first.state) == ("10.0.0.1:1", 20, "ESTABLISHED")
    assert [(holder.pid, holder.ppid, holder.fd) for holder in first.holders] == [(8, 7, 6)]
