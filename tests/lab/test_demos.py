"""Demos in their container: with an init and without, and as little as possible to do harm with."""

import json
import subprocess

import docker
import pytest

from tests.lab.conftest import Rig


def run(rig: Rig, *words: str) -> "subprocess.CompletedProcess[str]":
    """Run ``docker compose run --rm demo WORDS``."""
    command = [*rig.compose, "run", "--rm", "-T", "demo", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_with_an_init_an_orphan_is_waited_for(rig: Rig) -> None:
    """The demo's container has an init as PID 1, and pid1 says so in its one document."""
    done = run(rig, "pid1", "--json")
    found = json.loads(done.stdout)
    assert (done.returncode, found["verdict"]) == (0, "PASS"), done.stderr
    assert (found["measured"]["init"], found["measured"]["orphan_left"]) == (True, False)


def test_without_an_init_the_program_is_pid_1(engine_client: docker.DockerClient, rig: Rig) -> None:
    """Signals without a handler do nothing to it, not even SIGKILL, and the orphan stays a zombie."""
    said = engine_client.containers.run("forklab-demo", ["pid1", "--json"], network_mode="none", remove=True)
    found = json.loads(said)
    assert found["verdict"] == "PASS"
    assert (found["measured"]["init"], found["measured"]["orphan_left"]) == (False, True)
    assert [line for line in found["evidence"] if line.startswith("SIGKILL to PID 1, and it lives")]


@pytest.mark.parametrize("demo", ["zombie", "fork-memory", "multiplexing", "select-wall"])
def test_no_capability_is_needed(rig: Rig, demo: str) -> None:
    """An unprivileged user sees its processes' memory, descriptors and states all the same, and loopback is enough."""
    done = run(rig, demo)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].startswith("verdict: PASS - ")
