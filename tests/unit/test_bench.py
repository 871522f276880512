"""From the container's lines to figures and goals: nothing is averaged away, nothing is hidden."""

import json
from typing import Any

import pytest

from forklab.bench import catalogue, goals, summary, terminal
from forklab.bench.run import INTERRUPTED, Run
from forklab.errors import LabError, UsageError
from tests.unit.benching import FIGURES, HEADROOM, events, run_of, sample
from tests.unit.test_show import printed


def rounds(*pairs: tuple[float, float]) -> Run:
    """churn-8 with fork and c-fork: a value of each for each round, the warm-up first."""
    return run_of(
        [
            {"event": "plan", "rounds": len(pairs), "sections": {"churn-8": ["fork", "c-fork"]}, "samples": 9}
            | HEADROOM,
            *(sample("churn-8", "fork", number, ours) for number, (ours, _) in enumerate(pairs)),
            *(sample("churn-8", "c-fork", number, theirs) for number, (_, theirs) in enumerate(pairs)),
            {"event": "done"},
        ]
    )


def finding(run: Run, goal: str, section: str) -> goals.Finding:
    """What became of a goal."""
    (found,) = [each for each in goals.judge(run) if (each.goal, each.section) == (goal, section)]
    return found


def row(run: Run, section: str, entrant: str) -> summary.Row:
    """A row of a section."""
    (table,) = [table for table in summary.tables(run) if table.section == section]
    (found,) = [row for row in table.rows if row.entrant == entrant]
    return found


def with_figure(section: str, entrant: str, value: float) -> Run:
    """A whole run in which one figure is another one."""
    return run_of(events({**FIGURES, section: {**FIGURES[section], entrant: value}}))


def test_ratios_are_taken_pair_by_pair_within_a_round() -> None:
    """A machine that is ten times slower in one round changes no ratio; the ratio of the medians would be 5."""
    found = summary.ratio(rounds((7, 1), (50, 100), (5, 10), (500, 1000)), "churn-8", "fork", "c-fork")
    assert found == summary.Spread(0.5, 0.5, 0.5, 3)
    uneven = summary.ratio(rounds((7, 1), (100, 10), (30, 10), (100, 100)), "churn-8", "fork", "c-fork")
    assert uneven == summary.Spread(3.0, 1.0, 10.0, 3)


def test_a_round_that_lacks_one_of_the_two_makes_no_ratio() -> None:
    """The others do."""
    run = rounds((1, 1), (50, 100), (60, 100))
    run.samples = [each for each in run.samples if (each.entrant, each.round) != ("c-fork", 2)]
    assert summary.ratio(run, "churn-8", "fork", "c-fork") == summary.Spread(0.5, 0.5, 0.5, 1)


def test_the_warm_up_counts_for_nothing_but_its_errors() -> None:
    """Its value is in no median and no spread."""
    run = run_of([sample("churn-8", "fork", 0, 1.0, errors={"reset": 2}), sample("churn-8", "fork", 1, 100.0)])
    found = row(run, "churn-8", "fork")
    assert found.value == summary.Spread(100, 100, 100, 1)
    assert found.errors == {"reset": 2}


def test_rows_come_best_first_whichever_way_is_better() -> None:
    """The best has 1, the others less, also where low is good; a goal's p50 is not the section's figure."""
    orders = {table.section: [(row.entrant, row.of_best) for row in table.rows] for table in summary.tables(run_all())}
    assert orders["bulk-1"][0] == ("epoll", 1.0)
    assert orders["burst"] == [("epoll", 1.0), ("c-fork", 0.5), ("fork", pytest.approx(60 / 310))]


def run_all() -> Run:
    """A whole run that meets every goal but those its figures were not made for."""
    return run_of(events())


