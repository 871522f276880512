"""The commands as a user types them, on labs of their own."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from forklab.images import IMAGES
from protocol import exits
from tests.deadline import until
from tests.lab.conftest import ROOT, Rig, new_project


class Shell:
    """Runs tasks under a project name of its own."""

    def __init__(self, project: str) -> None:
        self.project = project
        self.environment = os.environ | {"COMPOSE_PROJECT_NAME": project}
        self.environment |= {name: "" for name in os.environ if name.startswith("FORKLAB_") and "SOURCE" not in name}

    def start(self, *words: str, **environment: str) -> "subprocess.Popen[str]":
        """Start a task."""
        command = [sys.executable, "-m", "invoke", "--search-root", str(ROOT), *words]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(command, cwd=ROOT, env=self.environment | environment, text=True, **pipes)

    def run(self, *words: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        """Run a task to its end."""
        process = self.start(*words, **environment)
        out, err = process.communicate(timeout=120)
        assert "Traceback" not in err, err
        return subprocess.CompletedProcess(words, process.returncode, out, err)

    def json(self, *words: str) -> Any:
        """Run a task that must succeed; what it answers with --json."""
        done = self.run(*words, "--json")
        assert done.returncode == exits.OK, done.stderr
        return json.loads(done.stdout)


@pytest.fixture
def shell(rig: Rig) -> Iterator[Shell]:
    """A shell whose lab is gone afterwards; ``rig`` has built the images."""
    made = Shell(new_project())
    yield made
    made.run("clean", "--project", made.project)


def objects(client: docker.DockerClient, project: str) -> list[str]:
    """Names of all containers, networks and volumes of a project."""
    filters: dict[str, str | list[str] | bool] = {"label": f"com.docker.compose.project={project}"}
    containers = client.containers.list(all=True, filters=filters, ignore_removed=True)
    volumes = client.api.volumes(filters=filters)["Volumes"] or []
    networks = [network.name or "" for network in client.networks.list(filters=filters)]
    return [*(container.name or "" for container in containers), *networks, *(volume["Name"] for volume in volumes)]


def test_up_twice_changes_nothing_and_another_model_replaces_the_server(shell: Shell) -> None:
    """Up is idempotent: the same containers; another model recreates them; the proof fits each model."""
    first = shell.json("up")
    assert first["proof"]["verdict"] == "PASS"
    assert len({row["holders"][0]["pid"] for row in first["proof"]["clients"]}) == 3
    assert shell.json("up")["containers"] == first["containers"]
    other = shell.json("up", "--model", "iterative")
    assert other["containers"] != first["containers"]
    assert (other["model"], other["proof"]["verdict"]) == ("iterative", "PASS")
    assert [len(row["holders"]) for row in other["proof"]["clients"]].count(1) == 1


@pytest.mark.parametrize("model", ["fork", "iterative"])
def test_the_service_store_is_proved(shell: Shell, rig: Rig, model: str) -> None:
    """The recorder and its keeper hold no connection, so the proof passes; the lines of its clients are in the file."""
    up = shell.json("up", "--service", "store", "--model", model)
    assert (up["service"], up["proof"]["verdict"]) == ("store", "PASS")
    names = {process["name"] for process in shell.json("ps")["processes"]}
    assert {"keeper", "recorder"} < names
    (server,) = rig.client.containers.list(filters={"id": up["containers"]["server"]})
    _, kept = server.exec_run(["cat", "/data/store.log"])
    assert isinstance(kept, bytes)
    assert sorted(kept.splitlines()) == [b"client 1", b"client 2", b"client 3"]


def test_status_and_ps_and_logs_name_everything(shell: Shell, engine_client: docker.DockerClient) -> None:
    """Status has model, service, address, ids, PIDs and counts; ps the process tree; logs what the server said."""
    assert shell.json("status")["running"] is False
    shell.json("up")
    status = shell.json("status")
    assert (status["model"], status["service"], status["health"]) == ("fork", "echo", "healthy")
    assert set(status["containers"]) == {"server", "probe"}
    assert (status["connections"], status["processes"], status["zombies"]) == (0, 1, 0)
    assert b"/_run.py\0fork\0" in Path(f"/proc/{status['host_pid']}/cmdline").read_bytes()
    (process,) = shell.json("ps")["processes"]
    assert (process["pid"], process["state"]) == (status["server_pid"], "S")
    host, port = status["address"].split(":")
    with socket.create_connection((host, int(port))) as client:
        client.sendall(b"published")
        assert client.recv(9) == b"published"
        assert shell.json("status")["processes"] == 2
    assert any("client connected" in line for line in shell.json("logs")["lines"])


def test_down_leaves_nothing_and_may_be_repeated(shell: Shell, engine_client: docker.DockerClient) -> None:
    """Down removes containers, network and volumes, also one-off clients; a second down finds nothing."""
    shell.json("up")
    talking = shell.start("client")
    until(lambda: len(objects(engine_client, shell.project)) == 6, "a client runs")
    assert len(shell.json("down")["removed"]) == 6
    assert objects(engine_client, shell.project) == []
    assert shell.json("down")["removed"] == []
    talking.communicate(timeout=30)


def test_clean_shows_first_and_removes_one_project_only(shell: Shell, rig: Rig) -> None:
    """--dry-run lists and removes nothing; --project leaves the labs of others alone."""
    shell.json("up")
    would = shell.json("clean", "--project", shell.project, "--dry-run")["would_remove"]
    assert len(objects(rig.client, shell.project)) == 5
    assert shell.json("clean", "--project", shell.project)["removed"] == would
    assert objects(rig.client, shell.project) == []
    assert rig.snapshot().server


@pytest.mark.parametrize("seconds", [0.5, 1.0, 1.5, 2.0])
def test_killed_up_is_mended(shell: Shell, rig: Rig, seconds: float) -> None:
    """Up is killed by SIGKILL at some moment: down still ends with nothing, after what was under way."""
    process = shell.start("up")
    time.sleep(seconds)  # not to wait for something: this is the moment that is tried
    process.kill()
    process.communicate()
    shell.json("down")
    assert objects(rig.client, shell.project) == []


def test_interrupted_up_is_mended(shell: Shell, rig: Rig) -> None:
    """Ctrl-C during up: one line, exit code 130, and the next up ends well."""
    process = shell.start("up")
    until(lambda: objects(rig.client, shell.project), "up is at work")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert shell.json("up")["proof"]["verdict"] == "PASS"


def test_dead_server_is_told_with_its_last_words(shell: Shell) -> None:
    """A server that dies at once makes up fail at once, with the last lines of its log."""
    done = shell.run("up", "--options", "--backlog many")
    assert done.returncode == exits.USAGE
    assert "'many' is not a number" in done.stderr


def test_port_taken(shell: Shell) -> None:
    """A taken port is named, and what to do; the lab is not half up."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = shell.run("up", "--port", port)
    assert done.returncode == exits.LAB_FAILED
    assert port in done.stderr
    assert shell.json("up", "--port", port)["address"] == f"127.0.0.1:{port}"


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["up", "--model", "frok"], "fork"),
        (["up", "--port", "abc"], '"abc"'),
        (["up", "--pids", "3"], '"3"'),
        (["client", "--mode", "split"], '"split"'),
        (["logs", "--lines", "x"], '"x"'),
    ],
)
def test_wrong_words(shell: Shell, words: list[str], named: str) -> None:
    """A wrong value is named in one line with what there is; exit code 2; with --json the error is a document."""
    done = shell.run(*words, "--json")
    assert done.returncode == exits.USAGE
    assert named in done.stderr
    assert done.stderr.count("\n") == 1
    assert json.loads(done.stdout)["error"]["exit_code"] == exits.USAGE


