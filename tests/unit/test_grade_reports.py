"""What a grading is written as: points by a rubric, JUnit's XML, Gradescope's results.json."""

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from forklab.errors import UsageError
from forklab.grade import gradescope, junit
from forklab.grade.outcome import Outcome
from forklab.grade.reports import Wanted, refuse
from forklab.grade.rubric import Rubric
from forklab.registry import ROOT
from tests.unit.test_grade import outcome


def rubric(tmp_path: Path, text: str) -> Rubric:
    """What a file says."""
    path = tmp_path / "rubric.yaml"
    path.write_text(text, encoding="utf-8")
    return Rubric.read(path)


def test_the_example_is_what_counts_without_one() -> None:
    """docs/rubric.yaml changes nothing, so that a teacher can begin with it."""
    assert Rubric.read(ROOT / "docs/rubric.yaml") == Rubric()


def test_a_rubric_gives_the_points(tmp_path: Path) -> None:
    """Of a check before its group's; of the total; what does not apply leaves its share to the others."""
    made = outcome(a="PASS", b="FAIL", c="SKIP")
    made.rubric = rubric(tmp_path, "total: 20\ngroups: {core: 1, high: 4}\nchecks: {}\n")
    assert made.score == 4
    assert [made.points(each) for each in made.in_order()] == [(4, 4), (0, 16), (0, 0)]
    made.rubric = Rubric(checks={"b": 0})
    assert made.score == 100


def test_who_fails_what_is_required_gets_nothing(tmp_path: Path) -> None:
    """And the report says why; what is inconclusive is not met, what does not apply is not asked for."""
    made = outcome(a="FAIL", b="PASS", c="SKIP")
    made.rubric = Rubric(required=("a", "c"))
    assert (made.score, made.lacking) == (0, ["a"])
    assert "score 0 of 100 (required, and not met: a)" in made.summary
    assert rubric(tmp_path, "required: [listens]").required == ("listens",)


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("- listens", "it has no keys"),
        ("totl: 3", 'there is no key "totl"'),
        ("total: many", "\"total\" is 'many'"),
        ("total: 0", "more than 0"),
        ("total: .nan", "is nan"),
        ("groups: {core: true}", '"groups: core" is True'),
        ("groups: 3", '"groups" must have lines such as "core: 3"'),
        ("checks: {reap-on: 3}", 'there is no check "reap-on"'),
        ("required: listens", '"required" must be a list'),
        ("required: [listen]", "did you mean listens"),
        ("a: [", "is no YAML"),
        ("total: 2024-13-45", "is no YAML: month must be"),
        ("total: 0x_", "is no YAML: invalid literal"),
        ("total: 3\ntotal: 4", '"total" is there twice in "<byte string>", line 2'),
        ("groups: {core: 1, core: 2}", '"core" is there twice'),
    ],
)
def test_a_wrong_rubric_is_refused(tmp_path: Path, text: str, wrong: str) -> None:
    """Before anything is graded; the line names the file and what is wrong in it."""
    with pytest.raises(UsageError, match=r"rubric\.yaml is no") as refused:
        rubric(tmp_path, text)
    assert wrong in str(refused.value)


def test_a_rubric_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """With its name."""
    with pytest.raises(UsageError, match=r"cannot read the rubric .*none\.yaml: No such file"):
        Rubric.read(tmp_path / "none.yaml")


def hostile() -> Outcome:
    """One whose subject says what no XML holds."""
    made = outcome(a="FAIL", b="INCONCLUSIVE", c="WARN")
    made.results[0]["actual"] = 'it said \x00\x1b[31m<b a="1">]]> & \ud800'
    made.results[0]["evidence"] = ["line one", "line \x07 two"]
    return made


def test_junit_has_a_case_for_each_check() -> None:
    """A failure with its evidence, what nobody knows as skipped, and no character that XML cannot hold."""
    suite = ElementTree.fromstring(junit.document(hostile()).encode())[0]
    assert {key: suite.get(key) for key in ("name", "tests", "failures", "errors", "skipped")} == {
        "name": "server.c",
        "tests": "3",
        "failures": "1",
        "errors": "0",
        "skipped": "1",
    }
    cases = {case.get("name"): case for case in suite}
    failure = cases["a"].find("failure")
    assert failure is not None
    assert failure.get("message") == 'FAIL: it said \ufffd\ufffd[31m<b a="1">]]> & \ufffd'
    assert failure.text
    assert "line \ufffd two" in failure.text
    skipped = cases["b"].find("skipped")
    assert skipped is not None
    assert skipped.get("message") == "INCONCLUSIVE: b did"
    assert [child.tag for child in cases["c"]] == ["system-out"]


def test_gradescope_gets_the_points_of_each_check() -> None:
    """Their sum is the score; what was not met has failed."""
    made = gradescope.document(outcome(a="PASS", b="FAIL", c="WARN"))
    tests: dict[str, dict[str, Any]] = {test["name"]: test for test in made["tests"]}
    assert made["score"] == 60 == sum(test["score"] for test in tests.values())
    assert sum(test["max_score"] for test in tests.values()) == 100
    assert {name: test["status"] for name, test in tests.items()} == {
        "a: PASS": "passed",
        "b: FAIL": "failed",
        "c: WARN": "passed",
    }


def test_files_are_refused_before_the_grading(tmp_path: Path) -> None:
    """One that exists, one in no folder; and those of one submission for a class."""
    there = tmp_path / "there.xml"
    there.write_text("mine")
    with pytest.raises(UsageError, match="exists and is not overwritten"):
        Wanted({"junit": str(there)})
    with pytest.raises(UsageError, match="there is no folder"):
        Wanted({"html": str(tmp_path / "no" / "page.html")})
    with pytest.raises(UsageError, match="--junit is for one submission"):
        refuse({"html": "", "junit": "x.xml"})


def test_each_file_is_written(tmp_path: Path) -> None:
    """All four of them."""
    names = {kind: str(tmp_path / kind) for kind in ("html", "junit", "gradescope", "json")}
    assert [path.name for path in Wanted(names).write(hostile())] == list(names)
    assert all(Path(name).stat().st_size > 100 for name in names.values())
