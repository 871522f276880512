"""The front: names, exit codes, and one JSON document whatever happens."""

import json
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from docker.errors import APIError
from invoke.config import Config
from invoke.program import Program

import tasks
from forklab import engine, images, show
from forklab.bench import conduct
from forklab.bench.run import Run
from forklab.errors import LabError, UsageError
from forklab.lab import Lab, Status, Thing
from forklab.registry import FAULTS, ROOT
from protocol import lessons
from tests.unit.benching import events, run_of
from tests.unit.packets import Talk, pcap
from tests.unit.test_show import DOWN, PROOF, SEEN, STATUS

BREAK = [f"fault.{name}" for name in ("list", "clear", *FAULTS.ids())]


class FakeLab:
    """Answers, or fails, as each test wants; keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.trouble: BaseException | None = None

    def _answer(self, answer: Any, *asked: Any) -> Any:
        self.asked.append(asked)
        if self.trouble:
            raise self.trouble
        return answer

    def build(self) -> list[str]:
        """Everything was up to date."""
        return list(self._answer([]))

    def up(self, settings: Any) -> Any:
        """Up, with a proof that failed."""
        return self._answer((STATUS, PROOF), settings)

    def status(self) -> Status:
        """It is down."""
        show.say("progress")
        return self._answer(DOWN)  # type: ignore[no-any-return]

    def snapshot(self, details: Any) -> Any:
        """A parent, a zombie and a child that serves."""
        return self._answer(SEEN, details)

    def logs(self, lines: int, *, follow: bool = False) -> Iterator[bytes]:
        """Two lines."""
        return iter(self._answer([b"one\n", b"two\n"], lines, follow))

    def talk(self, mode: str, *, raw: bool, capture: bool) -> tuple[int, bytes]:
        """A client that ended with 5."""
        return self._answer((5, b"hello\xff"), mode, raw, capture)  # type: ignore[no-any-return]

    def demo(self, demo: str, *, capture: bool) -> tuple[int, Any]:
        """A demo that was inconclusive."""
        return self._answer((3, {"verdict": "INCONCLUSIVE"} if capture else None), demo, capture)  # type: ignore[no-any-return]

    def clean(self, project: str, *, with_images: bool, dry_run: bool) -> list[Thing]:
        """One network."""
        return list(self._answer([Thing("network", "n", "1", project)], project, with_images, dry_run))


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch) -> FakeLab:
    """Stands in for the lab and the engine."""
    made = FakeLab()
    monkeypatch.setattr(engine, "connect", lambda say: object())
    monkeypatch.setattr(Lab, "here", lambda client, say, echo=False: made)
    for name in ("FORKLAB_MODEL", "FORKLAB_SERVICE", "FORKLAB_PORT", "FORKLAB_SERVER_OPTIONS", "FORKLAB_PIDS"):
        monkeypatch.delenv(name, raising=False)
    return made


def invoke(*words: str) -> int:
    """The exit code of ``invoke WORDS``, run in this process."""

    class Here(Config):
        prefix = "forklab-test"  # neither the user's nor the system's invoke.yaml

    program = Program(namespace=tasks.namespace, config_class=Here)
    try:
        program.run(["invoke", *words], exit=True)
    except SystemExit as left:
        return int(left.code or 0)
    return 0


def test_no_task_lists_all_in_groups(capsys: pytest.CaptureFixture[str]) -> None:
    """Each task has a line, below its group; the listing needs no engine."""
    assert invoke("tasks") == 0
    words = capsys.readouterr().out
    groups = ["Stand it up", "Look", "Talk", "Learn", "Break", "Grade", "Measure", "Clean up", "Carry", "Develop"]
    assert [line.strip() for line in words.splitlines() if line.strip() in groups] == groups
    every = "doctor build up status ps fds sockets watch capture flow logs client demos demo bench down clean save load"
    every += " test scenarios scenario grade grade.checks grade.selftest"
    for name in [*every.split(), *BREAK]:
        assert any(line.split()[:1] == [name] and len(line.split()) > 3 for line in words.splitlines()), name


def test_every_word_of_every_task_has_help() -> None:
    """And every task speaks JSON."""
    fresh = runpy.run_path(str(Path(tasks.__file__)))["namespace"]  # invoke takes the help away when it reads it
    for name, found in {**fresh.tasks, **fresh.collections["fault"].tasks, **fresh.collections["grade"].tasks}.items():
        words = {argument.name: argument.help for argument in found.get_arguments()}
        assert "json" in words
        assert all(words.values()), f"{name}: {words}"


def test_flow_lists_and_draws(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One connection is drawn; of several a list; a picture goes into a new file; wrong words are usage."""
    talk = Talk().shake()
    file = tmp_path / "a.pcap"
    file.write_bytes(pcap(talk.packets))
    assert invoke("flow", str(file)) == 0
    assert "SYN,ACK seq=0 ack=1" in capsys.readouterr().out
    assert invoke("flow", str(file), "--out", str(tmp_path / "a.svg")) == 0
    assert (tmp_path / "a.svg").read_text().startswith("<svg")
    file.write_bytes(pcap([*talk.packets, *Talk(client=7).shake().packets]))
    capsys.readouterr()
    assert invoke("flow", str(file), "--json") == 0
    several = json.loads(capsys.readouterr().out)
    assert [each["end"] for each in several["connections"]] == ["open", "open"]
    assert "steps" not in several["connections"][0]
    assert invoke("flow", str(file), "--connection", "2", "--json") == 0
    (one,) = json.loads(capsys.readouterr().out)["connections"]
    assert [step["flags"] for step in one["steps"]] == [["SYN"], ["SYN", "ACK"], ["ACK"]]
    capsys.readouterr()
    for wrong in (["--connection", "3"], ["--out", str(tmp_path / "b.svg")], ["--connection", "1", "--out", "b.png"]):
        assert invoke("flow", str(file), *wrong) == 2
        assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "b.svg").exists()
    assert invoke("flow", str(tmp_path / "none")) == 2


