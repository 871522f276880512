"""Runs the tests of this checkout, and sees that no lab of theirs stays, however the run ends."""

import os
import secrets
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO
from xml.etree import ElementTree

from forklab.lab import Lab
from forklab.registry import ROOT

_PYTHON = [sys.executable, "-m"]
_THREE = ["--numprocesses", "3", "--dist", "loadscope", "--no-loadscope-reorder", "-m", "not long"]
"""Most tests wait for something, so three at a time are not too many for two processors. tests/conftest.py has the
order."""


def run(lab: Lab, words: list[str], *, keep: bool, cover: bool, output: IO[str] | None) -> tuple[int, dict[str, int]]:
    """Run all tests, or those that ``words`` name.

    Args:
        lab: any lab of the engine; labs of the run are removed through it.
        words: for pytest.
        keep: leave the labs.
        cover: measure, in every process, which lines run, and print it; this makes each process slower.
        output: where pytest writes, if not to standard output.

    Returns:
        pytest's exit code, and how many tests, failures, errors and skipped there were.

    Raises:
        KeyboardInterrupt: when all is tidied up.
    """
    chosen = any((ROOT / word.partition("::")[0]).exists() for word in words)  # tests/unit, or one of its files
    which = [] if chosen else ["tests", *_THREE]
    mark = f"forklab-test-{secrets.token_hex(4)}"
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "junit.xml"
        pytest = ["pytest", *which, f"--junitxml={report}", *(["--keep"] if keep else []), *words]
        if cover:
            pytest = ["coverage", "run", "-m", *pytest]
            _coverage("erase")
        try:
            code = _to_its_end([*_PYTHON, *pytest], {"FORKLAB_TEST_RUN": mark}, output)
        finally:
            if not keep:
                _remove(lab, mark)
        if cover:
            _report(output)
        return code, _counts(report)


def _report(output: IO[str] | None) -> None:
    """What the tests have covered."""
    _coverage("combine", "--quiet")  # a process that a test has killed leaves a file with half of its lines
    for left in ROOT.glob(".coverage.*"):
        left.unlink()
    subprocess.run([*_PYTHON, "coverage", "report"], cwd=ROOT, stdout=output)


def _coverage(*words: str) -> None:
    subprocess.run([*_PYTHON, "coverage", *words], cwd=ROOT, capture_output=True)


def _to_its_end(command: list[str], variables: dict[str, str], output: IO[str] | None) -> int:
    """Ctrl-C reaches pytest as well, which has labs to take down then: wait for its end."""
    process = subprocess.Popen(command, cwd=ROOT, stdout=output, env={**os.environ, **variables})
    interrupted = False
    while process.returncode is None:
        try:
            process.wait()
        except KeyboardInterrupt:
            interrupted = True
    if interrupted:
        raise KeyboardInterrupt
    return process.returncode


def _remove(lab: Lab, mark: str) -> None:
    """What a killed or interrupted test has left."""
    for project in {thing.project for thing in lab.clean(dry_run=True) if thing.project.startswith(mark)}:
        lab.clean(project)


def _counts(report: Path) -> dict[str, int]:
    totals = dict.fromkeys(("tests", "failures", "errors", "skipped"), 0)
    if not report.exists():
        return {}
    for suite in ElementTree.parse(report).getroot().iter("testsuite"):
        for name in totals:
            totals[name] += int(suite.get(name, "0"))
    return totals
