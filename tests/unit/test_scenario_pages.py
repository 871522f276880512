"""The pages of scenarios: one file each that loads nothing, read by a person without a script."""

import re
import sys
from pathlib import Path

import pytest

from forklab.errors import UsageError
from forklab.harness import Stage, ask, page
from forklab.harness.spread import Runs
from forklab.timeline.replay import replay
from protocol import lessons
from tests.chromium import Browser
from tests.unit.staging import LETTER, NUMBER, play

FETCHED = re.compile(r"""(?:src|href)=["'](?!#|[a-z0-9.-]+\.html["'])|@import|url\((?!#)""")
"""What a browser would load, but for links to the pages beside."""
CALLS = b"""\
7     100.000000 execve("/usr/bin/python3", ["python3"], 0x7ffd /* 9 vars */) = 0 <0.000100>
7     100.001000 clone(child_stack=NULL, flags=SIGCHLD) = 8 <0.000100>
8     100.002000 exit_group(0) = ?
8     100.002100 +++ exited with 0 +++
7     100.050000 wait4(8, [{WIFEXITED(s) && WEXITSTATUS(s) == 0}], 0, NULL) = 8 <0.000100>
"""
SQUARE = '<?xml version="1.0"?><svg viewBox="0 0 9 9"><g id="a" clip-path="url(#a)"><path d="M0 0h9v9z"/></g></svg>'


def run(stage: Stage) -> str:
    """Everything that a page can show."""
    stage.evidence("8 Z 7 <defunct>")
    stage.says("i < 3")
    stage.measure(left=3, share=0.123456, models={"fork": 1}, ended=True)
    stage.timeline("The child stays", replay({"server-1": CALLS}))
    stage.draw("Two squares", SQUARE, "They are square.")
    stage.draw("A third", lambda: SQUARE)
    return "a zombie & no more"


def written(folder: Path, language: str = "en", **more: ask.Answer) -> str:
    """The page of a run, with its neighbours unwritten."""
    page.write([Runs([play(run)])], folder, language, "today, Linux 6.18", **more)
    return (folder / "zombie.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("language", ["en", "ko"])
def test_a_page_has_everything_and_loads_nothing(tmp_path: Path, language: str) -> None:
    """Question, prediction, theory, evidence, figures, pictures, what the program said, verdict, explanation."""
    made = written(tmp_path, language)
    assert f'<html lang="{language}">' in made
    assert not FETCHED.search(made), FETCHED.search(made)
    assert "<script" not in made
    told = {"en": ["Does it work?", "All <code>the</code> time.", "It did &lt;work&gt;."], "ko": ["될까?", "된다."]}
    shown = ["8 Z 7 &lt;defunct&gt;", "i &lt; 3", "0.1235", "fork: 1", "a zombie &amp; no more", "wait(2)"]
    for words in [*told[language], *shown, "They are square.", "today, Linux 6.18"]:
        assert words in made, words
    assert "<code>./lab scenario process-states</code>" in made  # a neighbour without a page
    assert "index.html" not in made
    names = re.findall(r'\bid="([^"]+)"', made)
    assert len(names) == len(set(names)), "pictures share one document, and so their names"


def test_a_timeline_has_a_page_of_its_own(tmp_path: Path) -> None:
    """Beside the picture, to step through."""
    assert 'href="zombie.trace.html"' in written(tmp_path)
    assert "zombie: The child stays" in (tmp_path / "zombie.trace.html").read_text(encoding="utf-8")


def test_the_answer_of_the_learner_is_shown(tmp_path: Path) -> None:
    """With how near it was; otherwise the right one is folded away."""
    assert "<details>" in written(tmp_path)
    made = written(tmp_path, answer=ask.Answer(0, "en"))
    assert "a) this one" in made
    assert "Not so. Right is b)" in made
    number = Runs([play(run, NUMBER)])
    page.write([number], tmp_path, "en", "today")
    assert "<p>3 ms</p>" in (tmp_path / "zombie.html").read_text(encoding="utf-8")


def test_how_to_have_it_again(tmp_path: Path) -> None:
    """With the values of this run, where they are not the defaults, and the language."""
    result = play(run)
    object.__setattr__(result, "values", {"clients": 7})
    page.write([Runs([result, result])], tmp_path, "ko", "today")
    made = (tmp_path / "zombie.html").read_text(encoding="utf-8")
    assert "./lab scenario zombie --clients 7 --lang ko" in made
    assert "2번 실행한 결과" in made


def test_the_index_leads_to_all_and_back(tmp_path: Path) -> None:
    """In the parts of the course; each page has links to the one before and after."""
    runs = [Runs([play(run, LETTER, name)]) for name in lessons.SCENARIOS]
    page.write(runs, tmp_path, "en", "today")
    index = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert re.findall(r'href="([^"]+)\.html"', index) == list(lessons.SCENARIOS)
    assert f"{len(runs)} PASS" in index
    assert not FETCHED.search(index)
    middle = (tmp_path / f"{lessons.SCENARIOS[3]}.html").read_text(encoding="utf-8")
    for link in ("index", lessons.SCENARIOS[2], lessons.SCENARIOS[4]):
        assert f'href="{link}.html"' in middle


def test_without_vl_convert_the_page_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is none for Windows on ARM; all but the charts is there."""
    monkeypatch.setitem(sys.modules, "vl_convert", None)

    def drawn(stage: Stage) -> str:
        stage.draw("A chart", lambda: type("Chart", (), {"to_dict": lambda self: {}})())
        return "well"

    page.write([Runs([play(drawn)])], tmp_path, "en", "today")
    assert "cannot draw charts" in (tmp_path / "zombie.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("width", [400, 1280])
def test_a_page_fits_its_window(browser: Browser, tmp_path: Path, width: int) -> None:
    """Nothing makes it wider than a phone: what is wide scrolls by itself."""
    made = written(tmp_path).replace("<body>", '<body><i id="panel"></i>')
    assert browser.at_width(made, tmp_path, width).data("overflow") == "false"


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    """In one line, with the folder."""
    (tmp_path / "zombie.html").mkdir()
    with pytest.raises(UsageError, match="choose another folder"):
        page.write([Runs([play(run)])], tmp_path, "en", "today")
