"""The folder is the registry: what it lists, and what it says when something is missing."""

from pathlib import Path

import pytest

from forklab.errors import LabError, UsageError
from forklab.registry import DEMOS, MODELS, MODES, SERVICES, Registry


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Units as a folder of models holds them."""
    (tmp_path / "fork.py").write_text('"""One process each.\n\nMore."""\nraise SystemExit("imported")\n')
    (tmp_path / "select_loop.py").write_text('"""Waits with select(2)."""\n')
    (tmp_path / "two_words.py").write_text("x = 1\n")
    (tmp_path / "broken.py").write_text("def (:\n")
    (tmp_path / "_shared.py").write_text('"""Not a unit."""\n')
    return tmp_path


def test_a_files_name_is_the_id(folder: Path) -> None:
    """Underscores become hyphens, a trailing _loop and files with a leading underscore are left out."""
    assert Registry("model", folder).ids() == ["broken", "fork", "select", "two-words"]


def test_the_summary_is_read_without_importing(folder: Path) -> None:
    """The first docstring line is found although the module could not be imported."""
    assert Registry("model", folder).summary("fork") == "One process each."


def test_an_unknown_name_lists_what_there_is(folder: Path) -> None:
    """The error names the kind, the value, all ids and the nearest."""
    with pytest.raises(UsageError, match=r'no model "frok"; there are: broken, fork, .*\(did you mean fork\?\)'):
        Registry("model", folder).check("frok")


@pytest.mark.parametrize(("unit", "words"), [("two-words", "no docstring"), ("broken", "line 1")])
def test_a_file_without_a_summary_is_named(folder: Path, unit: str, words: str) -> None:
    """A missing docstring and a syntax error are one clear sentence with the file's name."""
    with pytest.raises(LabError, match=rf"{unit.replace('-', '_')}\.py.*{words}"):
        Registry("model", folder).summary(unit)


@pytest.mark.parametrize("registry", [MODELS, SERVICES, MODES, DEMOS])
def test_everything_there_is_has_a_summary(registry: Registry) -> None:
    """Each model, service, client mode and demo of the checkout can be listed."""
    assert registry.ids()
    assert all(registry.summary(unit) for unit in registry.ids())
