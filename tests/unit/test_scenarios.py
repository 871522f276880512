"""The scenarios and what surrounds them: texts, verdicts, prediction, spread, command line; without an engine."""

import io
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from forklab import engine
from forklab.errors import Inconclusive, LabError, UsageError
from forklab.harness import Choice, Number, Stage, Text, Words, ask, conduct, library, words
from forklab.harness.spread import Runs
from forklab.lab import Lab
from forklab.registry import SCENARIOS
from protocol import lessons, verdicts
from tests.unit.staging import LETTER, NUMBER, Engine, play, scenario
from tests.unit.test_tasks import invoke

ROOT = Path(__file__).parents[2]

CATALOGUE = [
    *("fork-memory", "process-states", "zombie", "wait", "waitpid", "signal-alarm", "sigaction", "reap-sigchld"),
    *("reap-burst", "pid1", "fork-server", "fd-copies", "listener-leak", "split-io", "lockstep-deadlock"),
    *("half-close", "pipe-oneway", "pipe-twoway", "store", "waiting-time", "select-wall", "multiplexing"),
    *("thread-race", "cost", "slow-reader", "kill-child", "kill-parent", "partition", "reset", "fork-fails"),
    *("fd-exhaustion", "peer-vanishes", "time-wait"),
]
HANGUL = re.compile("[가-힣]")


def texts(name: str) -> Iterator[tuple[str, Text]]:
    """Everything that a learner reads of a scenario in their own language."""
    found = library.load(name)
    yield from (("question", found.question), ("theory", found.expectation), ("explanation", found.explanation))
    yield "prediction", found.prediction.ask
    if isinstance(found.prediction, Choice):
        yield from (("answer", answer) for answer in found.prediction.answers)


def test_the_folder_and_the_order_hold_the_catalogue() -> None:
    """No scenario is missing, none is too many, and each has its place in the course."""
    assert sorted(lessons.SCENARIOS) == sorted(CATALOGUE)
    assert SCENARIOS.ids() == sorted(CATALOGUE)
    assert library.order() == list(lessons.SCENARIOS)


@pytest.mark.parametrize("name", SCENARIOS.ids())
def test_no_text_is_missing_in_either_language(name: str) -> None:
    """Each is there in English and in Korean; a numeral or a name of a call is the same in both."""
    for what, text in texts(name):
        assert text.en.strip(), what
        assert text.ko.strip(), what
        assert not HANGUL.search(text.en), what
        assert not re.search(r"(?<![\w*])\*\w[^*]*\w\*(?![\w*])", text.en + text.ko), "only backticks mean something"
        assert text.en.count("`") % 2 == text.ko.count("`") % 2 == 0, what
        if what != "answer":
            assert HANGUL.search(text.ko), (what, text.ko)
            assert len(text.ko) > 7, what
    found = library.load(name)
    assert found.question.en.endswith("?")
    assert re.search(r"\w\(\d[a-z]*\)|RFC|POSIX|UNP|TLPI", found.source), found.source
    assert len(found.expectation.en.split()) > 15, "theory says what the kernel does, and why"


@pytest.mark.parametrize("name", SCENARIOS.ids())
def test_a_prediction_can_be_answered(name: str) -> None:
    """Three or four answers that differ, one of them right; or a number with a name."""
    prediction = library.load(name).prediction
    if isinstance(prediction, Number):
        assert prediction.key.isidentifier()
        return
    assert len(prediction.answers) in (3, 4)
    assert len({answer.en for answer in prediction.answers}) == len(prediction.answers)
    assert len({answer.ko for answer in prediction.answers}) == len(prediction.answers)
    assert prediction.right in range(len(prediction.answers))


def test_the_right_answer_is_not_always_the_same_letter() -> None:
    """Who guesses the first, or the second, does not get through the course."""
    rights = [one.right for name in library.order() if isinstance(one := library.load(name).prediction, Choice)]
    assert all(rights.count(letter) <= len(rights) / 2 for letter in rights)


