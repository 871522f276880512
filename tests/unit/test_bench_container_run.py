"""A run of the bench: who has a turn when, what it prints, and that it ends when nobody wants it any more."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bench.__main__ import BUDGET, load, measure, processor
from bench._entrants import entrants
from bench._plan import Turn, Unknown, plan, rotated
from bench._processes import session
from bench._sections import SECTIONS, Bench, Sample, file_system
from protocol import exits
from tests.deadline import PATIENCE, until

ROOT = Path(__file__).parents[2]
QUICK_SECONDS = 170
"""What a quick run may take; a container has to start as well, and all of it in three minutes."""


def test_each_round_begins_with_another_one() -> None:
    """All are there in each round, in the same circle."""
    assert [rotated("abc", round) for round in range(4)] == [list("abc"), list("bca"), list("cab"), list("abc")]


def test_in_each_round_every_entrant_has_one_turn() -> None:
    """And the entrants of a section follow each other, so that they can be compared pair by pair."""
    wanted = plan(SECTIONS, quick=True, only=["churn-8", "bulk-1"])
    for round in range(wanted.rounds):
        here = [turn for turn in wanted.turns if turn.round == round]
        assert [turn.section for turn in here] == ["churn-8"] * 5 + ["bulk-1"] * 3
        assert {turn.entrant for turn in here if turn.section == "churn-8"} == set(wanted.entrants["churn-8"])
    assert wanted.turns == sorted(wanted.turns, key=lambda turn: turn.round)


def test_the_first_round_is_a_warm_up_but_where_it_is_of_no_use() -> None:
    """Memory and the most that can be held do not depend on what was before."""
    turns = plan(SECTIONS, quick=True).turns
    cold = {turn.section for turn in turns if turn.round == 0 and not turn.warmup}
    assert cold == {"memory", "hold"}
    assert not [turn for turn in turns if turn.warmup and turn.round > 0]
    assert {turn.section for turn in turns if not turn.warmup} == set(SECTIONS)


def test_a_quick_run_is_short_and_part_of_a_full_one() -> None:
    """All sections, the goals' entrants; by the estimate, less than three minutes."""
    quick, full = plan(SECTIONS, quick=True), plan(SECTIONS, quick=False)
    assert set(quick.entrants) == set(full.entrants) == set(SECTIONS)
    assert all(set(quick.entrants[id]) <= set(full.entrants[id]) for id in SECTIONS)
    assert quick.seconds < QUICK_SECONDS
    assert quick.seconds < full.seconds < 18 * 60


def test_every_name_in_a_plan_is_an_entrant() -> None:
    """And every entrant is in a plan."""
    named = {entrant for section in SECTIONS.values() for entrant in section.entrants}
    assert named == set(entrants(Path("programs")))


def test_names_choose() -> None:
    """Sections, entrants or both; an entrant that is named takes part also where a quick run leaves it out."""
    assert plan(SECTIONS, quick=True, only=["split"]).entrants == {"split": ("fork-split", "lock-step")}
    both = plan(SECTIONS, quick=True, only=["churn-1", "ncat", "poll"])
    assert both.entrants == {"churn-1": ("poll", "ncat")}
    assert Turn("churn-1", "ncat", 0, warmup=True) in both.turns
    everywhere = plan(SECTIONS, quick=False, only=["uvloop"]).entrants
    assert {"churn-64", "bulk-1"} <= set(everywhere)
    assert set(everywhere.values()) == {("uvloop",)}


def test_a_wrong_name_is_refused() -> None:
    """With all there are."""
    with pytest.raises(Unknown, match=r"'curn-1' is no section \(churn-1, .*\) and no entrant \(asyncio, "):
        plan(SECTIONS, quick=True, only=["curn-1"])


def test_who_is_the_limit_is_told() -> None:
    """From nine tenths of a processor on it is the load generator; where it was not measured, nothing is said."""
    assert load(Sample(1.0)) is None
    assert load(Sample(1.0, cpu=0.5)) == {"cpu": 0.5, "limits": False}
    assert load(Sample(1.0, cpu=0.9)) == {"cpu": 0.9, "limits": True}


def test_the_processor_is_named_where_the_kernel_does() -> None:
    """On arm64 /proc/cpuinfo may have no name."""
    assert processor("processor\t: 0\nmodel name\t: Fast 3000\n").startswith("Fast 3000 (")
    assert processor("processor\t: 0\nCPU part\t: 0xd40\n")


def test_the_file_system_is_that_of_the_deepest_mount() -> None:
    """/proc is one of its own below the root."""
    assert file_system(Path("/proc/self")) == "proc"
    assert file_system(Path("/")) != "proc"


