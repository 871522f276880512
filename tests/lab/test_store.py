"""The service store in its container: a full disk, and the death of all processes at once."""

import io
import signal
import tarfile
import threading
import uuid

import pytest

from tests.deadline import until
from tests.lab.conftest import Lone, Rig

STORE = ("--service", "store")


def recorded(server: Lone) -> list[bytes]:
    """The lines of the file, also of a container that has ended."""
    stream, _ = server.container.get_archive("/data/store.log")
    with tarfile.open(fileobj=io.BytesIO(b"".join(stream))) as archive:
        member = archive.extractfile("store.log")
        assert member
        return member.read().splitlines(keepends=True)


@pytest.mark.parametrize("model", ["fork", "epoll"])
def test_a_full_disk(rig: Rig, model: str) -> None:
    """Clients are told why, nothing that came back is lost, and as soon as there is room lines are recorded again."""
    with (
        rig.server(model, *STORE, tmpfs={"/data": "size=4m,uid=9190"}) as server,
        rig.hand(server.address) as hand,
    ):
        first, second, third = hand.open(3)
        assert hand.say(first, "before\n") == "before\n"
        server.container.exec_run(["sh", "-c", "cat /dev/zero > /data/ballast"])
        # What the recorder had reserved for itself is used first.
        filled = hand.count_up(second, 10_000)
        assert filled["end"] == "ERROR No space left on device; this line was not recorded, nor what follows it\n"
        assert "cannot record: No space left on device; clients are told" in server.log()
        refused = hand.count_up(third, 10_000)
        assert (refused["lines"], refused["end"]) == (0, filled["end"])
        (fourth,) = hand.open(1)
        assert server.container.exec_run(["rm", "/data/ballast"])[0] == 0
        until(lambda: server.log().count("recording in /data/store.log") == 2, "there is room, which is told")
        assert hand.say(fourth, "after\n") == "after\n"
        said = server.container.exec_run(["cat", "/data/store.log"])[1]
        assert isinstance(said, bytes)
        kept = said.splitlines()
        assert [kept[0], kept[-1]] == [b"before", b"after"]
        assert list(map(int, kept[1:-1])) == list(range(filled["lines"]))


def test_the_server_is_killed(rig: Rig) -> None:
    """When the parent dies the container's init ends, and with it every process: what came back is in the file."""
    label = {"forklab": "volume", "com.docker.compose.project": rig.project}
    volume = rig.client.volumes.create(name=f"{rig.project}-{uuid.uuid4().hex[:8]}", labels=label)
    try:
        with (
            rig.server("fork", *STORE, volumes={volume.name: {"bind": "/data"}}) as server,
            rig.hand(server.address) as hand,
        ):
            (peer,) = hand.open(1)
            seen = server.snapshot()
            assert {"keeper", "recorder"} < {process.name for process in seen.processes}
            kill = ["sh", "-c", f"kill -{int(signal.SIGKILL)} {seen.server}"]
            threading.Timer(0.5, server.probe.exec_run, [kill]).start()
            echoed = hand.count_up(peer, 10_000)["lines"]
            server.container.wait(timeout=20)
            lines = [int(line) for line in recorded(server) if line.endswith(b"\n")]
            assert echoed > 50
            assert lines[:echoed] == list(range(echoed))
            assert len(lines) <= echoed + 1
    finally:
        volume.remove(force=True)
