"""The bench for real, as small as it can be: it measures, it knows the same names as the host, it leaves nothing."""

import json
import os
import signal
import subprocess
import sys
from typing import Any

import docker
import pytest

from forklab.bench import catalogue, container
from forklab.lab import Lab
from protocol import exits
from tests.deadline import until
from tests.lab.conftest import ROOT

SMALL = ("bench", "--quick", "--only", "churn-8,fork,c-fork", "--json")


def start(*words: str) -> "subprocess.Popen[str]":
    """Start a task."""
    command = [sys.executable, "-m", "invoke", "--search-root", str(ROOT), *words]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, cwd=ROOT, env=os.environ, text=True, **pipes)


def benches(client: docker.DockerClient, *, only_running: bool = False) -> list[str]:
    """The containers of the bench that there are."""
    found = client.containers.list(all=not only_running, filters={"ancestor": container.IMAGE}, ignore_removed=True)
    return [str(each.id) for each in found]


@pytest.fixture
def alone(engine_client: docker.DockerClient) -> docker.DockerClient:
    """The engine, with the image and without a bench."""
    Lab.here(engine_client, print).build([container.IMAGE])
    assert benches(engine_client) == []
    return engine_client


def volumes(client: docker.DockerClient) -> set[str]:
    """All of them."""
    return {str(volume.name) for volume in client.volumes.list()}


def test_a_small_bench_measures_and_leaves_nothing(alone: docker.DockerClient) -> None:
    """Both entrants have a figure in each round and no error; afterwards there is no container and no volume of it."""
    before = volumes(alone)
    process = start(*SMALL)
    out, err = process.communicate(timeout=120)
    assert process.returncode == exits.OK, err
    run = json.loads(out)
    assert run["complete"]
    rows = {row["entrant"]: row for row in run["sections"]["churn-8"]["rows"]}
    assert set(rows) == {"fork", "c-fork"}
    for row in rows.values():
        assert row["value"]["rounds"] == run["rounds"] - 1
        assert row["value"]["low"] > 0
        assert row["details"]["p50_us"] > 0
        assert row["errors"] == {}
    (judged,) = [goal for goal in run["goals"] if goal["measured"]]
    assert (judged["goal"], judged["section"]) == ("fork-c", "churn-8")
    assert run["machine"]["versions"]["c-fork"]
    assert benches(alone) == []
    assert volumes(alone) <= before


def test_ctrl_c_shows_what_was_measured_and_leaves_nothing(alone: docker.DockerClient) -> None:
    """Exit 130, one JSON document that is not complete, no container."""
    process = start("bench", "--only", "churn-8,fork,c-fork", "--json")
    assert process.stderr
    for line in process.stderr:
        if "round 2" in line:  # the warm-up is over
            break
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == exits.SIGNAL_BASE + signal.SIGINT, err
    assert "Traceback" not in err
    run = json.loads(out)
    assert (run["complete"], run["trouble"]) == (False, "interrupted")
    assert run["samples"]
    assert benches(alone) == []


def test_a_bench_whose_host_is_killed_ends_itself(alone: docker.DockerClient) -> None:
    """Its standard input ends, so it ends, and the engine removes it."""
    process = start("bench", "--only", "churn-8,fork,c-fork")
    until(lambda: benches(alone, only_running=True), "the container runs", patience=60)
    process.kill()
    process.communicate()
    until(lambda: not benches(alone), "the container is gone", patience=60)


def test_container_and_host_know_the_same_names(alone: docker.DockerClient) -> None:
    """The ids of sections and entrants, as the container lists them when it is given one that there is not."""
    output = alone.containers.create(container.IMAGE, ["--only", "?"], labels={"forklab": "container"})
    try:
        output.start()
        assert output.wait()["StatusCode"] == exits.USAGE
        words = output.logs().decode()
    finally:
        output.remove(force=True)
    assert ", ".join(catalogue.SECTIONS) in words
    assert ", ".join(sorted(catalogue.ENTRANTS)) in words