def test_no_engine(shell: Shell) -> None:
    """With DOCKER_HOST pointing nowhere: one line that names it, exit code 4."""
    done = shell.run("status", DOCKER_HOST="tcp://127.0.0.1:9")
    assert done.returncode == exits.LAB_FAILED
    assert "tcp://127.0.0.1:9" in done.stderr
    assert done.stderr.count("\n") == 1


def test_low_pids_limit_still_proves(shell: Shell) -> None:
    """With the fewest processes allowed the server still starts, serves and passes the proof."""
    assert shell.json("up", "--pids", "16")["proof"]["verdict"] == "PASS"


def test_doctor_finds_nothing_to_fail(shell: Shell) -> None:
    """Where the tests run, the doctor FAILs nothing, and each finding that is not good says how to mend it."""
    done = shell.run("doctor", "--json")
    findings = json.loads(done.stdout)["findings"]
    assert done.returncode == exits.OK, findings
    assert all(finding["mend"] for finding in findings if finding["verdict"] in ("FAIL", "WARN"))


def test_save_and_load(shell: Shell, tmp_path: Path) -> None:
    """What save wrote, load takes back, and nothing has to be built afterwards."""
    file = tmp_path / "stick.tar"
    saved = shell.json("save", str(file))
    assert {f"{name}:latest" for name in IMAGES} < set(saved["images"])
    assert set(shell.json("load", str(file))["images"]) == set(saved["images"])
    assert shell.json("build")["built"] == []


