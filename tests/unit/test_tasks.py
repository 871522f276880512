"""The front: names, exit codes, and one JSON document whatever happens."""

import json
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from docker.errors import APIError
from invoke.config import Config
from invoke.program import Program

import tasks
from forklab import engine, images, show
from forklab.errors import LabError, UsageError
from forklab.lab import Lab, Status, Thing
from tests.unit.test_show import DOWN, PROOF, STATUS


class FakeLab:
    """Answers, or fails, as each test wants; keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.trouble: BaseException | None = None

    def _answer(self, answer: Any, *asked: Any) -> Any:
        self.asked.append(asked)
        if self.trouble:
            raise self.trouble
        return answer

    def build(self) -> list[str]:
        """Everything was up to date."""
        return list(self._answer([]))

    def up(self, settings: Any) -> Any:
        """Up, with a proof that failed."""
        return self._answer((STATUS, PROOF), settings)

    def status(self) -> Status:
        """It is down."""
        show.say("progress")
        return self._answer(DOWN)  # type: ignore[no-any-return]

    def logs(self, lines: int, *, follow: bool = False) -> Iterator[bytes]:
        """Two lines."""
        return iter(self._answer([b"one\n", b"two\n"], lines, follow))

    def talk(self, mode: str, *, raw: bool, capture: bool) -> tuple[int, bytes]:
        """A client that ended with 5."""
        return self._answer((5, b"hello\xff"), mode, raw, capture)  # type: ignore[no-any-return]

    def clean(self, project: str, *, with_images: bool, dry_run: bool) -> list[Thing]:
        """One network."""
        return list(self._answer([Thing("network", "n", "1", project)], project, with_images, dry_run))


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch) -> FakeLab:
    """Stands in for the lab and the engine."""
    made = FakeLab()
    monkeypatch.setattr(engine, "connect", lambda say: object())
    monkeypatch.setattr(Lab, "here", lambda client, say, echo=False: made)
    for name in ("FORKLAB_MODEL", "FORKLAB_SERVICE", "FORKLAB_PORT", "FORKLAB_SERVER_OPTIONS", "FORKLAB_PIDS"):
        monkeypatch.delenv(name, raising=False)
    return made


def invoke(*words: str) -> int:
    """The exit code of ``invoke WORDS``, run in this process."""

    class Here(Config):
        prefix = "forklab-test"  # neither the user's nor the system's invoke.yaml

    program = Program(namespace=tasks.namespace, config_class=Here)
    try:
        program.run(["invoke", *words], exit=True)
    except SystemExit as left:
        return int(left.code or 0)
    return 0


def test_no_task_lists_all_in_groups(capsys: pytest.CaptureFixture[str]) -> None:
    """Each task has a line, below its group; the listing needs no engine."""
    assert invoke("tasks") == 0
    words = capsys.readouterr().out
    groups = ["Stand it up", "Look", "Talk", "Clean up", "Carry", "Develop"]
    assert [line.strip() for line in words.splitlines() if line.strip() in groups] == groups
    for name in ["doctor", "build", "up", "status", "ps", "logs", "client", "down", "clean", "save", "load", "test"]:
        assert any(line.split()[:1] == [name] and len(line.split()) > 3 for line in words.splitlines()), name


def test_every_word_of_every_task_has_help() -> None:
    """And every task speaks JSON."""
    fresh = runpy.run_path(str(Path(tasks.__file__)))["namespace"]  # invoke takes the help away when it reads it
    for name, found in fresh.tasks.items():
        words = {argument.name: argument.help for argument in found.get_arguments()}
        assert "json" in words
        assert all(words.values()), f"{name}: {words}"


def test_json_is_one_document_and_progress_goes_elsewhere(lab: FakeLab, capsys: pytest.CaptureFixture[str]) -> None:
    """Scripts can parse standard output as it is."""
    assert invoke("status", "--json") == 0
    written = capsys.readouterr()
    assert json.loads(written.out)["running"] is False
    assert written.err == "progress\n"


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        (("up", "--port", "abc"), "abc"),
        (("up", "--model", "frok"), "frok"),
        (("up", "--pids", "x"), "x"),
        (("logs", "--lines", "many"), "many"),
        (("logs", "--follow", "--json"), "--follow"),
        (("clean", "--project", "a", "--images"), "--images"),
    ],
)
def test_wrong_words_are_one_line_and_exit_2(
    lab: FakeLab, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], wrong: str
) -> None:
    """The line has the value; the lab was not asked for anything."""
    assert invoke(*words) == 2
    error = capsys.readouterr().err
    assert error.startswith("lab: ")
    assert wrong in error
    assert error.count("\n") == 1
    assert lab.asked == []


@pytest.mark.parametrize(
    ("trouble", "code", "words"),
    [
        (LabError("the disk is full"), 4, "lab: the disk is full"),
        (UsageError("no such thing"), 2, "lab: no such thing"),
        (APIError("500 Server Error", explanation="driver failed"), 4, "driver failed"),
        (ConnectionResetError("gone"), 4, "unexpected ConnectionResetError"),
        (ZeroDivisionError("x"), 4, "FORKLAB_DEBUG=1"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_what_goes_wrong_is_a_line_and_a_code(
    lab: FakeLab, capsys: pytest.CaptureFixture[str], trouble: BaseException, code: int, words: str
) -> None:
    """Never a traceback; with --json the error is the one document."""
    lab.trouble = trouble
    assert invoke("status", "--json") == code
    written = capsys.readouterr()
    assert json.loads(written.out)["error"]["exit_code"] == code
    assert words in written.err
    assert "Traceback" not in written.err


def test_a_failed_proof_fails_the_task(lab: FakeLab, capsys: pytest.CaptureFixture[str]) -> None:
    """The lab is up, but it does not do what its model promises: exit 1, with status and proof."""
    assert invoke("up", "--json", "--model", "iterative", "--port", "7000") == 1
    read = json.loads(capsys.readouterr().out)
    assert (read["address"], read["proof"]["verdict"]) == ("127.0.0.1:32768", "FAIL")
    assert (lab.asked[0][0].model, lab.asked[0][0].port) == ("iterative", "7000")


def test_the_clients_exit_code_is_passed_on(lab: FakeLab, capsys: pytest.CaptureFixture[str]) -> None:
    """With --json what it received is in the document, whatever the bytes."""
    assert invoke("client", "--mode", "lock-step", "--raw", "--json") == 5
    assert json.loads(capsys.readouterr().out) == {"mode": "lock-step", "received": "hello\ufffd", "exit_code": 5}
    assert lab.asked == [("lock-step", True, True)]


def test_logs_are_passed_on_as_they_are(lab: FakeLab, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """Bytes in, bytes out."""
    assert invoke("logs", "--lines", "2") == 0
    assert capfdbinary.readouterr().out == b"one\ntwo\n"


def test_a_dry_run_says_would(lab: FakeLab, capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody shall think that something was removed."""
    assert invoke("clean", "--dry-run", "--project", "demo") == 0
    assert "Would be removed (1)" in capsys.readouterr().out
    assert lab.asked == [("demo", False, True)]


def test_save_hands_the_file_on(
    lab: FakeLab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The file is a word without an option."""
    saved = images.Saved(tmp_path / "x.tar", 5, {"forklab-server:latest": ("abc", 3)})
    monkeypatch.setattr(images, "save", lambda client, path, say: saved)
    assert invoke("save", str(tmp_path / "x.tar"), "--json") == 0
    assert json.loads(capsys.readouterr().out)["bytes"] == 5
