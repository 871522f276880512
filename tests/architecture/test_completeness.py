"""Nothing is half-added: each unit is summed up, documented and tested, each event is logged, each file is clean."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

from forklab.grade import flaws
from forklab.registry import Registry
from protocol import events
from tests.architecture.source import ROOT, UNIT_FOLDERS, files, name, tree

UNITS = [
    (kind, unit)
    for kind, folder in UNIT_FOLDERS.items()
    if (ROOT / folder).is_dir()
    for unit in Registry(kind, ROOT / folder).ids()
]


def mentions(unit: str, paths: list[Path]) -> bool:
    """True when a file names the unit, as a word of its own."""
    word = re.compile(rf"(?<![\w-]){re.escape(unit)}(?![\w-])")
    return any(word.search(path.read_text(encoding="utf-8")) for path in paths)


@pytest.mark.parametrize(("kind", "unit"), UNITS)
def test_a_unit_is_summed_up(kind: str, unit: str) -> None:
    """The first line of its docstring is one sentence that fits a list."""
    summary = Registry(kind, ROOT / UNIT_FOLDERS[kind]).summary(unit)
    assert summary.endswith((".", "?")), f"the first line of {kind} {unit} is no whole sentence: {summary!r}"


@pytest.mark.parametrize(("kind", "unit"), UNITS)
def test_a_unit_is_documented(kind: str, unit: str) -> None:
    """README.md or a file in docs/ names it."""
    assert mentions(unit, files("README.md") + files("docs/*.md")), f"say in README.md or docs/ what {kind} {unit} does"


@pytest.mark.parametrize(("kind", "unit"), UNITS)
def test_a_unit_is_tested(kind: str, unit: str) -> None:
    """A test names it."""
    tests = [file for file in files("tests/**/*.py") if file.parent != Path(__file__).parent]
    tests += files("tests/flawed/*/*.diff")
    assert mentions(unit, tests), f"no test names {kind} {unit}"


@pytest.mark.parametrize("check", [unit for kind, unit in UNITS if kind == "check"])
def test_a_check_has_a_flaw_to_find(check: str) -> None:
    """In C and in Python, or docs/grading.md says why not: ``CHECK: no flaw in LANGUAGE, because …``."""
    found = {flaw.language for flaw in flaws.known() if check in flaw.fails}
    text = (ROOT / "docs" / "grading.md").read_text(encoding="utf-8")
    excused = {language for language in flaws.LANGUAGES if f"`{check}`: no flaw in {language}, because" in text}
    assert found | excused == set(flaws.LANGUAGES)


def test_every_event_is_logged() -> None:
    """Each event that protocol/events.py lists is used by the server."""
    names = {word for word, value in vars(events).items() if isinstance(value, str) and value in events.ALL}
    nodes = [node for file in files("server/**/*.py") for node in ast.walk(tree(file))]
    used = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    used |= {node.id for node in nodes if isinstance(node, ast.Name)}
    assert {word for word in names if not word.startswith("REASON_")} - used == set()


def test_files_are_clean() -> None:
    """Lines end in LF (in CR LF for Windows' command files), without trailing blanks or tabs, the last one too."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    wrong = []
    for file in (ROOT / path for path in listed.stdout.split("\0") if path):
        content = file.read_bytes() if file.is_file() else b""
        if b"\0" in content:
            continue
        end = b"\r\n" if file.suffix == ".cmd" else b"\n"
        lines = content.split(end)
        if lines.pop() or any(line.endswith(b" ") or b"\t" in line or b"\r" in line for line in lines):
            wrong.append(name(file))
    assert wrong == []
