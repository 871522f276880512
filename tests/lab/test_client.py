"""``docker compose run --rm client`` in a fresh copy of the checkout, with nothing but docker compose."""

import os
import shlex
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest

from forklab import compose
from tests.deadline import until
from tests.lab.conftest import ROOT, Rig

LEFT_OUT = shutil.ignore_patterns(".git", ".venv*", ".env", "__pycache__", ".*_cache", ".coverage*", ".lab.lock")


class Copy:
    """A copy of the checkout, in a folder with a space in its name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(ROOT, folder, ignore=LEFT_OUT)
        self.command = list(compose.find().command)
        self.environment = {key: value for key, value in os.environ.items() if not key.startswith("FORKLAB_")}

    def compose(self, *words: str, stdin: bytes = b"", **environment: str) -> "subprocess.CompletedProcess[bytes]":
        """Run compose there, as a user would."""
        command = [*self.command, *words]
        surroundings = self.environment | environment
        return subprocess.run(command, cwd=self.folder, env=surroundings, input=stdin, capture_output=True, timeout=120)


@pytest.fixture
def copy(rig: Rig, tmp_path: Path) -> Iterator[Copy]:
    """A copy whose lab is gone afterwards. The images are there; no lab of this copy has ever been up."""
    made = Copy(tmp_path / f"lab {uuid.uuid4().hex[:8]}")
    yield made
    gone = made.compose("--profile", "client", "down", "--volumes", "--remove-orphans", "--timeout", "1")
    assert gone.returncode == 0, gone.stderr


def test_pipe_before_any_up(copy: Copy) -> None:
    """Without any up before it, the client starts the server, prints its echo and leaves with 0 at the line q."""
    done = copy.compose("run", "--rm", "-T", "client", stdin=b"hello\nq\n")
    assert (done.returncode, done.stdout) == (0, b"hello\n"), done.stderr


def test_another_model_by_its_variable(copy: Copy) -> None:
    """FORKLAB_MODEL chooses the server's model for a plain compose."""
    done = copy.compose("run", "--rm", "-T", "client", stdin=b"hello\n", FORKLAB_MODEL="iterative")
    assert (done.returncode, done.stdout) == (0, b"hello\n"), done.stderr
    logs = copy.compose("logs", "server", FORKLAB_MODEL="iterative")
    assert b"model iterative" in logs.stdout


def test_lock_step(copy: Copy) -> None:
    """The other mode is a word of the client's command line."""
    done = copy.compose("run", "--rm", "-T", "client", "lock-step", stdin=b"one\ntwo\n")
    assert (done.returncode, done.stdout) == (0, b"one\ntwo\n"), done.stderr


def test_up_with_another_model_is_not_undone(copy: Copy) -> None:
    """After ``up --model iterative`` a plain ``docker compose run client`` talks to that server and leaves it alone."""
    import sys

    environment = {key: value for key, value in copy.environment.items() if key != "COMPOSE_PROJECT_NAME"}
    invoke = [sys.executable, "-m", "invoke", "up", "--model", "iterative"]
    up = subprocess.run(invoke, cwd=copy.folder, env=environment, capture_output=True, timeout=120)
    assert up.returncode == 0, up.stderr
    before = copy.compose("ps", "--quiet", "server").stdout
    assert copy.compose("run", "--rm", "-T", "client", stdin=b"hello\n").stdout == b"hello\n"
    assert copy.compose("ps", "--quiet", "server").stdout == before


def test_terminal(copy: Copy) -> None:
    """In a terminal one types a line, sees the echo, and ends with q; the terminal is as it was."""
    command = [*copy.command, "run", "--rm", "client"]
    shell = pexpect.spawn("/bin/sh", cwd=str(copy.folder), env=copy.environment, timeout=60, encoding="utf-8")
    try:
        shell.sendline("PS1='ready> '; stty -a > before")
        shell.expect("ready> $")
        shell.sendline(shlex.join(command))
        shell.expect("ends it")
        shell.sendline("hello from a terminal")
        shell.expect("hello from a terminal\r\n")  # what the terminal shows of the typing
        shell.expect("hello from a terminal\r\n")  # what the server sent back
        shell.sendline("q")
        shell.expect("ready> ")
        shell.sendline("echo code=$?; stty -a > after; cmp before after && echo same")
        shell.expect("code=0")
        shell.expect("same\r\n")
    finally:
        shell.close(force=True)


def test_interrupt_in_a_terminal(copy: Copy, rig: Rig) -> None:
    """Ctrl-C ends both processes of the client, its container goes, and the shell is told 130."""
    shell = pexpect.spawn("/bin/sh", cwd=str(copy.folder), env=copy.environment, timeout=60, encoding="utf-8")
    try:
        shell.sendline("PS1='ready> '")
        shell.expect("ready> ")
        shell.sendline(shlex.join([*copy.command, "run", "--rm", "client"]))
        shell.expect("ends it")
        shell.sendintr()
        shell.expect("ready> ")
        shell.sendline("echo code=$?")
        shell.expect("code=130")
    finally:
        shell.close(force=True)
    ours: dict[str, str | list[str] | bool] = {
        "label": ["com.docker.compose.service=client", f"com.docker.compose.project.working_dir={copy.folder}"]
    }
    until(
        lambda: not rig.client.containers.list(all=True, filters=ours, ignore_removed=True),
        "the client's container is gone",
    )