def test_json_is_one_document_and_progress_goes_elsewhere(lab: FakeLab, capsys: pytest.CaptureFixture[str]) -> None:
    """Scripts can parse standard output as it is."""
    assert invoke("status", "--json") == 0
    written = capsys.readouterr()
    assert json.loads(written.out)["running"] is False
    assert written.err == "progress\n"


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        (("up", "--port", "abc"), "abc"),
        (("up", "--model", "frok"), "frok"),
        (("up", "--pids", "x"), "x"),
        (("logs", "--lines", "many"), "many"),
        (("capture",), "--out"),
        (("capture", "--out", "a.pcapng", "--wireshark"), "--out"),
        (("capture", "--out", "a.pcapng", "--seconds", "nan"), "nan"),
        (("capture", "--out", str(Path(__file__))), "exists"),
        (("logs", "--follow", "--json"), "--follow"),
        (("fds", "--pid", "x"), "x"),
        (("watch", "--interval", "soon"), "soon"),
        (("watch", "--interval", "0"), "0.1 to 60"),
        (("watch", "--json"), "ps --json"),
        (("watch",), "ps --json"),
        (("clean", "--project", "a", "--images"), "--images"),
        (("grade", "nowhere.c", "--check", "reap-on"), "did you mean reap-one"),
        (("grade", "nowhere.c", "--out", "tasks.py"), "exists"),
        (("grade", "nowhere.c", "--html", "tasks.py"), "exists"),
        (("grade.selftest", "--only", "frok"), "frok"),
        (("bench", "--only", "churn-8,frok"), "frok"),
        (("bench", "--from", "none.json"), "none.json"),
        (("bench", "--from", "none.json", "--quick"), "--quick"),
        (("bench", "--out", "tasks.py"), "tasks.py"),
    ],
)
def test_wrong_words_are_one_line_and_exit_2(
    lab: FakeLab, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], wrong: str
) -> None:
    """The line has the value; the lab was not asked for anything."""
    assert invoke(*words) == 2
    error = capsys.readouterr().err
    assert error.startswith("lab: ")
    assert wrong in error
    assert error.count("\n") == 1
    assert lab.asked == []