@pytest.mark.parametrize(
    ("goal", "section", "entrant", "met", "missed"),
    [
        ("fork-c", "churn-64", "fork", 0.45 * 4700, 0.44 * 4700),
        ("epoll-c", "churn-64", "epoll", 15_000, 14_900),
        ("spare-p50", "churn-1", "fork-spare", 2350 / 1.1 + 1, 2350 / 1.12),
        ("spare-p50", "paced", "fork-spare", 1.09 * 2e6 / 4700, 1.12 * 2e6 / 4700),
        ("bulk-epoll", "bulk-4", "epoll", 1.16 * 2100, 1.14 * 2100),
        ("memory-fork", "memory", "fork", 200, 201),
        ("memory-forking", "memory", "forking-tcpserver", 4 * 165, 4 * 164),
        ("hold-epoll", "hold", "epoll", 15_000, 14_999),
        ("burst-fork", "burst", "fork", 400, 401),
        ("faults-fork", "faults", "fork", 90, 91),
        ("split", "split", "lock-step", 60, 61),
    ],
)
def test_a_goal_knows_which_way_is_good(goal: str, section: str, entrant: str, met: float, missed: float) -> None:
    """On its line and on the good side it is met, on the other it is missed, and by how much is said."""
    good = finding(with_figure(section, entrant, met), goal, section)
    assert good.words == "met"
    assert good.reach
    assert good.reach.median >= 1
    bad = finding(with_figure(section, entrant, missed), goal, section)
    assert (bad.verdict, bad.words[:10]) == ("missed", "missed by ")
    assert bad.reach
    assert bad.reach.median < 1


def test_by_how_much_a_goal_was_missed() -> None:
    """In hundredths of the goal."""
    assert finding(with_figure("faults", "fork", 108), "faults-fork", "faults").words == "missed by 20 %"
    assert finding(with_figure("hold", "fork", 9_999), "hold-fork", "hold").words == "missed by 0.1 %"


def test_no_error_means_none() -> None:
    """All were answered, but one of them only after an error: missed."""
    said = list(events({"hold": {"fork": 10_000}}, rounds=1))
    said[-2]["errors"] = {"reset": 1}
    found = finding(run_of(said), "hold-fork", "hold")
    assert (found.verdict, found.words) == ("missed", "missed by 1 error")


def test_every_goal_is_judged() -> None:
    """None of them can be lost; each names sections and entrants that there are."""
    judged = goals.judge(run_all())
    assert len(judged) == 26
    assert {each.verdict for each in judged} <= {"met", "missed"}
    for goal in goals.GOALS:
        assert set(goal.sections) <= set(catalogue.SECTIONS)
        assert {goal.entrant, goal.peer or goal.entrant} <= set(catalogue.ENTRANTS)


def test_what_was_skipped_is_not_measured_and_says_why() -> None:
    """An entrant that cannot do a section is a row without a figure, and its goal is neither met nor missed."""
    run = run_of(
        [
            {"event": "plan", "rounds": 2, "sections": {"churn-64": ["epoll", "uvloop"]}, "samples": 4} | HEADROOM,
            sample("churn-64", "epoll", 1, 100.0),
            {"event": "skip", "section": "churn-64", "entrant": "uvloop", "round": 1, "reason": "no uvloop"},
            {"event": "done"},
        ]
    )
    found = finding(run, "epoll-uvloop", "churn-64")
    assert (found.verdict, found.measured) == ("not measured", None)
    assert "uvloop: not measured: no uvloop" in found.reason
    words = printed(terminal.report(run))
    assert "uvloop: not measured: no uvloop" in words
    assert "epoll / uvloop, churn-64: not measured" in words


def test_a_round_that_was_skipped_is_told_beside_the_figure() -> None:
    """The other rounds still count."""
    said = list(events({"churn-8": {"fork": 100}}))
    said.insert(-1, {"event": "skip", "section": "churn-8", "entrant": "fork", "round": 9, "reason": "it died"})
    found = row(run_of(said), "churn-8", "fork")
    assert found.value
    assert found.notes() == ["not measured in 1 round: it died"]


def test_goals_that_were_left_out_take_one_line() -> None:
    """Who asked for two entrants is not shown twenty empty rows."""
    words = printed(terminal.report(run_of(events({"churn-8": {"fork": 100, "c-fork": 200}}))))
    assert "25 not measured: left out of this run" in words
    assert sum("not measured" in line for line in words.splitlines()) == 2  # the score is the other


