"""The container of the bench: every line is read, and it is gone afterwards, however the run ended."""

import io
import json
from collections.abc import Iterator
from typing import Any, cast

import pytest
from docker import DockerClient
from docker.errors import APIError, NotFound
from rich.console import Console

from forklab import oneshot
from forklab.bench import container
from forklab.bench.conduct import conduct
from forklab.bench.run import Run
from forklab.errors import LabError, UsageError
from forklab.lab import Lab
from tests.unit.benching import events

Pieces = list[tuple[bytes | None, bytes | None]]
SMALL = {"churn-8": {"fork": 100.0, "c-fork": 200.0}}


class FakeEngine:
    """An engine whose one container says ``pieces`` and then, perhaps, has an accident."""

    short_id, id = "abc", "abcdef"

    def __init__(self, pieces: Pieces, accident: BaseException | None = None) -> None:
        self.containers = self.api = self.client = self
        self.pieces, self.accident = pieces, accident
        self.options: dict[str, Any] = {}
        self.deeds: list[str] = []
        self.on_remove: Exception | None = None

    def version(self) -> dict[str, str]:
        """Of the engine."""
        return {"Version": "29.0"}

    def build(self, names: Any) -> list[str]:
        """Of the lab: nothing to do."""
        self.deeds.append("build")
        return []

    def create(self, image: str, words: list[str], **options: Any) -> "FakeEngine":
        """Keep how it was made."""
        self.options = {"image": image, "words": words} | options
        return self

    def attach(self, **_: Any) -> Iterator[tuple[bytes | None, bytes | None]]:
        """What it says."""
        self.deeds.append("attach")
        return iter(self.pieces)

    def attach_socket(self, container: str, params: dict[str, int]) -> "FakeEngine":
        """Its standard input."""
        assert params["stdin"]
        self.deeds.append("hold")
        return self

    def start(self) -> None:
        """Run."""
        self.deeds.append("start")
        if self.accident:
            raise self.accident

    def close(self) -> None:
        """Let go of its standard input."""

    def remove(self, *, force: bool, v: bool) -> None:
        """With its volume."""
        assert force
        assert v
        self.deeds.append("remove")
        if self.on_remove:
            raise self.on_remove

    def wait(self, condition: str) -> None:
        """It went by itself."""
        raise NotFound("gone")


def lines(said: list[dict[str, Any]]) -> bytes:
    """As the container prints them."""
    return b"".join(json.dumps(event).encode() + b"\n" for event in said)


def whole(pieces: int = 7) -> Pieces:
    """A small run, in pieces that end anywhere."""
    content = lines(list(events(SMALL)))
    return [(content[start : start + pieces], None) for start in range(0, len(content), pieces)]


def measured(engine: FakeEngine) -> Run:
    """What is read of it."""
    run = Run("c", "s", "e")
    for _ in container.measure(cast(DockerClient, engine), ["--quick"], run):
        pass
    return run


def test_lines_are_whole_wherever_the_pieces_end() -> None:
    """Attached before the start, so that no line is missed; removed in the end."""
    engine = FakeEngine(whole())
    run = measured(engine)
    assert (len(run.samples), run.done, run.machine["cpus"]) == (8, True, 2)
    assert engine.deeds == ["attach", "hold", "start", "remove"]


def test_it_may_do_nothing_but_measure() -> None:
    """No network but loopback, no right, no place to write but its volume and /tmp; it ends with who started it."""
    engine = FakeEngine(whole())
    measured(engine)
    made = engine.options
    assert (made["image"], made["words"], made["network_mode"]) == ("forklab-bench", ["--quick"], "none")
    assert (made["cap_drop"], made["read_only"], made["security_opt"]) == (["ALL"], True, ["no-new-privileges:true"])
    assert (made["labels"], made["auto_remove"], made["stdin_open"]) == ({"forklab": "container"}, True, True)
    assert made["pids_limit"] >= 15_000
    assert [mount["Target"] for mount in made["mounts"]] == ["/data"]


@pytest.mark.parametrize("accident", [KeyboardInterrupt(), APIError("no such image"), LabError("x")])
def test_it_is_removed_whatever_happens(accident: BaseException) -> None:
    """Also when it never ran."""
    engine = FakeEngine([], accident)
    with pytest.raises((KeyboardInterrupt, LabError)):
        measured(engine)
    assert engine.deeds[-1] == "remove"


