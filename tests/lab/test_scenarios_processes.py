"""The scenarios of processes and signals fail, and name the reason, when the program that they observe is wrong."""

from pathlib import Path

import docker
import pytest

from forklab.harness import NotSo, Stage, library
from tests.lab.conftest import ROOT, Rig

BROKEN = {
    "fork-memory": ("mmap.MAP_SHARED", "mmap.MAP_PRIVATE", "both see what is written to memory mapped MAP_SHARED"),
    "process-states": ('"Z": start(lambda: None)', '"Z": start(spin)', "R, S, T, Z; found R S T R"),
    "zombie": ("    os.waitpid(pids[-1], 0)\n", "", "waited for is gone, and not a zombie; found 2 zombies"),
    "wait": ("pid, status = os.wait()", "pid, status = os.waitpid(-1, os.WNOHANG)", "wait sleeps until a child has"),
    "waitpid": ("chosen, _ = os.waitpid(other, 0)", "chosen, _ = os.waitpid(-1, 0)", "passes over a child"),
    "signal-alarm": ("libc.sleep(SLEEP)", "time.sleep(0.1) or 0", "SIGALRM ends sleep"),
    "sigaction": ("signal.siginterrupt(USR1, not restart)", "pass", "with SA_RESTART the interrupted read"),
    "reap-sigchld": (
        "        while True:\n            try:",
        "        for _ in ():\n            try:",
        "the handler waits for",
    ),
    "reap-burst": ("while os.waitpid(-1, os.WNOHANG) != (0, 0):\n            pass", "os.waitpid(-1, 0)", "in a loop"),
    "pid1": (
        "    told, tell = os.pipe()\n",
        "    told, tell = os.pipe()\n    signal.signal(signal.SIGTERM, lambda *_: None)\n",
        "PID 1 gets no signal without a handler",
    ),
}
"""What the right program has, what the wrong one has in its place, and the claim that must fail."""

SMALL = {
    "zombie": {"zombies": "1"},
    "waitpid": {"polls": "10"},
    "signal-alarm": {"seconds": "1", "alarm": "20"},
    "reap-sigchld": {"children": "1"},
    "reap-burst": {"children": "3", "runs": "5"},
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_wrong_program_fails(name: str, engine_client: docker.DockerClient, rig: Rig, tmp_path: Path) -> None:
    """The claim that does not hold is the one that the mistake breaks, and the rows that decide it are shown."""
    right, mistaken, claim = BROKEN[name]
    demo = f"demos/{name.replace('-', '_')}.py"
    text = (ROOT / demo).read_text(encoding="utf-8")
    assert right in text
    (tmp_path / "demos").mkdir()
    (tmp_path / demo).write_text(text.replace(right, mistaken), encoding="utf-8")
    scenario = library.load(name)
    stage = Stage(engine_client, scenario.read(SMALL.get(name, {})), print, subject=tmp_path)
    with pytest.raises(NotSo) as failed:
        scenario.run(stage)
    assert claim in str(failed.value)
    assert stage.found.evidence