class Run:
    """A bench that runs as a process of its own: its events as they come."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        assert process.stdin is not None
        assert process.stdout is not None
        self.stdin, self.stdout = process.stdin, process.stdout

    def events(self) -> Iterator[dict[str, Any]]:
        """Each line, as JSON."""
        yield from map(json.loads, self.stdout)

    def await_samples(self, count: int) -> None:
        """Read on until so many samples were taken: the run is in the middle."""
        seen = 0
        for event in self.events():
            seen += event["event"] == "sample"
            if seen == count:
                return
        raise AssertionError(f"only {seen} samples")


@contextmanager
def bench(programs: Path, *words: str) -> Iterator[Run]:
    """A bench that runs while the block does."""
    command = [sys.executable, "-m", "bench", "--programs", str(programs), *words]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            yield Run(process)
        finally:
            process.kill()


def belongs(programs: Path) -> list[str]:
    """The processes that run one of the compiled programs."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if words[0].startswith(f"{programs}/"):
            found.append(words[0])
    return found


def test_a_run_from_beginning_to_end(programs: Path) -> None:
    """The machine, the plan, as many samples as it says, done; each a line of JSON, and nothing else."""
    with bench(programs, "--quick", "--only", "unp,c-epoll") as run:
        first, planned, *samples, last = run.events()
        assert run.process.wait(PATIENCE) == exits.OK
    assert (first["event"], planned["event"], last) == ("machine", "plan", {"event": "done"})
    assert first["versions"]["c-epoll"]
    assert planned["sections"] == {"unp": ["c-epoll"]}
    assert planned["headroom"]["connections_per_second"] > 0
    assert len(samples) == planned["samples"] == planned["rounds"] == 2
    assert [sample["warmup"] for sample in samples] == [True, False]
    assert all(sample["errors"] == {} and sample["unit"] == "s" for sample in samples)
    assert samples[1]["details"]["answered"] == 5000
    assert belongs(programs) == []


@pytest.mark.parametrize(
    ("leave", "code"),
    [
        (lambda run: run.process.terminate(), exits.SIGNAL_BASE + signal.SIGTERM),
        (lambda run: run.process.send_signal(signal.SIGINT), exits.SIGNAL_BASE + signal.SIGINT),
        (lambda run: run.stdin.close(), exits.SIGNAL_BASE + signal.SIGTERM),
        (lambda run: run.stdout.close(), exits.SIGNAL_BASE + signal.SIGTERM),
    ],
    ids=["SIGTERM", "SIGINT", "stdin", "stdout"],
)
def test_a_run_ends_when_nobody_wants_it(programs: Path, leave: Callable[[Run], None], code: int) -> None:
    """By a signal, or because who started it has gone: no process stays, and no traceback is shown."""
    with bench(programs, "--only", "churn-64,c-prefork") as run:
        run.await_samples(1)
        until(lambda: belongs(programs), "an entrant runs")
        leave(run)
        assert run.process.wait(PATIENCE) == code
        assert run.process.stderr is not None
        assert len(run.process.stderr.read().splitlines()) == 1
    until(lambda: not belongs(programs), "all processes have ended")


def test_a_child_that_is_not_known_yet_is_ended_with_its_session() -> None:
    """As when the signal comes between fork and the next line: nobody has noted the PID."""
    start = "subprocess.Popen(['sh', '-c', 'sleep 600 & sleep 600'], start_new_session=True)"
    wait = "until(lambda: len(_processes.session(process.pid)) == 2, 20)"
    words = f"process = {start}; {wait}; _processes.end_children(); print(process.pid, process.wait())"
    program = f"import subprocess; from bench import _processes; from bench._processes import until; {words}"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60)
    pid, status = map(int, done.stdout.split())
    assert status == -signal.SIGKILL
    until(lambda: not session(pid), "its session has ended with it")


def test_a_run_leaves_out_rounds_when_it_is_late(
    programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not the first that counts; and it says which."""
    monkeypatch.setitem(BUDGET, True, 0.0)
    measure(
        Bench(programs, tmp_path, quick=True, first_port=13000),
        plan(SECTIONS, quick=True, only=["bulk-1", "c-epoll"]),
    )
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(event["event"], event["round"]) for event in events] == [
        ("sample", 0),
        ("sample", 1),
        ("skip", 2),
        ("skip", 3),
    ]
    assert events[-1]["reason"] == "no time is left for this round"


def test_whoever_gets_stuck_is_measured_once(
    programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The errors are told; further rounds would cost ten seconds each, and are left out, with the reason."""
    monkeypatch.setattr(Bench, "take", lambda *_: Sample(0.0, errors={"timeout": 4}))
    measure(Bench(programs, tmp_path, quick=True), plan(SECTIONS, quick=True, only=["unp", "ncat"]))
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert (first["event"], first["errors"]) == ("sample", {"timeout": 4})
    assert (second["event"], second["round"]) == ("skip", 1)
    assert "timed out" in second["reason"]


def test_wrong_words_are_refused_in_one_line(tmp_path: Path) -> None:
    """And nothing is run."""
    with bench(tmp_path, "--only", "nobody") as run:
        said, trouble = run.process.communicate(timeout=PATIENCE)
    assert run.process.returncode == exits.USAGE
    assert said == ""
    assert len(trouble.splitlines()) == 1
