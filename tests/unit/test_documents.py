"""What stands in two languages says the same: headings, commands, tables and links match one to one."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from forklab.harness import library
from forklab.harness.scenario import LANGUAGES
from protocol import lessons

ROOT = Path(__file__).parents[2]
PAIRS = [("README.md", "README.ko.md"), ("docs/lessons.md", "docs/lessons.ko.md")]
LESSONS = dict(zip(LANGUAGES, PAIRS[1], strict=True))


def read(name: str) -> str:
    """The document's text."""
    return (ROOT / name).read_text(encoding="utf-8")


def commands(text: str) -> list[str]:
    """The indented lines, without what explains them."""
    return [line.partition(" # ")[0].strip() for line in text.splitlines() if line.startswith("    ")]


def inline(text: str) -> list[str]:
    """What stands between backticks: commands, ids, files."""
    prose = "\n".join(line for line in text.splitlines() if not line.startswith("    "))
    return sorted(re.findall(r"`([^`\n]+)`", prose))


def links(text: str) -> list[str]:
    """Where it leads, whichever language is there; without the links between the two."""
    return sorted(link.replace(".ko.md", ".md") for link in re.findall(r"\]\(([^)]+)\)", text))


def tables(text: str) -> Iterator[str]:
    """The number of cells of each row, and the first one where it is a word of the product."""
    for line in text.splitlines():
        if line.startswith("|"):
            cells = line.strip("|").split("|")
            first = cells[0].strip() if re.fullmatch(" *`[^`]+` *", cells[0]) else ""
            yield f"{first} {len(cells)}"


@pytest.mark.parametrize(("english", "korean"), PAIRS)
def test_both_languages_have_the_same_parts(english: str, korean: str) -> None:
    """Each heading, command, table row, link and name of the one is in the other; each leads to the other."""
    first, second = read(english), read(korean)
    heads = [[len(mark) for mark in re.findall(r"^(#+) ", text, re.MULTILINE)] for text in (first, second)]
    assert heads[0] == heads[1]
    assert commands(first) == commands(second)
    assert list(tables(first)) == list(tables(second))
    assert links(first) == links(second)
    assert inline(first) == inline(second)
    assert f"]({Path(korean).name})" in first
    assert f"]({Path(english).name})" in second


@pytest.mark.parametrize("name", [name for pair in PAIRS for name in pair])
def test_links_lead_somewhere(name: str) -> None:
    """To a file of the checkout."""
    for link in re.findall(r"\]\((?!https?:)([^)#]+)", read(name)):
        assert (ROOT / name).parent.joinpath(link).exists(), link


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_lessons_are_listed_with_their_questions(language: str) -> None:
    """In teaching order, in the words of the scenario itself, with the program where there is one."""
    rows = re.findall(r"^\| `([a-z0-9-]+)` \| ([^|]+) \|([^|]*)\|$", read(LESSONS[language]), re.MULTILINE)
    there = [(name, library.load(name).question.said(language)) for name in library.order()]
    assert [(name, question.strip()) for name, question, _ in rows] == there
    assert [name for name, _, program in rows if f"demos/{name.replace('-', '_')}.py" in program] == list(lessons.DEMOS)