@pytest.mark.parametrize("name", SCENARIOS.ids())
def test_parameters_have_bounds_that_are_checked(name: str) -> None:
    """The default and both bounds are taken; what is beyond, or no number, is told with the bounds."""
    found = library.load(name)
    for flag, one in (found.parameters or {}).items():
        assert re.fullmatch("[a-z][a-z_]*", flag), flag
        assert flag not in ("all", "id", "json", "lang", "out", "predict", "repeat")
        assert one.help
        assert found.read({flag: one.written(one.default)})[flag] == one.default  # type: ignore[arg-type]
        if isinstance(one, Words):
            with pytest.raises(UsageError, match=one.among[-1]):
                found.read({flag: "nothing,such"})
            continue
        assert one.low <= one.default <= one.high
        assert one.low < one.high
        for value in (one.low, one.high):
            assert found.read({flag: one.written(value)})[flag] == value
        for wrong in (one.written(one.high + 1), one.written(one.low - 1), "many", "nan"):
            with pytest.raises(UsageError, match=f"{one.written(one.low)} to {one.written(one.high)}"):
                found.read({flag: wrong})


@pytest.mark.parametrize("name", SCENARIOS.ids())
def test_a_wrong_program_makes_each_scenario_fail(name: str) -> None:
    """Some test in tests/lab swaps a wrong program in for this one."""
    tables = [file.read_text(encoding="utf-8") for file in (ROOT / "tests" / "lab").glob("test_scenarios_*.py")]
    assert any(f'"{name}"' in table for table in tables), f"no test in tests/lab/test_scenarios_*.py breaks {name}"


def test_what_can_be_chosen_nowhere_is_refused() -> None:
    """The line names what can."""
    with pytest.raises(UsageError, match=r"--rounds cannot be chosen here; what can: --clients"):
        scenario(lambda stage: "").read({"rounds": "3"})


def fail(error: BaseException) -> Callable[[Stage], str]:
    """A scenario's run that ends so."""

    def run(stage: Stage) -> str:
        stage.evidence("a row")
        stage.measure(left=3)
        raise error

    return run


def claim(stage: Stage) -> str:
    """Theory is wrong."""
    stage.expect(True, "unseen")
    stage.expect(False, "a child is a zombie")
    return "unseen"


@pytest.mark.parametrize(
    ("run", "verdict", "said"),
    [
        (lambda stage: f"{stage['clients']} of 5", verdicts.PASS, "5 of 5"),
        (claim, verdicts.FAIL, "a child is a zombie"),
        (lambda stage: stage.inconclusive("no netem"), verdicts.INCONCLUSIVE, "no netem"),
        (fail(Inconclusive("no nfqueue")), verdicts.INCONCLUSIVE, "no nfqueue"),
        (fail(LabError("no engine")), verdicts.ERROR, "no engine"),
        (fail(ConnectionResetError("gone")), verdicts.ERROR, "ConnectionResetError: gone"),
    ],
)
def test_what_happens_on_the_stage_becomes_a_verdict(run: Callable[[Stage], str], verdict: str, said: str) -> None:
    """One of four, with a sentence; what was gathered until then is kept."""
    result = play(run)
    assert (result.verdict, said in result.words) == (verdict, True)
    assert "\n" not in result.words
    document = result.document("ko")
    fixed = ["scenario", "verdict", "question", "theory", "measured", "evidence"]
    assert list(document)[:6] == fixed
    assert set(document) - set(fixed) == {"words", "parameters", "source", "explanation", "seconds"}
    assert document["question"] == "될까?"
    assert document["parameters"] == {"clients": 5}


def test_an_interrupted_scenario_leaves_nothing() -> None:
    """What the stage had started goes, what others have started stays, and the interruption goes on its way."""
    there = Engine()
    there.left.append("of another")
    made = scenario(lambda stage: str(stage.program("-c", "")))
    with pytest.raises(KeyboardInterrupt):
        conduct.conduct(there, "zombie", made, made.read({}), print)  # type: ignore[arg-type]
    assert there.left == ["of another"]


def test_a_container_that_was_left_is_removed() -> None:
    """Also one that nothing removes on its way, and if the engine stumbles: it is asked again."""
    there = Engine()
    there.stumbles = 1

    def run(stage: Stage) -> str:
        there.left.append(stage._key)
        raise KeyboardInterrupt

    made = scenario(run)
    with pytest.raises(KeyboardInterrupt):
        conduct.conduct(there, "zombie", made, made.read({}), print)  # type: ignore[arg-type]
    assert there.left == []


def answered(given: str, prediction: Choice | Number = LETTER) -> tuple[ask.Answer, str]:
    """The answer that a learner gave with these lines, and what they saw."""
    seen: list[str] = []
    made = scenario(lambda stage: "", prediction)
    return ask.ask(made, "en", io.StringIO(given), seen.append), "\n".join(seen)


