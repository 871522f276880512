"""The scenarios of descriptors and connections fail, and name the reason, when the program they observe is wrong."""

from pathlib import Path

import docker
import pytest

from forklab.harness import NotSo, Stage, library
from tests.lab.conftest import ROOT, Rig

BROKEN = {
    "listener-leak": (
        "demos/listener_leak.py",
        "            if closes:\n                listener.close()",
        "",
        "child has closed its copy of the listener",
    ),
    "lockstep-deadlock": ("demos/lockstep_deadlock.py", "UNIT = 4096", "UNIT = ALL", "in units both get as many bytes"),
    "pipe-oneway": (
        "demos/pipe_oneway.py",
        "        if closes:\n            os.close(writer)",
        "",
        "with the last write end closed, read returns 0",
    ),
    "pipe-twoway": (
        "demos/pipe_twoway.py",
        "got_two = two_pipes(show)",
        "got_two = one_pipe(show)",
        "uses a pipe for each way",
    ),
    "fd-copies": (
        "server/fork.py",
        "    connection.close()\n    return True\n",
        "    KEPT.append(connection)\n    return True\n\n\nKEPT: list[socket.socket] = []\n",
        "the parent closes its copy",
    ),
    "half-close": ("client/_hand.py", "socket.SHUT_WR", "socket.SHUT_RDWR", "nobody resets the connection"),
    "store": (
        "server/services/store.py",
        "yield from _record(talk, lines)",
        "yield from _record(talk, lines + lines)",
        "twice, or not in order",
    ),
    "time-wait": (
        "server/_listener.py",
        "self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)",
        "pass",
        "which sets SO_REUSEADDR, binds at once",
    ),
}
"""The file of the right program, what the wrong one has in place of what, and the claim that must fail."""

STAND_INS = {
    "fork-server": ("server/fork.py", "server/thread.py", "a process that the accepting one has forked"),
    "split-io": ("client/fork_split.py", "client/lock_step.py", "times as fast"),
}
"""The file of the right program, the file of another one that takes its place, and the claim that must fail."""

SMALL = {
    "fork-server": {"clients": "2"},
    "fd-copies": {"seconds": "0"},
    "half-close": {"bytes": "1000"},
    "split-io": {"rtt": "50", "lines": "10"},
    "store": {"clients": "2", "lines": "10", "kills": "0"},
    "time-wait": {"clients": "1"},
}


@pytest.mark.parametrize("name", [*BROKEN, *STAND_INS])
def test_a_wrong_program_fails(name: str, engine_client: docker.DockerClient, rig: Rig, tmp_path: Path) -> None:
    """The claim that does not hold is the one that the mistake breaks, and what decides it is shown."""
    if name in BROKEN:
        file, right, mistaken, claim = BROKEN[name]
        text = (ROOT / file).read_text(encoding="utf-8")
        assert right in text
        text = text.replace(right, mistaken)
    else:
        file, other, claim = STAND_INS[name]
        text = (ROOT / other).read_text(encoding="utf-8")
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).write_text(text, encoding="utf-8")
    scenario = library.load(name)
    stage = Stage(engine_client, scenario.read(SMALL.get(name, {})), print, subject=tmp_path)
    with pytest.raises(NotSo) as failed:
        scenario.run(stage)
    assert claim in str(failed.value)
    assert stage.found.evidence
