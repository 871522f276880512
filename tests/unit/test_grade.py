"""The host's side of grading, without an engine: what is packed, what the outcome is worth, what is refused."""

import io
import json
import os
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from docker.errors import NotFound
from rich.console import Console

from forklab import oneshot
from forklab.errors import LabError, UsageError
from forklab.grade import container, flaws, selftest
from forklab.grade.catalogue import Check
from forklab.grade.outcome import Outcome
from forklab.grade.submission import MOST_BYTES, Submission
from forklab.grade.terminal import report
from forklab.grade.wish import Wish, gather
from forklab.registry import CHECKS
from forklab.show import console
from protocol import verdicts


def check(name: str, group: str) -> Check:
    """A check of which only this matters."""
    return Check(name, "s", "r", "ref", "e", "c", "m", group)


def outcome(**verdict: str) -> Outcome:
    """One with a core check ``a``, a high one ``b``, and an advisory one ``c``."""
    made = Outcome.of("server.c", [check("a", "core"), check("b", "high"), check("c", "advisory")])
    for name, word in verdict.items():
        blank: dict[str, Any] = dict.fromkeys(("requirement", "expected", "cause", "mend", "replay"), "")
        made.results.append(
            {**blank, "id": name, "verdict": word, "actual": f"{name} did", "evidence": [], "seconds": 0.1}
        )
    return made


@pytest.mark.parametrize(
    ("found", "score", "code"),
    [
        ({"a": "PASS", "b": "PASS", "c": "PASS"}, 100.0, 0),
        ({"a": "PASS", "b": "FAIL"}, 60.0, 1),
        ({"a": "WARN", "b": "SKIP", "c": "WARN"}, 100.0, 0),
        ({"a": "PASS", "b": "INCONCLUSIVE"}, 60.0, 3),
        ({"a": "PASS", "b": "INCONCLUSIVE", "c": "FAIL"}, 60.0, 1),
        ({"a": "ERROR", "b": "PASS"}, 100.0, 4),
        ({"a": "SKIP"}, 0.0, 0),
    ],
)
def test_what_an_outcome_is_worth(found: dict[str, str], score: float, code: int) -> None:
    """Core counts 3, high 2, advisory nothing; what was not seen earns nothing, what does not apply does not count."""
    made = outcome(**found)
    assert (made.score, made.exit_code) == (score, code)


@pytest.mark.parametrize(
    ("name", "run", "replay"),
    [
        ("a.c", "", "a.c"),
        ("my a.c", "./d -p {port}", '"my a.c" --run "./d -p {port}"'),
        ("a.c", "./d '$x' {port}", "a.c --run './d '\"'\"'$x'\"'\"' {port}'"),
    ],
)
def test_what_is_to_be_typed_is_right_in_every_shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, run: str, replay: str
) -> None:
    """Single quotes mean nothing to cmd; sh would look into double ones for variables."""
    monkeypatch.chdir(tmp_path)
    Path(name).write_text("int main(void) {}\n")
    wish = Wish.of(run=run, service="echo", model="any", check="listens", core=False)
    event = {"event": "result", "id": "listens", "verdict": "PASS", "evidence": []}
    found = gather([event], Submission.at(Path(name)), wish, None, lambda event: None)
    assert found.results[0]["replay"] == f"./lab grade {replay} --check listens"


def test_the_report_begins_with_what_failed() -> None:
    """Then what is inconclusive; what passed is one line."""
    screen = console()
    with screen.capture() as said:
        screen.print(report(outcome(a="PASS", b="FAIL", c="INCONCLUSIVE")))
    words = said.get()
    assert words.index("FAIL  b") < words.index("INCONCLUSIVE  c") < words.index("PASS  1 passed: a")


def test_a_folder_is_packed_without_what_is_no_part_of_it(tmp_path: Path) -> None:
    """Neither .git nor compiled Python, nor links that lead out; the same bytes each time; a link stays a link."""
    for name in ("Makefile", "src/a.c", ".git/config", "src/__pycache__/a.pyc"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "link").symlink_to("src/a.c")
    for name, target in (("root", "/"), ("up", "../.."), ("around", "src/../../x"), ("loop", "loop")):
        (tmp_path / name).symlink_to(target)
    packed = Submission.at(tmp_path).packed()
    assert packed == Submission.at(tmp_path).packed()
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        assert sorted(tar.getnames()) == ["Makefile", "link", "src/a.c"]
        assert tar.getmember("link").issym()