def test_errors_and_limits_stand_beside_the_row_they_belong_to() -> None:
    """With their kinds and numbers."""
    said = list(events({"churn-8": {"fork": 100, "socat": 200}}, rounds=2))
    for event in said:
        if event.get("entrant") == "socat" and event["round"]:
            event |= {"errors": {"reset": 600, "timeout": 0}, "load": {"cpu": 0.97, "limits": True}}
    found = row(run_of(said), "churn-8", "socat")
    assert found.notes() == ["errors: reset 1,200", "limited by the load generator in 2 of 2 rounds"]
    words = printed(terminal.report(run_of(said)))
    assert "97%!" in next(line for line in words.splitlines() if line.startswith("socat  "))
    assert "socat: errors: reset 1,200" in words


def test_a_sample_of_nothing_but_errors_has_no_value() -> None:
    """It is no zero that a median could take in."""
    found = row(run_of([sample("burst", "ncat", 1, None, errors={"refused": 1000})]), "burst", "ncat")
    assert found.value is None
    assert "errors: refused 1,000" in found.notes()


def test_a_run_that_was_cut_off_says_so() -> None:
    """What was measured is shown; the rest is not measured."""
    said = [event for event in events() if event["event"] != "done"][:60]
    run = run_of(said)
    run.trouble = INTERRUPTED
    words = printed(terminal.report(run))
    assert "PARTIAL: interrupted" in words
    assert run.exit_code == 130
    assert not run.raw()["complete"]
    assert "the run ended before it" in words


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
def test_the_report_fits_80_columns(encoding: str) -> None:
    """Names and verdicts in one line each, on every console."""
    lines = printed(terminal.report(run_all()), width=80, encoding=encoding).splitlines()
    assert max(map(len, lines)) <= 80
    assert any(line.startswith("fork / forking-tcpserver") and line.rstrip().endswith("met") for line in lines)
    assert any(line.startswith("forking-tcpserver ") for line in lines)


@pytest.mark.parametrize(
    ("value", "words"),
    [(0, "0"), (0.0658, "0.066"), (0.52, "0.52"), (9.999, "10.00"), (49.5, "49.5"), (84.0, "84"), (12_345.6, "12,346")],
)
def test_numbers_have_as_many_digits_as_one_compares(value: float, words: str) -> None:
    """Three, about."""
    assert terminal.amount(value) == words


@pytest.mark.parametrize(
    "line",
    ["no json", "[]", "{}", '{"event": "other"}', '{"event": "sample", "section": "churn-8"}', '{"event": "skip"}'],
)
def test_a_line_that_is_no_event_is_an_error(line: str) -> None:
    """An image of another checkout does not make wrong figures."""
    with pytest.raises(LabError, match="no event"):
        run_of([]).take(line)


def test_only_takes_sections_and_entrants() -> None:
    """In any order, with blanks; nothing means everything."""
    assert catalogue.choose(" churn-8, fork ,") == ["churn-8", "fork"]
    assert catalogue.choose("") == []


def test_only_names_what_there_is() -> None:
    """And the nearest one."""
    with pytest.raises(UsageError, match=r'"churn8".*did you mean churn-8\?.*sections: churn-1.*entrants: iterative'):
        catalogue.choose("fork,churn8")


def test_a_kept_run_is_the_run(tmp_path: Any) -> None:
    """Nothing is lost on the way through a file."""
    run = run_all()
    file = tmp_path / "bench.json"
    file.write_text(json.dumps(run.raw()))
    assert Run.read(file) == run


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"schema": 1}', '{"schema": 99}'])
def test_another_file_is_refused(tmp_path: Any, content: str) -> None:
    """In one line, with its name."""
    file = tmp_path / "other.json"
    file.write_text(content)
    with pytest.raises(UsageError, match="other"):
        Run.read(file)
    with pytest.raises(UsageError, match="cannot read"):
        Run.read(tmp_path / "none.json")