@pytest.mark.parametrize("gone", [NotFound("none"), APIError("x", explanation="removal is already in progress")])
def test_it_may_be_gone_already(gone: Exception) -> None:
    """The engine removes it as soon as it ends; that is no error."""
    engine = FakeEngine(whole())
    engine.on_remove = gone
    assert measured(engine).done


def test_a_missing_done_is_an_error_with_the_last_words() -> None:
    """Those of standard error; the samples stay."""
    run = Run("c", "s", "e")
    engine = FakeEngine([(lines(list(events(SMALL))[:5]), None), (None, b"MemoryError: no\n")])
    with pytest.raises(LabError, match=r"broke after 3 samples.*\n  MemoryError: no"):
        list(container.measure(cast(DockerClient, engine), [], run))
    assert len(run.samples) == 3


def test_a_foreign_line_ends_it() -> None:
    """And the container with it."""
    engine = FakeEngine([(b"hello\n", None)])
    with pytest.raises(LabError, match="'hello'"):
        measured(engine)
    assert engine.deeds[-1] == "remove"


def conducted(engine: FakeEngine, only: list[str] | None = None, *, terminal: bool = False) -> tuple[Run, str]:
    """A run from beginning to end, and its progress."""
    out = io.StringIO()
    console = Console(file=out, width=120, force_terminal=terminal)
    return conduct(cast(Lab, engine), console, quick=True, names=only or []), out.getvalue()


def test_a_run_knows_how_it_was_made() -> None:
    """Command, engine and time are in it; the image was made first."""
    engine = FakeEngine(whole())
    run, _ = conducted(engine, ["churn-8", "fork"])
    assert engine.deeds[0] == "build"
    assert engine.options["words"] == ["--quick", "--only", "churn-8,fork"]
    assert (run.command, run.engine, run.trouble) == (
        "./lab bench --quick --only churn-8,fork",
        "Docker Engine 29.0",
        "",
    )
    assert run.started.endswith(" UTC")


def test_progress_tells_round_section_and_last_value() -> None:
    """A line for each section of a round where there is no terminal; a bar with the last figure where there is one."""
    _, told = conducted(FakeEngine(whole()))
    assert told.splitlines() == [
        f"bench: round {number} of 4{' (warm-up)' * (number == 1)}, churn-8: {2 * number - 1} of 8 samples"
        for number in range(1, 5)
    ]
    _, told = conducted(FakeEngine(whole()), terminal=True)
    assert "8/8" in told
    assert "churn-8 c-fork" in told


def test_what_was_measured_before_it_broke_is_kept() -> None:
    """With the trouble; without any sample there is only the trouble."""
    run, _ = conducted(FakeEngine([(lines(list(events(SMALL))[:5]), None)]))
    assert (len(run.samples), run.exit_code) == (3, 4)
    assert "broke after 3 samples" in run.trouble
    with pytest.raises(LabError, match="broke after 0 samples"):
        conducted(FakeEngine([(lines(list(events(SMALL))[:2]), b"")]))


def test_ctrl_c_keeps_what_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """The run ends as interrupted, the container is removed."""
    engine = FakeEngine(whole())
    taken: list[object] = []

    def interrupt(run: Run, line: str) -> Any:
        taken.append(line)
        if len(taken) == 6:
            raise KeyboardInterrupt
        return take(run, line)

    take = Run.take
    monkeypatch.setattr(Run, "take", interrupt)
    run, _ = conducted(engine)
    assert (run.trouble, run.exit_code, len(run.samples)) == ("interrupted", 130, 3)
    assert engine.deeds[-1] == "remove"


def test_words_that_leave_nothing_to_measure_are_wrong_words() -> None:
    """Each is known, but together they mean nothing."""
    engine = FakeEngine([(lines(list(events({}))), None)])
    with pytest.raises(UsageError, match="lock-step"):
        conducted(engine, ["churn-8", "lock-step"])


def test_a_bench_that_says_nothing_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is ended after a while."""
    monkeypatch.setattr(container, "_SILENCE", 0.01)
    monkeypatch.setattr(oneshot, "_read", lambda said, pieces: None)
    engine = FakeEngine([])
    with pytest.raises(LabError, match="hangs"):
        measured(engine)
    assert engine.deeds[-1] == "remove"