@pytest.mark.parametrize(
    ("name", "main"),
    [
        (b"-server.c", "submission.c"),
        ("서버.py".encode("cp949"), "submission.py"),
        ("서버".encode("cp949"), "submission"),
        ("서버 1.py".encode(), "서버 1.py"),
    ],
)
def test_every_name_of_a_file_reaches_the_examiner(tmp_path: Path, name: bytes, main: str) -> None:
    """One that is an option to a compiler, or no text, is another one there."""
    path = tmp_path / os.fsdecode(name)
    path.touch()
    submission = Submission.at(path)
    with tarfile.open(fileobj=io.BytesIO(submission.packed())) as tar:
        assert tar.getnames() == [main]
    words = Wish(run="-x {port}").order(submission, 1)
    assert words[-2:] == [f"--main={main}", "--command=-x {port}"]
    assert json.dumps(words, ensure_ascii=False).encode()


def test_links_can_be_unpacked_elsewhere(tmp_path: Path) -> None:
    """One that leads out of the folder and in again is left out: the name of the folder is not there."""
    folder = tmp_path / "stu"
    (folder / "src" / "deep").mkdir(parents=True)
    (folder / "src" / "a.c").write_text("int main;")
    links = {"out": "../stu/src/a.c", "src/a": "..", "src/l": "a/../stu/src/a.c", "src/x": "deep/../../src/a.c"}
    for name, target in links.items():
        (folder / name).symlink_to(target)
    with tarfile.open(fileobj=io.BytesIO(Submission.at(folder).packed())) as tar:
        assert tar.getnames() == ["src/a", "src/a.c", "src/l", "src/x"]
        tar.extractall(tmp_path / "there", filter="data")
    assert (tmp_path / "there" / "src" / "x").read_text() == "int main;"


def test_a_file_with_two_names_is_packed_under_both(tmp_path: Path) -> None:
    """Its content, twice: a hard link to the first name would be none of what is packed."""
    (tmp_path / "a.c").write_text("int main;")
    (tmp_path / "b.c").hardlink_to(tmp_path / "a.c")
    with tarfile.open(fileobj=io.BytesIO(Submission.at(tmp_path).packed())) as tar:
        assert [(each.name, each.isreg(), each.size) for each in tar] == [("a.c", True, 9), ("b.c", True, 9)]


def test_a_link_to_a_program_is_graded_as_that(tmp_path: Path) -> None:
    """Its content is packed under the link's name."""
    (tmp_path / "a.c").write_text("int main;")
    (tmp_path / "b.c").symlink_to(tmp_path / "a.c")
    with tarfile.open(fileobj=io.BytesIO(Submission.at(tmp_path / "b.c").packed())) as tar:
        assert [(each.name, each.isreg()) for each in tar.getmembers()] == [("b.c", True)]


def test_a_path_that_is_too_long_is_refused(tmp_path: Path) -> None:
    """The container could not unpack it."""
    inner = tmp_path / "/".join(["a" * 250] * 13)
    inner.mkdir(parents=True)
    (inner / "file").touch()
    with pytest.raises(UsageError, match="more than 3000 bytes"):
        Submission.at(tmp_path).packed()


def test_folders_that_are_too_deep_are_refused(tmp_path: Path) -> None:
    """The container would unpack them by a recursion."""
    inner = tmp_path / "/".join(["a"] * 100)
    inner.mkdir(parents=True)
    (inner / "a.c").touch()
    assert len(Submission.at(tmp_path).files) == 1
    (inner / "a").mkdir()
    with pytest.raises(UsageError, match="more than 100 folders within each other"):
        Submission.at(tmp_path)


@pytest.mark.parametrize("odd", ["\x1b[2J", "\r", "\x07", "\x9b", "\u202e", "\udcff", "\0", "\x7f"])
def test_a_report_says_nothing_that_a_terminal_obeys(odd: str) -> None:
    """Whatever the examiner says of a submission: it is shown, and not sent."""
    event = container._event(json.dumps({"event": "result", "evidence": [f"a{odd}b"], "deep": {"x": [odd]}}))
    assert ascii(odd[0])[1:-1] in event["evidence"][0]
    assert not any(odd[0] in text for text in (*event["evidence"], *event["deep"]["x"]))