def test_a_trace_from_the_first_call_to_the_last_client(shell: Shell, tmp_path: Path) -> None:
    """``up --trace``, five clients, ``trace``: page, events, pictures; the clients' own processes on the same clock."""
    up = shell.json("up", "--trace")
    assert up["proof"]["verdict"] == "PASS"
    talkers = [shell.start("client") for _ in range(5)]
    for talker in talkers:
        assert talker.communicate("hello\n", timeout=120)[0] == "hello\n"
        assert talker.returncode == 0
    out, chrome = tmp_path / "new" / "t", tmp_path / "chrome.json"
    document = until(lambda: traced(shell, out, chrome, 8), "eight clients were accepted, served, and reaped")
    (server,) = [lane for lane in document["lanes"] if lane["place"] == 0 and lane["parent"] is None]
    children = [lane for lane in document["lanes"] if lane["parent"] == server["id"]]
    assert len(children) == 8
    assert {child["reaped_by"] for child in children} == {server["id"]}
    assert len(document["head"]["places"]) == 9
    for connection in document["connections"]:
        client = document["things"][connection["things"]["client"]]
        assert {document["lanes"][hold["lane"]]["place"] for hold in client["holds"]} != {0}
        assert connection["opened"] <= connection["accepted"]
        assert connection["accepted_by"] == server["id"]
    assert sorted(path.name for path in out.iterdir()) == [
        *("events.jsonl", "raw", "trace.html", "trace.png", "trace.svg", "trace.txt")
    ]
    assert (out / "trace.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads(chrome.read_text())["traceEvents"]
    assert "reaps process" in shell.run("trace").stdout


def traced(shell: Shell, out: Path, chrome: Path, count: int) -> Any:
    """What ``trace`` answers, once that many children have been reaped."""
    document = shell.json("trace", "--out", str(out), "--perfetto", str(chrome))
    kinds = [event["kind"] for event in document["events"] if event["place"] == "server" and not event["minor"]]
    return document if kinds.count("reap") == count else None


def test_a_trace_of_nothing_says_what_to_do(shell: Shell, tmp_path: Path) -> None:
    """Wrong words and a lab that is down: one line, the right code, and no file."""
    assert shell.run("trace", "--seconds", "0").returncode == exits.USAGE
    assert shell.run("trace", "--perfetto", str(tmp_path)).returncode == exits.USAGE
    (tmp_path / "file").write_text("")
    refused = shell.run("trace", "--out", str(tmp_path / "file"))
    assert refused.returncode == exits.USAGE
    assert len(refused.stderr.splitlines()) == 1
    down = shell.run("trace", "--out", str(tmp_path / "t"))
    assert down.returncode == exits.LAB_FAILED
    assert "./lab up" in down.stderr
