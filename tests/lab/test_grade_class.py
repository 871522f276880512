"""A whole class from outside, and an autograder where there is no engine."""

import csv
import io
import json
import signal
import subprocess
import zipfile
from pathlib import Path

import docker
import pytest

from forklab.grade import container
from protocol import exits
from tests.deadline import until
from tests.lab.test_grade import FLAWS, alone, examiners, start

__all__ = ["alone"]
FEW = ("--check", "listens,reap-one,reap-burst")


@pytest.fixture
def submissions(tmp_path: Path) -> Path:
    """A good one, one with a flaw, one that does not compile, one that is empty."""
    folder = tmp_path / "submissions"
    for name, text in {
        "ann.c": FLAWS["c", "fork.c"].program,
        "bo/Makefile": "server: s.c; cc -o server s.c\n",
        "bo/s.c": FLAWS["c", "reap-burst"].program,
        "김민수.c": "int main(void) { return",
        "zoe/.gitkeep": "",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "zoe/.gitkeep").unlink()
    return folder


def test_a_class_goes_on_where_it_was_interrupted(
    alone: docker.DockerClient, submissions: Path, tmp_path: Path
) -> None:
    """Ctrl-C in the middle: 130 and nothing left; then the rest is graded, the known is not, and all have a page."""
    out = tmp_path / "out"
    first = start("grade", str(submissions), "--each", "--jobs", "1", "--out", str(out), *FEW)
    until(lambda: list(out.glob("students/*.json")), "the first one is graded", patience=120)
    first.send_signal(signal.SIGINT)
    _, err = first.communicate(timeout=60)
    assert first.returncode == 130
    assert "Traceback" not in err
    assert examiners(alone) == []
    assert (out / "index.html").is_file()

    second = start("grade", str(submissions), "--each", "--out", str(out), "--json", *FEW)
    said, err = second.communicate(timeout=200)
    assert second.returncode == exits.LAB_FAILED  # zoe's folder is empty, so she is not graded
    assert "graded before" in err
    found = {each["name"]: each for each in json.loads(said)["submissions"]}
    assert "is empty" in found["zoe"]["trouble"]
    rows = {row["submission"]: row for row in csv.DictReader(io.StringIO((out / "grades.csv").read_text("utf-8-sig")))}
    assert (rows["ann.c"]["score"], rows["bo"]["failed"]) == ("100", "reap-burst")
    assert (rows["김민수.c"]["score"], rows["김민수.c"]["listens"]) == ("0", "FAIL")
    assert len(list(out.glob("students/*.html"))) == 3
    assert examiners(alone) == []


def test_an_autograder_grades_without_an_engine(alone: docker.DockerClient, tmp_path: Path) -> None:
    """As on Gradescope: an image of the archive, the capabilities that every container has, and the results in JSON."""
    archive = tmp_path / "autograder.zip"
    checks = "listens,reap-burst,fork-fails,eintr-accept,parent-keeps-client-fd"
    made = start("grade.autograder", "--out", str(archive), "--check", checks)
    made.communicate(timeout=60)
    assert made.returncode == 0
    context = tmp_path / "context"
    zipfile.ZipFile(archive).extractall(context)
    image, _ = alone.images.build(path=str(context), buildargs={"BASE": container.IMAGE}, rm=True)
    try:
        (tmp_path / "submission").mkdir()
        (tmp_path / "submission" / "server.c").write_text(FLAWS["c", "reap-burst"].program)
        results = tmp_path / "results"
        results.mkdir()
        command = ["docker", "run", "--rm", "--label", "forklab=container", "--network", "none"]
        command += ["--volume", f"{tmp_path / 'submission'}:/autograder/submission:ro"]
        command += ["--volume", f"{results}:/autograder/results", "--entrypoint", "/autograder/run_autograder"]
        subprocess.run([*command, str(image.id)], check=True, timeout=120)
    finally:
        alone.images.remove(str(image.id), force=True)
    found = json.loads((results / "results.json").read_text())
    verdicts = dict(test["name"].split(": ") for test in found["tests"])
    assert verdicts.pop("reap-burst") == "FAIL"
    assert set(verdicts.values()) == {"PASS"}, found
    assert 0 < found["score"] < 100