@pytest.mark.parametrize(
    ("trouble", "code", "words"),
    [
        (LabError("the disk is full"), 4, "lab: the disk is full"),
        (UsageError("no such thing"), 2, "lab: no such thing"),
        (APIError("500 Server Error", explanation="driver failed"), 4, "driver failed"),
        (ConnectionResetError("gone"), 4, "unexpected ConnectionResetError"),
        (ZeroDivisionError("x"), 4, "FORKLAB_DEBUG=1"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_what_goes_wrong_is_a_line_and_a_code(
    lab: FakeLab, capsys: pytest.CaptureFixture[str], trouble: BaseException, code: int, words: str
) -> None:
    """Never a traceback; with --json the error is the one document."""
    lab.trouble = trouble
    assert invoke("status", "--json") == code
    written = capsys.readouterr()
    assert json.loads(written.out)["error"]["exit_code"] == code
    assert words in written.err
    assert "Traceback" not in written.err


@pytest.mark.parametrize(
    ("words", "keys"),
    [
        (("ps",), {"time", "server", "processes", "descriptors", "sockets", "source", "consistent"}),
        (("fds",), {"processes", "descriptors", "holders", "waiting", "consistent"}),
        (("fds", "--pid", "9"), {"processes", "descriptors", "holders", "waiting", "consistent"}),
        (("sockets",), {"sockets", "source", "waiting", "consistent"}),
    ],
)
def test_views_answer_a_person_and_a_script(
    lab: FakeLab,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    keys: set[str],
) -> None:
    """A table, or one document with the keys that scripts rely on; only ps reads the memory, which is dear."""
    monkeypatch.setenv("COLUMNS", "120")
    assert invoke(*words) == 0
    assert "172.18.0.4:50000" in capsys.readouterr().out
    assert invoke(*words, "--json") == 0
    assert set(json.loads(capsys.readouterr().out)) == keys
    assert all(("memory" in details) is (words == ("ps",)) for (details,) in lab.asked)


def test_a_failed_proof_fails_the_task(lab: FakeLab, capsys: pytest.CaptureFixture[str]) -> None:
    """The lab is up, but it does not do what its model promises: exit 1, with status and proof."""
    assert invoke("up", "--json", "--model", "iterative", "--port", "7000") == 1
    read = json.loads(capsys.readouterr().out)
    assert (read["address"], read["proof"]["verdict"]) == ("127.0.0.1:32768", "FAIL")
    assert (lab.asked[0][0].model, lab.asked[0][0].port) == ("iterative", "7000")


def test_demos_are_listed_in_teaching_order(capsys: pytest.CaptureFixture[str]) -> None:
    """Without an engine: each with its question, for a person and as JSON."""
    assert invoke("demos", "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["demo"] for row in rows] == list(lessons.DEMOS)
    assert all(row["question"].endswith("?") for row in rows)
    assert invoke("demos") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert all(f"{row['demo']} {row['question']}" in said for row in rows)


def test_the_demos_verdict_is_passed_on(lab: FakeLab, capsys: pytest.CaptureFixture[str]) -> None:
    """The exit code is the demo's; its document is the only thing on standard output."""
    assert invoke("demo", "zombie", "--json") == 3
    assert json.loads(capsys.readouterr().out) == {"verdict": "INCONCLUSIVE"}
    assert invoke("demo", "zombie") == 3
    assert capsys.readouterr().out == ""


def test_the_clients_exit_code_is_passed_on(lab: FakeLab, capsys: pytest.CaptureFixture[str]) -> None:
    """With --json what it received is in the document, whatever the bytes."""
    assert invoke("client", "--mode", "lock-step", "--raw", "--json") == 5
    assert json.loads(capsys.readouterr().out) == {"mode": "lock-step", "received": "hello\ufffd", "exit_code": 5}
    assert lab.asked == [("lock-step", True, True)]


def test_logs_are_passed_on_as_they_are(lab: FakeLab, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """Bytes in, bytes out."""
    assert invoke("logs", "--lines", "2") == 0
    assert capfdbinary.readouterr().out == b"one\ntwo\n"


def test_a_dry_run_says_would(lab: FakeLab, capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody shall think that something was removed."""
    assert invoke("clean", "--dry-run", "--project", "demo") == 0
    assert "Would be removed (1)" in capsys.readouterr().out
    assert lab.asked == [("demo", False, True)]


def test_save_hands_the_file_on(
    lab: FakeLab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The file is a word without an option."""
    saved = images.Saved(tmp_path / "x.tar", 5, {"forklab-server:latest": ("abc", 3)})
    monkeypatch.setattr(images, "save", lambda client, path, say: saved)
    assert invoke("save", str(tmp_path / "x.tar"), "--json") == 0
    assert json.loads(capsys.readouterr().out)["bytes"] == 5


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """A run of the bench in a file; it has missed goals."""
    file = tmp_path / "kept.json"
    file.write_text(json.dumps(run_of(events()).raw()))
    return file


def test_a_kept_run_is_shown_without_an_engine(
    kept: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Missed goals are findings: exit 0; with --json it is one document."""
    monkeypatch.setattr(engine, "connect", None)
    assert invoke("bench", "--from", str(kept)) == 0
    words = capsys.readouterr()
    assert words.out.index("Goals: ") < words.out.index("churn-1 ")
    assert "missed by" in words.out
    assert words.err == ""
    assert invoke("bench", "--from", str(kept), "--json") == 0
    read = json.loads(capsys.readouterr().out)
    assert (len(read["goals"]), read["complete"]) == (26, True)


def test_what_the_bench_wrote_is_told_beside_the_answer(
    kept: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Three files and their pictures, in a folder that was made."""
    out = tmp_path / "new" / "folder"
    assert invoke("bench", "--from", str(kept), "--out", str(out), "--json") == 0
    said = capsys.readouterr()
    json.loads(said.out)
    assert {file.name for file in out.iterdir()} == {"bench", "bench.html", "bench.json", "performance.md"}
    assert said.err.count(str(out)) == 3


@pytest.mark.parametrize(
    ("trouble", "code"), [("interrupted", 130), ("the bench broke after 9 samples; its last words:\n  x", 4)]
)
def test_a_run_that_ended_early_is_shown_and_not_written(
    lab: FakeLab,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    trouble: str,
    code: int,
) -> None:
    """As partial; a complete run of before is not overwritten by half a one."""
    run = run_of(list(events())[:40])
    run.trouble = trouble
    asked: list[Any] = []

    def conducted(*_: Any, **options: Any) -> Run:
        asked.append(options)
        return run

    monkeypatch.setattr(conduct, "conduct", conducted)
    assert invoke("bench", "--quick", "--only", "churn-8,fork", "--out", str(tmp_path)) == code
    said = capsys.readouterr()
    assert "PARTIAL" in said.out
    assert f"lab: {trouble}; nothing was written" in said.err
    assert [file.name for file in tmp_path.rglob("*") if file.is_file()] == []
    assert asked == [{"quick": True, "names": ["churn-8", "fork"]}]


def test_what_draws_is_not_imported_by_who_does_not_draw() -> None:
    """./lab begins as quickly as before there were pictures."""
    look = "import sys, tasks; print(sorted({'altair', 'jinja2', 'vl_convert'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", look], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr
