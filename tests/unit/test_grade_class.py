"""A class without an engine: who is graded, what is kept and known again, what is written."""

import csv
import json
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from forklab import engine
from forklab.errors import LabError, UsageError
from forklab.grade import catalogue, classpages, classroom, conduct, container, terminal
from forklab.grade.classroom import Classroom, Student
from forklab.grade.outcome import Outcome
from forklab.grade.rubric import Rubric
from forklab.grade.wish import Wish
from forklab.show import console
from protocol import exits, verdicts
from tests.deadline import PATIENCE

WISH = Wish(checks=("listens", "reap-burst"))
ENGINE: Any = SimpleNamespace(info=lambda: {"NCPU": 2, "MemTotal": 8 << 30})


class Lab:
    """One whose image is there."""

    client = ENGINE

    def say(self, line: str) -> None:
        """To nobody."""

    def build(self, names: list[str]) -> None:
        """Nothing to do."""


@pytest.fixture
def examined(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Replaces the examiner: the names of the submissions that it had; a source with "bad" fails, "broken" breaks."""
    names: list[str] = []

    def examine(client: Any, submission: Any, packed: bytes, wish: Wish, tell: Any, **more: Any) -> Outcome:
        names.append(submission.path.name)
        text = b"".join(file.read_bytes() for file in submission.files.values())
        if b"broken" in text:
            raise LabError("the examiner broke")
        made = Outcome.of(str(submission.path), catalogue.known(), more["rubric"])
        made.model = "fork"
        for check in wish.checks:
            verdict = verdicts.FAIL if b"bad" in text and check == "reap-burst" else verdicts.PASS
            blank: dict[str, Any] = dict.fromkeys(("requirement", "expected", "actual", "cause", "mend", "replay"), "")
            made.results.append({**blank, "id": check, "verdict": verdict, "evidence": [], "seconds": 0.1})
        return made

    monkeypatch.setattr(conduct, "examine", examine)
    monkeypatch.setattr(container, "remove_marked", lambda client, mark: None)
    connected = SimpleNamespace(close=lambda: None)
    monkeypatch.setattr(engine, "connect", lambda say, provide: connected)
    return names


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three submissions, and what is none."""
    made = tmp_path / "class"
    for name, text in {
        "ann.c": "good",
        "Bo Li/server.c": "bad",
        "김민수.py": "good",
        "notes.txt": "no submission",
        ".git/config": "",
    }.items():
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).write_text(text)
    return made


def grade(folder: Path, out: Path, rubric: Rubric | None = None, tell: Callable[[Student], object] = id) -> Classroom:
    """Grade it, two at a time."""
    room = Classroom(folder, out, WISH, rubric or Rubric())
    room.run(Lab(), 2, tell)  # type: ignore[arg-type]
    classpages.write(room.students, out)
    return room


def test_every_submission_is_graded(examined: list[str], folder: Path, tmp_path: Path) -> None:
    """Files and folders, but not what is none; each has a page, a line in the table and one in the matrix."""
    out = tmp_path / "out"
    room = grade(folder, out)
    assert sorted(examined) == ["Bo Li", "ann.c", "김민수.py"]
    assert [student.name for student in room.students] == ["ann.c", "Bo Li", "김민수.py"]
    with (out / "grades.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["submission"], row["score"], row["failed"]) for row in rows] == [
        ("ann.c", "100", ""),
        ("Bo Li", "50", "reap-burst"),
        ("김민수.py", "100", ""),
    ]
    matrix = (out / "index.html").read_text(encoding="utf-8")
    assert '<td class="cell FAIL" title="reap-burst: FAIL">F</td>' in matrix
    for student in room.students:
        assert (out / "students" / f"{student.stem}.html").is_file()
    assert classroom.exit_code(room.students) == exits.OK


def test_what_is_known_is_not_graded_again(examined: list[str], folder: Path, tmp_path: Path) -> None:
    """But what was handed in again is, and what was cut off in the middle of writing."""
    out = tmp_path / "out"
    first = grade(folder, out)
    examined.clear()
    told: list[str] = []
    again = grade(folder, out, tell=lambda student: told.append(student.name))
    assert examined == []
    assert sorted(told) == ["Bo Li", "ann.c", "김민수.py"]
    assert classroom.document(again.students) == classroom.document(first.students)
    (folder / "ann.c").write_text("bad")
    kept = out / "students" / f"{first.students[2].stem}.json"
    kept.write_text(kept.read_text()[:100])
    grade(folder, out)
    assert sorted(examined) == ["ann.c", "김민수.py"]


def test_another_rubric_counts_anew_and_grades_nothing(examined: list[str], folder: Path, tmp_path: Path) -> None:
    """The verdicts are kept, the points are not."""
    grade(folder, tmp_path / "out")
    examined.clear()
    room = grade(folder, tmp_path / "out", Rubric(total=10, required=("reap-burst",)))
    assert examined == []
    assert [student.outcome.score for student in room.students if student.outcome] == [10, 0, 10]


def test_one_that_cannot_be_graded_stops_nobody(examined: list[str], folder: Path, tmp_path: Path) -> None:
    """Nor does one that breaks the examiner; both are said, and tried again the next time."""
    (folder / "empty").mkdir()
    (folder / "zoe.c").write_text("broken")
    room = grade(folder, tmp_path / "out")
    assert classroom.exit_code(room.students) == exits.LAB_FAILED
    troubles = {student.name: student.trouble for student in room.students if student.trouble}
    assert set(troubles) == {"empty", "zoe.c"}
    assert "is empty" in troubles["empty"]
    assert "not graded: the examiner broke" in (tmp_path / "out" / "index.html").read_text()
    examined.clear()
    grade(folder, tmp_path / "out")
    assert examined == ["zoe.c"]