def test_an_examiner_that_has_no_more_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it has found stays; what it has not come to is inconclusive."""
    now = [0.0]

    def lines(*words: Any, **named: Any) -> Iterator[str]:
        yield json.dumps({"event": "begin", "checks": ["listens", "reap-one"]})
        yield json.dumps({"event": "model", "model": "fork"})
        now[0] = 901.0
        yield json.dumps({"event": "result", "id": "listens"})
        raise AssertionError("nobody waits any more")

    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(oneshot, "lines", lines)
    monkeypatch.setattr(oneshot, "remove", lambda left: None)
    monkeypatch.setattr(container, "_sweep", lambda client: None)
    monkeypatch.setattr(container, "_create", lambda *words: mock.Mock(id="x"))
    *_, found, missing, done = container.examine(mock.Mock(), [], b"", lanes=1)
    assert (found["id"], missing["id"], missing["verdict"]) == ("listens", "reap-one", "INCONCLUSIVE")
    assert missing["actual"].startswith("time ended: all checks together may take 900 s")
    assert (done["event"], done["model"]) == ("done", "fork")


@pytest.mark.parametrize("ended", [True, False])
def test_an_examiner_that_goes_without_a_word(monkeypatch: pytest.MonkeyPatch, ended: bool) -> None:
    """Where memory has ended, what it has not come to is inconclusive; else the lab has failed."""
    said = [{"event": "begin", "checks": ["listens", "reap-one"]}, {"event": "result", "id": "listens"}]
    monkeypatch.setattr(oneshot, "lines", lambda *words, **named: map(json.dumps, said))
    monkeypatch.setattr(oneshot, "remove", lambda left: None)
    monkeypatch.setattr(container, "_sweep", lambda client: None)
    monkeypatch.setattr(container, "_create", lambda *words: mock.Mock(id="x"))
    monkeypatch.setattr(container, "_out_of_memory", lambda client, container_id: ended)
    events = container.examine(mock.Mock(), [], b"", lanes=1)
    if not ended:
        with pytest.raises(LabError, match="the examiner broke"):
            list(events)
        return
    *_, missing, done = events
    assert (missing["id"], missing["verdict"], done["event"]) == ("reap-one", "INCONCLUSIVE", "done")


def test_two_sweep_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left of others and was removed meanwhile is no trouble; the rest is removed."""
    removed: list[str] = []
    monkeypatch.setattr(oneshot, "remove", removed.append)
    client = mock.Mock()
    client.info.return_value = {"SystemTime": "2026-01-01T00:00:00Z"}
    client.api.containers.return_value = [{"Labels": {}, "Created": 0, "Id": each} for each in ("gone", "left")]
    client.containers.get.side_effect = [NotFound("gone"), "left"]
    container._sweep(client)
    assert removed == ["left"]


def test_what_cannot_be_graded_is_refused(tmp_path: Path) -> None:
    """Nothing there, an empty folder, too many bytes: one line each that says so."""
    with pytest.raises(UsageError, match=r"there is no .*none"):
        Submission.at(tmp_path / "none")
    with pytest.raises(UsageError, match="is empty"):
        Submission.at(tmp_path)
    with (tmp_path / "large").open("wb") as file:
        file.truncate(MOST_BYTES)
    with pytest.raises(UsageError, match="more than 16 MiB"):
        Submission.at(tmp_path / "large").packed()


def test_the_lines_to_look_at_are_code(tmp_path: Path) -> None:
    """Neither comments nor other files."""
    (tmp_path / "a.c").write_text("/* waitpid(\n waitpid( */\nint x; // waitpid(\n  waitpid(-1, 0, 0);\n")
    (tmp_path / "b.txt").write_text("waitpid(\n")
    assert Submission.at(tmp_path).lines(r"waitpid\(") == ["a.c:4: waitpid(-1, 0, 0);"]


