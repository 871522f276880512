"""Each demo runs to its verdict and leaves nothing behind; a demo whose right variant is broken says FAIL."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from forklab.registry import DEMOS
from protocol import exits, lessons, verdicts
from tests.deadline import PATIENCE, until

ROOT = Path(__file__).parents[2]

TAUGHT = [
    *("fork-memory", "process-states", "zombie", "wait", "waitpid", "signal-alarm", "sigaction"),
    *("reap-sigchld", "reap-burst", "pid1", "fd-copies", "listener-leak", "half-close", "lockstep-deadlock"),
    *("pipe-oneway", "pipe-twoway", "select-wall", "multiplexing", "thread-race"),
]


class Runner:
    """Starts demos, marked so that whatever one leaves behind is found."""

    def __init__(self) -> None:
        self._mark = f"FORKLAB_MARK={uuid.uuid4().hex}"

    def start(self, *words: str, folder: Path = ROOT) -> "subprocess.Popen[str]":
        """Start ``python3 -m demos WORDS``."""
        name, _, value = self._mark.partition("=")
        command = [sys.executable, "-m", "demos", *words]
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        # A demo has fifteen seconds, and to measure the coverage of each of a hundred children takes longer.
        variables = {key: word for key, word in os.environ.items() if not key.startswith("COVERAGE_")}
        return subprocess.Popen(command, cwd=folder, env={**variables, name: value}, **pipes)

    def run(self, *words: str, folder: Path = ROOT) -> tuple[int, str, str]:
        """Run to the end; exit code, standard output, standard error."""
        with self.start(*words, folder=folder) as process:
            out, err = process.communicate(timeout=PATIENCE)
        return process.returncode, out, err

    def left(self) -> list[str]:
        """The processes of its demos that still run."""
        return [folder.name for folder in Path("/proc").glob("[0-9]*") if self._mark.encode() in environment(folder)]


def environment(folder: Path) -> bytes:
    """A process's environment; empty when it is gone, a zombie, or not ours."""
    try:
        return (folder / "environ").read_bytes()
    except OSError:
        return b""


@pytest.fixture
def runner() -> Iterator[Runner]:
    """Runs demos; after the test none of their processes may be left."""
    made = Runner()
    yield made
    until(lambda: not made.left(), "all processes of the demo are gone", patience=2)


def test_the_order_names_each_demo_once() -> None:
    """The teaching order has exactly the demos that there are, and so has this file."""
    assert sorted(lessons.DEMOS) == sorted(TAUGHT) == DEMOS.ids()


@pytest.mark.parametrize("demo", TAUGHT)
def test_a_demo_begins_with_question_theory_and_source(demo: str) -> None:
    """Its docstring has the three paragraphs; the source names a man page by its section."""
    doc = DEMOS.docstring(demo)
    assert lessons.part(doc, lessons.QUESTION).endswith("?")
    assert lessons.part(doc, lessons.THEORY).endswith(".")
    assert re.search(r"\w\(\d\)", lessons.part(doc, lessons.SOURCE))


@pytest.mark.parametrize("demo", TAUGHT)
def test_a_demo_is_read_whole(demo: str) -> None:
    """It is a program of 40 to 110 lines."""
    file = ROOT / "demos" / f"{demo.replace('-', '_')}.py"
    assert 40 <= len(file.read_text().splitlines()) <= 110


@pytest.mark.parametrize("demo", TAUGHT)
def test_a_demo_passes(runner: Runner, demo: str) -> None:
    """It shows evidence, and its last line is the verdict PASS."""
    code, out, err = runner.run(demo)
    lines = out.splitlines()
    assert (code, err) == (exits.OK, ""), out
    assert re.fullmatch(r"verdict: PASS - .+", lines[-1])
    assert any(line.startswith("  ") for line in lines[lines.index("measured:") :])


@pytest.mark.parametrize("demo", TAUGHT)
def test_json_is_one_document(runner: Runner, demo: str) -> None:
    """With --json there is one document and nothing else; it has the words of the docstring and what was measured."""
    code, out, err = runner.run(demo, "--json")
    found = json.loads(out)
    assert (code, err) == (exits.OK, "")
    assert {*found} == {"demo", "verdict", "words", "question", "theory", "measured", "evidence"}
    assert (found["demo"], found["verdict"]) == (demo, verdicts.PASS)
    assert found["question"] == lessons.part(DEMOS.docstring(demo), lessons.QUESTION)
    assert found["measured"]
    assert found["evidence"]