def test_a_link_is_no_submission(examined: list[str], folder: Path, tmp_path: Path) -> None:
    """It may lead to another's, or out of the class; the folder of the results may be one. The others are graded."""
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "id.c").write_text("bad")
    links = {"out.c": "../secret/id.c", "all": "../secret", "ann2.c": "ann.c", "loop.c": "loop.c", "none.c": "nothing"}
    for name, target in links.items():
        (folder / name).symlink_to(target)
    (tmp_path / "results").mkdir()
    (folder / "graded").symlink_to(tmp_path / "results")
    room = grade(folder, folder / "graded")
    assert sorted(examined) == ["Bo Li", "ann.c", "김민수.py"]
    assert {each.name for each in room.students if "is a link, which is not followed" in each.trouble} == set(links)


def test_a_page_that_cannot_be_drawn_takes_no_other_with_it(examined: list[str], folder: Path, tmp_path: Path) -> None:
    """It says why; the table, the matrix and the other pages are there."""
    room = Classroom(folder, tmp_path / "out", WISH, Rubric())
    first, *others = room.run(Lab(), 2, id)  # type: ignore[arg-type]
    assert first.outcome
    first.outcome.results[0] |= {"verdict": verdicts.FAIL, "moments": [{"kind": "verdict"}]}
    begin = classpages.write(room.students, tmp_path / "out")
    assert "ann.c" in begin.read_text()
    assert "ann.c" in (tmp_path / "out" / "grades.csv").read_text()
    undrawn, *drawn = [(tmp_path / "out" / "students" / f"{each.stem}.html").read_text() for each in (first, *others)]
    assert "could not be drawn: KeyError" in undrawn
    assert "1 failed" in undrawn
    assert all("could not be drawn" not in page for page in drawn)


def test_an_interruption_ends_the_workers_and_keeps_what_is_done(
    examined: list[str], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is graded any more but who was at it; only what is missing is graded the next time."""
    at_once, removed = conduct.examine, threading.Event()

    def examine(*words: Any, **more: Any) -> Outcome:
        """The first one at once, others as long as nobody removes their containers."""
        if examined:
            assert removed.wait(PATIENCE)
        return at_once(*words, **more)

    monkeypatch.setattr(conduct, "examine", examine)
    monkeypatch.setattr(container, "remove_marked", lambda client, mark: removed.set())

    def interrupt(student: Student) -> None:
        raise KeyboardInterrupt

    for number in range(20):
        (folder / f"more{number}.c").write_text("good")
    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        grade(folder, tmp_path / "out", tell=interrupt)
    assert threading.active_count() == before
    assert len(examined) <= 4, "one each of the two workers, before and after the first answer"
    kept = len(list((tmp_path / "out" / "students").glob("*.json")))
    assert kept >= 1
    examined.clear()
    grade(folder, tmp_path / "out")
    assert len(examined) == 23 - kept


def test_names_become_files_that_every_system_takes(tmp_path: Path) -> None:
    """Each its own, also where they differ only by case or by what a file's name cannot have, or one is the other's."""
    for name in ("a:b.c", "a?b.c", "nul.c", "x" * 200 + ".c", "=cmd.c", "a~b", "a_b-941528"):
        (tmp_path / name).write_text("#!")
    room = Classroom(tmp_path, tmp_path / "out", WISH, Rubric())
    stems = [student.stem for student in room.students]
    assert len({stem.casefold() for stem in stems}) == 7
    assert all(len(stem) < 80 and not set(stem) & set(':?="/') and stem.lower() != "nul.c" for stem in stems)
    assert "'=cmd.c" in classpages.table(room.students, [])


def test_a_class_says_nothing_that_a_terminal_obeys(tmp_path: Path) -> None:
    """Neither the name of a folder nor what its Dockerfile says."""
    graded = Outcome.of("x", catalogue.known())
    students = [Student("a\x1b[2Jb", tmp_path, "a", graded), Student("c\x9bd", tmp_path, "c", None, "no \x1b]0;e\x07")]
    screen = console()
    with screen.capture() as said:
        screen.print(terminal.grades(students))
    assert not set(said.get()) & set("\x1b\x9b\x07")
    assert all(word in said.get() for word in (r"a\x1b[2Jb", r"c\x9bd", r"no \x1b]0;e\x07"))


def test_wrong_folders_are_refused(tmp_path: Path) -> None:
    """None, one without a submission, and results into a folder of something else: nothing is overwritten."""
    with pytest.raises(UsageError, match="there is no folder"):
        Classroom(tmp_path / "none", tmp_path / "out", WISH, Rubric())
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(UsageError, match="holds no submission"):
        Classroom(tmp_path, tmp_path / "out", WISH, Rubric())
    (tmp_path / "a.c").write_text("")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "index.html").write_text("precious")
    with pytest.raises(UsageError, match="holds other files"):
        Classroom(tmp_path, tmp_path / "mine", WISH, Rubric())
    assert json.dumps((tmp_path / "mine" / "index.html").read_text()) == '"precious"'