def test_sources_are_looked_through_in_no_time(tmp_path: Path) -> None:
    """A comment without an end reaches to the end, and no more than so much is read: they are a stranger's."""
    (tmp_path / "a.c").write_text("fork(\n" + "/*fork( " * (1 << 16))
    (tmp_path / "b.c").write_text(";" * (1 << 20) + "\nfork(\n")
    assert Submission.at(tmp_path).lines(r"fork\(") == ["a.c:1: fork("]


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        ({"run": "./server"}, "{port}"),
        ({"run": "'{port}"}, "quot"),
        ({"service": "chat"}, "echo, store, line"),
        ({"model": "frok"}, "did you mean fork"),
        ({"check": "reap-on"}, "did you mean reap-one"),
        ({"check": "listens", "core": True}, "--core"),
        ({"check": "client-bytes"}, "add --client"),
        ({"check": "listens", "client": True}, "leave --client out"),
        ({"model": "fork", "client": True}, "leave --service, --model and --core out"),
    ],
)
def test_wrong_words_are_refused(words: dict[str, Any], wrong: str) -> None:
    """With what would be right."""
    given: dict[str, Any] = {"run": "", "service": "echo", "model": "any", "check": "", "core": False}
    with pytest.raises(UsageError, match=wrong):
        Wish.of(**{**given, **words})


def test_a_flaw_is_a_change_of_its_twin() -> None:
    """Each one differs from its twin, and names a check that it fails."""
    known = flaws.known()
    twins = {flaw.program for flaw in known if not flaw.fails}
    for flaw in known:
        assert not flaw.fails or flaw.program not in twins, flaw.name


def test_a_change_that_does_not_fit_is_refused() -> None:
    """What it takes away must be there once, and each line must say what it is."""
    file = flaws.FOLDER / "c" / "x.diff"
    assert flaws._change("a\nb\na\n", " b\n-a\n+c", file) == "a\nb\nc\n"
    with pytest.raises(LabError, match="2 places"):
        flaws._change("a\nb\na\n", "-a\n+c", file)
    with pytest.raises(LabError, match="begins with"):
        flaws._change("a\n", "a", file)


def test_the_matrix_says_what_is_not_as_it_must_be() -> None:
    """A check that missed its flaw, and one that tripped over another's; what may fail, or follows, does not."""
    flaw = flaws.Flaw("x", "c", "s", "p", fails=("reap-one",), also=("reap-burst",))
    found = {"reap-one": "PASS", "reap-burst": "FAIL", "listens": "FAIL", "concurrent": "INCONCLUSIVE"}
    actual = {"reap-one": "all waited for", "listens": "on port 7"}
    row = selftest.Row(flaw, found | {"many-clients": "FAIL"}, actual, explained={"many-clients"})
    assert row.wrong == ["reap-one is PASS: all waited for", "listens is FAIL: on port 7"]
    assert selftest.exit_code([row]) == 1


def test_the_matrix_is_read_in_80_columns() -> None:
    """A server is a line of letters, one for each check; what is not as it must be is said in words below."""
    checks = dict.fromkeys(CHECKS.ids(), verdicts.PASS)
    flaw = flaws.Flaw("child-keeps-other-clients", "python", "s", "p", fails=("reap-one",))
    row = selftest.Row(flaw, checks | {"reap-one": "INCONCLUSIVE"}, dict.fromkeys(checks, "a child still runs"))
    printed = io.StringIO()
    Console(width=80, file=printed).print(selftest.report([row]))
    lines = printed.getvalue().splitlines()
    (told,) = (line for line in lines if line.startswith("child-keeps-other-clients"))
    assert sorted(told.split()[1]) == ["."] * (len(checks) - 1) + ["?"]
    assert "python child-keeps-other-clients: reap-one is INCONCLUSIVE: a child still runs" in " ".join(lines)
    assert lines[-1] == "FAIL  1 servers, 1 of them not as they must be"


def test_a_selftest_of_one_check_asks_for_no_other() -> None:
    """A server with three flaws must fail the one check that is examined; the good twins of its kind are beside it."""
    chosen = selftest.choose("reap-burst")
    assert {flaw.fails for flaw in chosen} == {(), ("reap-burst",)}
    assert {flaw.name for flaw in chosen if flaw.fails} == {"reap-burst", "three-at-once"}
    assert {flaw.service for flaw in chosen} == {"echo"}
