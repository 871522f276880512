"""The building of images without an engine: what host, examiner and the first process of a container must agree on."""

import contextlib
import queue
import re
import time
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from docker.errors import ImageNotFound

from examiner import _examination
from forklab.errors import UsageError
from forklab.grade import box, dockerfile, image
from forklab.grade.dockerfile import State, Step
from forklab.grade.submission import Submission

HOLD = Path(__file__).parents[2] / "examiner" / "hold.c"


def test_the_first_process_knows_the_folder_and_the_users_of_the_examiner() -> None:
    """It closes what would be open to them, and looks that nothing is in the folder."""
    said = dict(re.findall(r'^#define (\w+) "?([^"\s]+)"?', HOLD.read_text(), re.MULTILINE))
    assert said["LENT"] == box.LENT == str(_examination.LENT)
    assert int(said["FIRST_UID"]) == _examination.FIRST_UIDS.start
    assert int(said["NOBODY"]) not in _examination.FIRST_UIDS


def test_a_dockerfile_is_a_file_at_the_top_of_a_folder(tmp_path: Path) -> None:
    """Neither a link to somewhere, nor a submission of its own, nor one further down."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "Dockerfile").write_text("FROM x")
    assert Submission.at(tmp_path).dockerfile is None
    (tmp_path / "Dockerfile").symlink_to("docs/Dockerfile")
    assert Submission.at(tmp_path).dockerfile is None
    (tmp_path / "Dockerfile").unlink()
    (tmp_path / "Dockerfile").write_text("FROM x")
    assert Submission.at(tmp_path).dockerfile == tmp_path / "Dockerfile"
    assert Submission.at(tmp_path / "Dockerfile").dockerfile is None


def test_without_a_dockerfile_nothing_is_lent(tmp_path: Path) -> None:
    """And no engine is asked."""
    (tmp_path / "server.py").touch()
    lab: Any = None
    with image.lent(lab, Submission.at(tmp_path), "", ["{port}"], mark="") as loan:
        assert loan == image.Loan(None, [])


@pytest.mark.parametrize(
    ("text", "code", "said", "hint"),
    [
        ("apt-get update && apt-get install x", 100, ["E: x"], "; a RUN has no network"),
        ("make", 2, ["error"], ""),
        ("make", 137, [], ": it was killed, as when it takes more than 1 GiB of memory"),
        ("make", 126, [], ": is there a user web, and such a program?"),
    ],
)
def test_why_a_step_fails_is_guessed(text: str, code: int, said: list[str], hint: str) -> None:
    """From its text, its exit status, and whether it said anything."""
    assert image._hint(Step(2, "RUN", text), State(user="web"), box.Ran(code, said)) == hint


class Filled(box.Box):
    """A container in which each copy ``fills`` the disk, or does not; ``puts`` counts them."""

    def __init__(self, *, fills: bool) -> None:
        self._client = mock.Mock(**{"api.containers.return_value": [{"SizeRw": box.MOST_BYTES}]})
        self._fills = fills
        self._answers, self._alarms, self._full = queue.SimpleQueue(), 0, False
        self._held, self.container = mock.Mock(), mock.Mock()
        self.puts = 0

    def make_folder(self, path: str) -> None:
        """All are there."""

    def look(self, path: str) -> tuple[str, str]:
        """All is a folder."""
        return "dir", path

    def put(self, folder: str, tar: Any) -> None:
        """The first process looks at the disk, and says so."""
        self.puts += 1
        if self._fills:
            self._answers.put("full")


@pytest.mark.parametrize(("seconds", "told"), [(150.0, "it fills the disk"), (-1.0, "the build does not end within")])
def test_copies_have_the_bounds_of_a_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, told: str
) -> None:
    """Of disk and of time, as a RUN has them: there may be many, each as large as may be."""
    monkeypatch.setattr(image, "_BUILD_SECONDS", seconds)
    monkeypatch.setattr(box, "hold", lambda client, name: b"")
    (tmp_path / "a").touch()
    text = "FROM x\nCOPY" + " a" * 100 + " /b/\n"
    made = Filled(fills=seconds > 0)
    recipe = dockerfile.read(text)
    build = image._Build(mock.Mock(), Submission.at(tmp_path), recipe, contextlib.ExitStack(), "")
    with pytest.raises(image.CannotBuild, match=f"here: {told}"):
        build._do(lambda: build._copy(recipe.stages[0].steps[0], State(), made), "here")
    assert made.puts == 1


def test_the_time_of_a_pull_is_not_the_submissions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the registry is, the steps have all of theirs."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(box, "hold", lambda client, name: b"")
    (tmp_path / "a").touch()
    build = image._Build(mock.Mock(), Submission.at(tmp_path), dockerfile.read("FROM x"), contextlib.ExitStack(), "")
    monkeypatch.setattr(build._lab.client.images, "get", mock.Mock(side_effect=ImageNotFound("x")))
    monkeypatch.setattr(build, "_pull", lambda line, name: now.append(now.pop() + 1000))
    build._base(1, "x")
    build._check_time()


def test_what_the_examiner_is_told_is_bounded() -> None:
    """It comes on a command line, which the kernel bounds (execve(2))."""
    with pytest.raises(UsageError, match="more than 64 KiB"):
        image._told({"environment": {"A": "x" * 70_000}})


def test_the_last_words_of_a_step_are_heard() -> None:
    """They may come after the engine has said that it has ended; then nothing does, though its pipe be open still."""
    pieces: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    made: Any = object.__new__(box.Box)

    def inspect(_: str) -> dict[str, bool]:
        pieces.put(b"last words")
        return {"Running": False}

    api: Any = mock.Mock(exec_inspect=inspect)
    made._client = mock.Mock(api=api)
    assert made._next(pieces, "a") == b"last words"
    api.exec_inspect = lambda _: {"Running": False}
    assert made._next(pieces, "a") is None
