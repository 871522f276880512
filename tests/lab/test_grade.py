"""Whole gradings, from outside: what is reported, and that nothing of it stays on the engine."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import docker
import pytest

from forklab.grade import container, flaws
from forklab.lab import Lab
from protocol import exits
from tests.deadline import until
from tests.lab.conftest import ROOT

FLAWS = {(flaw.language, flaw.name): flaw for flaw in flaws.known()}


def start(*words: str) -> "subprocess.Popen[str]":
    """Start a task."""
    command = [sys.executable, "-m", "invoke", "--search-root", str(ROOT), *words]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, cwd=ROOT, env=os.environ, text=True, **pipes)


def grade(path: Path, *words: str) -> tuple[int, dict[str, Any]]:
    """Grade a submission; exit code and document, whose verdicts are added by id."""
    process = start("grade", str(path), "--json", *words)
    out, err = process.communicate(timeout=300)
    assert "Traceback" not in err, err
    document = json.loads(out)
    assert "error" not in document, document
    return process.returncode, {**document, "verdicts": {each["id"]: each["verdict"] for each in document["checks"]}}


def examiners(client: docker.DockerClient, *, only_running: bool = False) -> list[str]:
    """The containers of examiners that there are."""
    found = client.containers.list(all=not only_running, filters={"ancestor": container.IMAGE}, ignore_removed=True)
    return [str(each.id) for each in found]


@pytest.fixture
def alone(engine_client: docker.DockerClient) -> docker.DockerClient:
    """The engine, with the image and without an examiner."""
    Lab.here(engine_client, print).build([container.IMAGE])
    assert examiners(engine_client) == []
    return engine_client


def submit(tmp_path: Path, language: str, name: str) -> Path:
    """A flaw or a twin as a file."""
    flaw = FLAWS[language, name]
    path = tmp_path / flaw.file_name
    path.write_text(flaw.program)
    return path


def test_a_flaw_in_c_is_named_with_its_line(alone: docker.DockerClient, tmp_path: Path) -> None:
    """Exactly reap-burst fails; the evidence ends with the line of the source; nothing of the container stays."""
    path = submit(tmp_path, "c", "reap-burst")
    code, found = grade(path, "--check", "listens,reap-one,reap-burst,reap-never")
    assert code == exits.FAILED
    assert found["model"] == "fork"
    assert found["verdicts"] == {"listens": "PASS", "reap-one": "PASS", "reap-burst": "FAIL", "reap-never": "PASS"}
    assert 0 < found["score"] < 100
    (burst,) = (each for each in found["checks"] if each["verdict"] == "FAIL")
    assert "look at reap_burst.c:25: waitpid(-1, NULL, WNOHANG);" in burst["evidence"]
    assert burst["replay"] == f"./lab grade {path} --check reap-burst"
    assert examiners(alone) == []


def test_a_page_shows_the_moment_in_which_it_failed(alone: docker.DockerClient, tmp_path: Path) -> None:
    """Four zombies to the verdict, one that was waited for, and the signals between, on a page that loads nothing."""
    made = tmp_path / "report.html"
    code, found = grade(submit(tmp_path, "c", "reap-burst"), "--check", "reap-burst", "--html", str(made))
    assert (code, found["verdicts"]["reap-burst"]) == (exits.FAILED, "FAIL")
    text = made.read_text(encoding="utf-8")
    assert not re.search(r"""<script|(?:src|href)=["'](?!#)|url\((?!#)""", text)
    (drawn,) = re.findall(r"<svg.*?</svg>", text, re.DOTALL)
    assert len(re.findall(r"<title>\d+ child: zombie</title>", drawn)) == 5
    steps = [re.sub("<[^>]+>", "", step) for step in re.findall(r"<li value=.*?</li>", text)]
    stop, end, go_on = (
        next(number for number, step in enumerate(steps) if words in step)
        for words in ("SIGSTOP to", "nobody has waited: zombies", "SIGCONT to")
    )
    assert stop < end < go_on
    assert "FAIL: 4 of 5 children stay zombies" in steps[-1]


def test_a_folder_with_a_makefile_is_built_and_fails_nothing(alone: docker.DockerClient, tmp_path: Path) -> None:
    """Core checks only; its own program is found, and started on a port of its own each time."""
    (tmp_path / "echo.c").write_text(FLAWS["c", "fork.c"].program)
    (tmp_path / "Makefile").write_text("all: echod\nechod: echo.c; cc -o echod echo.c\n")
    code, found = grade(tmp_path, "--check", "listens,concurrent,process-per-client")
    assert (code, set(found["verdicts"].values()), found["score"]) == (exits.OK, {"PASS"}, 100)
    assert found["command"] == "./echod {port}"


def test_a_subject_reaches_neither_network_nor_examiner(alone: docker.DockerClient, tmp_path: Path) -> None:
    """It has no capability, writes only in its own folder, sees one network device, and cannot open our output."""
    path = tmp_path / "server.py"
    path.write_text(
        "import os, sys\n"
        "def try_(deed):\n"
        "    try: return str(deed())\n"
        "    except OSError as error: return error.strerror\n"
        "status = open('/proc/self/status').read()\n"
        "print('capabilities', [l.split()[1] for l in status.splitlines() if l.startswith(('CapEff', 'CapPrm'))])\n"
        "print('no new privileges', [l.split()[1] for l in status.splitlines() if l.startswith('NoNewPrivs')])\n"
        "print('devices', sorted(os.listdir('/sys/class/net')))\n"
        "print('root', try_(lambda: open('/lab/x', 'w')))\n"
        "print('results', try_(lambda: open(f'/proc/{os.getppid()}/fd/1', 'w')))\n"
        "print('signal', try_(lambda: os.kill(os.getppid(), 9)))\n"
        "sys.exit(7)\n"
    )
    code, found = grade(path, "--check", "listens")
    assert code == exits.FAILED
    said = "\n".join(found["checks"][0]["evidence"])
    assert "capabilities ['0000000000000000', '0000000000000000']" in said
    assert "no new privileges ['1']" in said
    assert "devices ['lo']" in said
    assert "root Read-only file system" in said
    assert "results Permission denied" in said
    assert "signal Operation not permitted" in said


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_grading_that_is_ended_leaves_nothing(alone: docker.DockerClient, tmp_path: Path, how: int) -> None:
    """Ctrl-C is exit code 130 in one line; killed, the examiner's input ends, and the engine removes the container."""
    process = start("grade", str(submit(tmp_path, "c", "reap-never")))
    until(lambda: examiners(alone, only_running=True), "the container runs", patience=60)
    process.send_signal(how)
    _, err = process.communicate(timeout=60)
    assert "Traceback" not in err
    assert process.returncode == (130 if how == signal.SIGINT else -how)
    until(lambda: not examiners(alone), "the container is gone", patience=60)
