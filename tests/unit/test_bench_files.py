"""What the bench writes: one document, one page that loads nothing, and the text in docs/."""

import itertools
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from forklab.bench import catalogue, files
from forklab.bench.run import Run
from forklab.errors import UsageError
from forklab.registry import ROOT
from tests.unit.benching import FIGURES, HEADROOM, events, run_of


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all that a run leaves; one entrant has an evil name for its error."""
    said = list(events({**FIGURES, "burst": {"fork": 310, "ncat": 900}}))
    for event in said:
        if event.get("entrant") == "ncat":
            event["errors"] = {"<b>reset|</b>": 3}
    folder = tmp_path_factory.mktemp("bench") / "new" / "folder"
    files.prepare(folder)
    files.write(run_of(said), folder)
    return folder


class Loads(HTMLParser):
    """Collects what a page would load, and what it closes or does not."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.text: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """Anything that fetches."""
        named = dict(attributes)
        self.found += [str(named[name]) for name in ("src", "href", "xlink:href", "srcset", "data") if name in named]
        self.found += [tag] * (tag in ("script", "link", "iframe", "object", "embed", "base"))

    def handle_data(self, data: str) -> None:
        """What a reader sees."""
        self.text.append(data)


def test_the_page_loads_nothing(written: Path) -> None:
    """No script, no link, no picture, font or style from elsewhere: the only addresses are the names of XML spaces."""
    page = (written / "bench.html").read_text(encoding="utf-8")
    assert Loads(page).found == []
    assert not re.search(r"url\(|@import", page)
    left = re.sub(r'xmlns(:\w+)?="[^"]*"', "", page)
    assert "http" not in left
    assert "//" not in left


def test_the_page_shows_every_row_and_every_picture(written: Path) -> None:
    """Entrants, goals, errors; what an entrant says is text, not markup."""
    page = (written / "bench.html").read_text(encoding="utf-8")
    words = " ".join(Loads(page).text)
    for entrant in {name for row in FIGURES.values() for name in row}:
        assert entrant in words
    assert page.count("<svg") == page.count("<figure") == 1 + len(FIGURES) + 4
    assert "<b>reset|</b> 12" in words
    assert "<b>reset" not in page
    assert '<html lang="en">' in page
    assert "width=device-width" in page


def test_the_pictures_stand_beside_the_text(written: Path) -> None:
    """Every one the text refers to is there, is SVG, and none is left over."""
    text = (written / "performance.md").read_text(encoding="utf-8")
    named = set(re.findall(r"\]\((bench/[^)]*\.svg)\)", text))
    assert named == {f"bench/{file.name}" for file in (written / "bench").iterdir()}
    for name in named:
        assert (written / name).read_text(encoding="utf-8").startswith("<svg")
    assert not [file for file in written.iterdir() if file.name.startswith(".")]


def test_the_text_has_every_row(written: Path) -> None:
    """In tables that a bar in an entrant's words does not break."""
    lines = (written / "performance.md").read_text(encoding="utf-8").splitlines()
    assert any(line.startswith("| ncat | 900 ") and line.endswith(" errors: <b>reset/</b> 12 |") for line in lines)
    assert any(line.startswith("| **fork** | 310 ") for line in lines)
    for section in FIGURES:
        assert any(line.startswith(f"## {section}: ") for line in lines)
    for before, line in itertools.pairwise(lines):
        if before.startswith("|") and line.startswith("|"):
            assert before.count("|") == line.count("|"), line


def test_the_document_has_samples_and_what_follows_from_them(written: Path) -> None:
    """One JSON document; it can be read again, and says the same."""
    kept = json.loads((written / "bench.json").read_text(encoding="utf-8"))
    assert kept["complete"]
    assert len(kept["samples"]) == kept["planned_samples"]
    assert kept["sections"]["bulk-1"]["rows"][0]["value"]["median"] == 2100
    assert {goal["verdict"] for goal in kept["goals"]} <= {"met", "missed", "not measured"}
    again = Run.read(written / "bench.json")
    assert json.loads(json.dumps(files.document(again))) == kept


def test_a_section_without_any_figure_has_no_picture_but_its_rows() -> None:
    """A bench in which every peer fails still makes a page."""
    said: list[dict[str, Any]] = [
        {"event": "plan", "rounds": 2, "sections": {"burst": ["ncat"]}, "samples": 2} | HEADROOM,
        {"event": "skip", "section": "burst", "entrant": "ncat", "round": 1, "reason": "there is no ncat"},
        {"event": "done"},
    ]
    run = run_of(said)
    assert files.pictures(run) == {}
    assert "there is no ncat" in files.page(run, {})
    assert "there is no ncat" in files.text(run, [])


def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_measured(tmp_path: Path) -> None:
    """With its name."""
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="file"):
        files.prepare(tmp_path / "file")


def test_docs_performance_is_made_of_the_run_beside_it() -> None:
    """docs/performance.md is what this checkout makes of docs/bench.json; `./lab bench --from` makes it anew."""
    docs = ROOT / "docs"
    run = Run.read(docs / "bench.json")
    pictures = [file.stem for file in (docs / files.PICTURES).glob("*.svg")]
    made = (docs / "performance.md").read_text(encoding="utf-8")
    assert made == files.text(run, pictures), "./lab bench --from docs/bench.json --out docs"
    assert set(run.plan) == set(catalogue.SECTIONS)