BROKEN = {
    "fork-memory": ("mmap.MAP_SHARED", "mmap.MAP_PRIVATE", "both see a write"),
    "process-states": ('"Z": start(lambda: None)', '"Z": start(spin)', "state Z"),
    "zombie": ("    os.waitpid(pids[-1], 0)\n", "", "who was waited for is gone"),
    "wait": ("os.WEXITSTATUS(status))\n", "status)\n", "exit code"),
    "waitpid": ("chosen, _ = os.waitpid(other, 0)", "chosen, _ = os.waitpid(-1, 0)", "passes over"),
    "signal-alarm": ("libc.sleep(SLEEP)", "time.sleep(0.2) or 0", "ends sleep"),
    "sigaction": ("signal.siginterrupt(USR1, not restart)", "pass", "SA_RESTART"),
    "reap-sigchld": ("        while True:\n            try:", "        for _ in ():\n            try:", "handler"),
    "reap-burst": ("while os.waitpid(-1, os.WNOHANG) != (0, 0):\n            pass", "os.waitpid(-1, 0)", "in a loop"),
    "fd-copies": ("        connection.close()  # the child has its own copy", "        pass", "FIN"),
    "listener-leak": ("            if closes:\n                listener.close()", "", "port is free"),
    "half-close": ("client.shutdown(socket.SHUT_WR)", "client.shutdown(socket.SHUT_RDWR)", "answer comes back"),
    "lockstep-deadlock": ("UNIT = 4096", "UNIT = ALL", "both come to their end"),
    "pipe-oneway": ("        if closes:\n            os.close(writer)", "", "end of file"),
    "pipe-twoway": ("got_two = two_pipes(show)", "got_two = one_pipe(show)", "child's answer"),
    "select-wall": ('("poll", by_poll)', '("poll", by_select)', "poll sees"),
    "multiplexing": ("        serve(list(", "        one_after_the_other(list(", "client that spoke is answered"),
    "thread-race": ("with self._lock:", "if True:", "with a lock no addition is lost"),
}
"""A line of the right variant, what a mistaken program has instead, and what the verdict must name."""


def copy_with(folder: Path, demo: str, right: str, mistaken: str) -> None:
    """Put the demos into ``folder``, one of them changed."""
    for room in ("demos", "protocol"):
        shutil.copytree(ROOT / room, folder / room, ignore=shutil.ignore_patterns("__pycache__"))
    file = folder / "demos" / f"{demo.replace('-', '_')}.py"
    text = file.read_text()
    assert right in text
    file.write_text(text.replace(right, mistaken))


@pytest.mark.parametrize("demo", BROKEN)
def test_a_broken_demo_fails(runner: Runner, demo: str, tmp_path: Path) -> None:
    """With the mistaken variant in place of the right one the verdict is FAIL, names the reason, and nothing stays."""
    right, mistaken, reason = BROKEN[demo]
    copy_with(tmp_path, demo, right, mistaken)
    code, out, _ = runner.run(demo, folder=tmp_path)
    last = out.splitlines()[-1]
    assert (code, last[:14]) == (exits.FAILED, "verdict: FAIL "), out
    assert re.search(reason, last)


def test_a_demo_without_end_is_ended(runner: Runner, tmp_path: Path) -> None:
    """Its time is up after 15 seconds: INCONCLUSIVE, and nothing of it stays. What it showed until then is told."""
    copy_with(tmp_path, "pipe-twoway", "    os.write(question_in, WORD)\n", "")
    code, out, err = runner.run("pipe-twoway", "--json", folder=tmp_path)
    found = json.loads(out)
    assert (code, err, found["verdict"]) == (exits.INCONCLUSIVE, "", verdicts.INCONCLUSIVE)
    assert "no end within 15 seconds" in found["words"]
    assert found["evidence"]


def test_a_fault_of_the_demo_itself_is_an_error(runner: Runner, tmp_path: Path) -> None:
    """It is told in one line, without a traceback, and is no FAIL."""
    copy_with(tmp_path, "wait", "    parent = os.getpid()", "    raise OSError(11, 'no process left')")
    code, out, err = runner.run("wait", folder=tmp_path)
    assert (code, err) == (exits.LAB_FAILED, "")
    assert out.splitlines()[-1] == "verdict: ERROR - unexpected BlockingIOError: [Errno 11] no process left"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_leaves_nothing(runner: Runner, number: signal.Signals) -> None:
    """Ctrl-C in the middle: the exit code names the signal, there is no traceback, and every process is gone."""
    with runner.start("signal-alarm") as process:
        assert process.stdout
        assert process.stdout.readline()
        until(lambda: len(runner.left()) > 1, "the demo has begun")
        process.send_signal(number)
        _, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (exits.SIGNAL_BASE + number, "")


def test_the_list_is_in_teaching_order(runner: Runner) -> None:
    """Without a word each demo is listed with its question; --json has the same."""
    code, out, _ = runner.run()
    assert (code, [line.split()[0] for line in out.splitlines()]) == (exits.OK, TAUGHT)
    code, out, _ = runner.run("--json")
    assert (code, [row["demo"] for row in json.loads(out)]) == (exits.OK, TAUGHT)


def test_an_unknown_demo_is_refused(runner: Runner) -> None:
    """In one line that says what there is."""
    code, out, err = runner.run("zombies")
    assert (code, out, err.count("\n")) == (exits.USAGE, "", 1)
    assert 'no demo "zombies"' in err
    assert "zombie, wait" in err