def test_a_choice_is_asked_until_a_letter_comes() -> None:
    """Question, answers and prompt are shown; what is no answer is asked again."""
    answer, seen = answered("\nz\n5\nB)\n")
    assert answer.given == 1
    assert "Does it work?" in seen
    assert "b) that `one`." in seen
    assert seen.count("Your answer (a, b, c):") == 4
    assert answer.nearness(play(lambda stage: "")) == "Right."
    assert "b) that `one`. This run did not confirm it" in answer.nearness(play(claim))
    wrong, _ = answered("c\n")
    assert wrong.nearness(play(lambda stage: "")) == "Not so. Right is b) that `one`."
    assert wrong.document(play(lambda stage: ""))["right"] is False


@pytest.mark.parametrize(
    ("given", "near"),
    [
        ("3", "and so it is"),
        ("3.2 ms", "within 10 %"),
        ("5", "within a factor of 2"),
        ("0.5", "6 times as much"),
        ("1,000", "you said 330 times as much"),
        ("0", "You said 0 ms, measured was 3 ms."),
        ("-1", "You said -1 ms, measured was 3 ms."),
    ],
)
def test_a_number_is_told_how_near_it_was(given: str, near: str) -> None:
    """By the factor between the guess and this very run."""
    answer, _ = answered(f"x\nnan\n{given}\n", NUMBER)
    result = play(fail(LabError("x")), NUMBER)
    assert near in answer.nearness(result)
    assert answer.document(result)["measured"] == 3


def test_a_number_that_was_not_measured_is_told_so() -> None:
    """The scenario ended before."""
    answer, _ = answered("4\n", NUMBER)
    assert answer.nearness(play(claim, NUMBER)) == "You said 4 ms. This run did not measure it."


def test_no_answer_is_an_error_of_one_line() -> None:
    """The input ended: a pipe without a line, or Ctrl-D."""
    with pytest.raises(UsageError, match="--predict"):
        answered("")


def test_several_runs_have_a_spread() -> None:
    """Of each figure that is a number; the worst run is the one that is shown."""
    counted = iter((3, 1, 2))

    def run(stage: Stage) -> str:
        left = next(counted)
        stage.measure(left=left, model="fork", all=True)
        stage.expect(left != 1, "one")
        return "not one"

    runs = Runs([play(run) for _ in range(3)])
    document = runs.document("en")
    assert document["verdict"] == verdicts.FAIL
    assert document["repeat"] == {
        "runs": 3,
        "verdicts": {"PASS": 2, "FAIL": 1},
        "spread": {"left": {"low": 1, "median": 2, "high": 3, "runs": 3}},
    }
    assert "repeat" not in Runs(runs.results[:1]).document("en")


class FakeLab:
    """Has all images, and an engine on which nothing runs."""

    client = Engine()

    def build(self) -> list[str]:
        """Everything was up to date."""
        return []


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Two scenarios instead of the real ones: the first passes."""

    def well(stage: Stage) -> str:
        stage.measure(left=1)
        return "well"

    made = {"zombie": scenario(well), "wait": scenario(claim)}
    monkeypatch.setattr(engine, "connect", lambda say: object())
    monkeypatch.setattr(Lab, "here", lambda client, say, echo=False: FakeLab())
    monkeypatch.setattr(library, "order", lambda: list(made))
    monkeypatch.setattr(library, "load", lambda name: made[name])
    return made


def test_one_scenario_is_a_report_or_a_document(shelf: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    """Theory, measurement and verdict apart, in the language wanted; exit code 0, or 1 where theory failed."""
    assert invoke("scenario", "zombie", "--lang", "ko") == 0
    words_said = capsys.readouterr().out
    heads = [words.THEORY.ko, words.MEASURED.ko, words.VERDICT.ko, words.EXPLANATION.ko]
    assert [line.strip() for line in words_said.splitlines() if line.strip() in heads] == heads
    assert invoke("scenario", "wait", "--json") == 1
    assert json.loads(capsys.readouterr().out)["words"] == "a child is a zombie"


@pytest.mark.parametrize(
    ("run", "code"),
    [(lambda stage: stage.inconclusive("x"), 3), (fail(LabError("x")), 4), (fail(ValueError("x")), 4)],
)
def test_the_exit_code_is_the_verdict(shelf: dict[str, Any], run: Callable[[Stage], str], code: int) -> None:
    """3 inconclusive, 4 the lab itself; of several runs the worst, and FAIL is worst."""
    shelf["zombie"] = scenario(run)
    assert invoke("scenario", "zombie") == code
    assert invoke("scenario", "--all", "--json") == 1


def test_all_is_a_table_or_a_list(shelf: dict[str, Any], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A line each while it goes on, a summary in the end; the pages and an index."""
    assert invoke("scenario", "--all", "--out", str(tmp_path)) == 1
    written = capsys.readouterr()
    assert "1/2 PASS zombie: well" in written.err
    assert "2/2 FAIL wait: a child is a zombie" in written.err
    assert "1 PASS, 1 FAIL, in 0 s" in written.out
    assert sorted(file.name for file in tmp_path.iterdir()) == ["index.html", "wait.html", "zombie.html"]
    assert invoke("scenario", "--all", "--json") == 1
    assert [each["scenario"] for each in json.loads(capsys.readouterr().out)["scenarios"]] == ["zombie", "wait"]


