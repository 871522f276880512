"""The building of images without an engine: what host, examiner and the first process of a container must agree on."""

import re
from pathlib import Path
from typing import Any

import pytest

from examiner import _examination
from forklab.errors import UsageError
from forklab.grade import box, image
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


def test_what_the_examiner_is_told_is_bounded() -> None:
    """It comes on a command line, which the kernel bounds (execve(2))."""
    with pytest.raises(UsageError, match="more than 64 KiB"):
        image._told({"environment": {"A": "x" * 70_000}})