def test_predict_reads_a_pipe(
    shelf: dict[str, Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is asked goes to standard error, so --json has one document all the same."""
    monkeypatch.setattr("sys.stdin", io.StringIO("a\nb\n"))
    assert invoke("scenario", "zombie", "--predict", "--json") == 0
    written = capsys.readouterr()
    assert "Which?" in written.err
    found = json.loads(written.out)["prediction"]
    assert (found["said"], found["theory"], found["right"]) == ("a) this one", "b) that `one`.", False)
    assert invoke("scenario", "zombie", "--predict") == 0
    assert "Right." in capsys.readouterr().out
    assert invoke("scenario", "zombie", "--predict") == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("lab: the input ended")


def test_repeat_shows_the_spread(shelf: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    """Three runs, counted."""
    assert invoke("scenario", "zombie", "--repeat", "3") == 0
    written = capsys.readouterr()
    assert "3/3 PASS well" in written.err
    assert "3 PASS" in written.out
    assert "Over 3 runs" in written.out


@pytest.mark.parametrize(
    ("given", "wrong"),
    [
        (("zombi",), "did you mean zombie"),
        (("zombie", "--lang", "kr"), "kr"),
        (("zombie", "--repeat", "0"), "1 to 1000"),
        (("zombie", "--repeat", "x"), "x"),
        (("zombie", "--all"), "--all"),
        (("--all", "--predict"), "--predict"),
        (("--all", "--repeat", "2"), "--repeat"),
        (("zombie", "--out", "tasks.py"), "tasks.py"),
    ],
)
def test_wrong_words_are_one_line(capsys: pytest.CaptureFixture[str], given: tuple[str, ...], wrong: str) -> None:
    """And exit code 2; nothing was asked of an engine."""
    assert invoke("scenario", *given) == 2
    error = capsys.readouterr().err
    assert wrong in error
    assert error.count("\n") == 1


def test_a_parameter_of_another_scenario_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """Each flag is there for those that take it; the others name what they take."""
    flag, takers = next((flag, takers) for flag, takers in library.parameters().items() if len(takers) == 1)
    name, one = takers[0]
    other = next(each for each in library.order() if each != name)
    written = one.written(one.default)  # type: ignore[arg-type]
    assert invoke("scenario", other, f"--{flag.replace('_', '-')}", written) == 2
    assert "cannot be chosen here" in capsys.readouterr().err
    assert invoke("scenario", name, f"--{flag.replace('_', '-')}", "much") == 2
    assert one.expected().partition(" (")[0] in capsys.readouterr().err


def test_scenarios_are_listed_in_teaching_order(capsys: pytest.CaptureFixture[str]) -> None:
    """Without an engine, in both languages, with what can be chosen."""
    assert invoke("scenarios", "--json", "--lang", "ko") == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["scenario"] for row in rows] == library.order()
    assert all(HANGUL.search(row["question"]) for row in rows)
    assert invoke("scenarios") == 0
    lines = capsys.readouterr().out.splitlines()
    for name in library.order():
        assert any(line.split()[:1] == [name] and library.load(name).question.en[:12] in line for line in lines), name


def test_a_scenario_that_does_not_load_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In one line, with the file; the others stay on the shelf."""
    (tmp_path / "half.py").write_text('"""Half done."""\n')
    monkeypatch.setattr(library, "SCENARIOS", type(SCENARIOS)("scenario", tmp_path))
    with pytest.raises(LabError, match=r"half\.py does not load: ModuleNotFoundError"):
        library.load("half")
    assert library.parameters() == {}
