"""The live view: what it makes of two looks, what it remembers, how it fits a terminal, and its keys."""

import errno
import io
import json
import os
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from forklab.errors import LabError
from forklab.watch import changes, history, loop
from forklab.watch.history import History
from forklab.watch.keys import END, keys
from forklab.watch.keys_windows import WindowsKeys
from forklab.watch.loop import Watch
from forklab.watch.screen import draw
from forklab.watch.stream import Stream
from tests.deadline import until
from tests.unit.test_observe import answer, process, row
from tests.unit.test_views import CLIENT, LISTENER, look

posix = pytest.mark.skipif(os.name == "nt", reason="a POSIX terminal")

PARENT = process(7, 1)
SERVED = row(12, CLIENT, holders=(9,))


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (([PARENT], []), ([PARENT, process(9, 7)], []), ["9 forked, child of 7"]),
        (
            ([PARENT, process(9, 7)], []),
            ([PARENT, process(9, 7, "Z")], []),
            ["9 ended: a ZOMBIE until 7 waits for it"],
        ),
        (
            ([PARENT], []),
            ([PARENT, process(9, 7, "Z")], []),
            ["9 forked, child of 7", "9 ended: a ZOMBIE until 7 waits for it"],
        ),
        (([PARENT, process(9, 7, "Z")], []), ([PARENT], []), ["9 was reaped"]),
        (([PARENT, process(9, 7)], []), ([PARENT], []), ["9 ended and was reaped"]),
        (
            ([PARENT, process(9, 7, start=2.0)], []),
            ([PARENT, process(9, 7, start=3.0)], []),
            ["9 forked, child of 7", "9 ended and was reaped"],
        ),
        (([PARENT], []), ([process(7, 1, "T")], []), ["7 stopped"]),
        (([process(7, 1, "T")], []), ([PARENT], []), ["7 goes on"]),
        (([process(9, 7)], []), ([process(9, 1)], []), ["9 has lost its parent 7; now 1 is"]),
        (([PARENT], []), ([PARENT], [row(0, CLIENT)]), [f"{CLIENT} connected, waits to be accepted"]),
        (([PARENT], []), ([PARENT], [row(12, CLIENT, holders=(7,))]), [f"{CLIENT} connected, accepted: in 7"]),
        (([PARENT], [row(0, CLIENT)]), ([PARENT], [row(12, CLIENT, holders=(7,))]), [f"{CLIENT} accepted: in 7"]),
        (
            ([PARENT, process(9, 7)], [row(12, CLIENT, holders=(7,))]),
            ([PARENT, process(9, 7)], [SERVED]),
            [f"7 closed its copy of {CLIENT}", f"9 holds {CLIENT} too"],
        ),
        (
            ([PARENT], [row(12, CLIENT, holders=(7,))]),
            ([PARENT], [row(12, CLIENT, "CLOSE_WAIT", holders=(7,))]),
            [f"{CLIENT} the client has closed (CLOSE_WAIT)"],
        ),
        (([PARENT], [row(0, CLIENT, "TIME_WAIT")]), ([PARENT], []), [f"{CLIENT} is gone"]),
        (([PARENT], [LISTENER]), ([PARENT], [LISTENER]), []),
    ],
)
def test_what_happened_between_two_looks(before: Any, after: Any, words: list[str]) -> None:
    """Each thing is told once, in words; a PID that is used again is another process."""
    assert [change.words for change in changes.changes(look(*before), look(*after))] == words


def line(time: float, processes: list[dict[str, Any]], sockets: list[dict[str, Any]]) -> str:
    """What the probe says at that time."""
    return json.dumps(json.loads(answer(processes, sockets)) | {"time": time})


def test_history_remembers_minutes_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks keep their numbers while older ones are forgotten, by time and by size."""
    kept = History()
    for second in range(5):
        kept.add(line(second * history.MINUTES * 15.0, [PARENT], []))
    assert (kept.first, kept.last) == (0, 4)
    kept.add(line(5 * history.MINUTES * 15.0, [PARENT], []))
    assert (kept.first, kept.last, len(kept)) == (1, 5, 5)
    assert kept.moment(1).snapshot().time == history.MINUTES * 15.0
    monkeypatch.setattr(history, "MOST_BYTES", 1)
    kept.add(line(5.5 * history.MINUTES * 15.0, [PARENT], []))
    assert (kept.first, kept.last, len(kept)) == (6, 6, 1)


def test_saved_looks_are_json_lines(tmp_path: Path) -> None:
    """Each is what the probe said, and what had changed; a file that exists is not overwritten."""
    kept = History()
    kept.add(line(1.0, [PARENT], []))
    kept.add(line(2.0, [PARENT, process(9, 7)], [SERVED]))
    assert kept.save(tmp_path / "a.jsonl") == 2
    first, second = map(json.loads, (tmp_path / "a.jsonl").read_text().splitlines())
    assert (first["time"], first["changes"]) == (1.0, [])
    assert second["changes"][0] == {"kind": "forked", "words": "9 forked, child of 7"}
    assert second["sockets"][0]["holders"] == [9]
    with pytest.raises(FileExistsError):
        kept.save(tmp_path / "a.jsonl")


def crowd(count: int) -> str:
    """A server with that many children, each with a client; every tenth is a zombie."""
    children = [process(10 + n, 7, "Z" if n % 10 == 0 else "S", start=2.0 + n) for n in range(count)]
    return line(
        9.0, [PARENT, *children], [LISTENER, *(row(100 + n, f"10.0.0.1:{n}", holders=(10 + n,)) for n in range(count))]
    )


@pytest.mark.parametrize("size", [(40, 12), (80, 24), (200, 60), (300, 80), (20, 5)])
@pytest.mark.parametrize("count", [0, 3, 1000])
def test_every_screen_is_filled_and_not_overfilled(size: tuple[int, int], count: int) -> None:
    """As many lines as the terminal has, none wider; what is cut is counted; all in ASCII."""
    width, height = size
    watch = Watch(Path())
    watch.add([line(1.0, [PARENT], []), crowd(count)])
    words = draw(watch.view(height), width, height).plain
    drawn = words.split("\n")
    assert len(drawn) == height
    assert max(map(len, drawn)) <= width
    assert words.isascii()
    if count == 1000 and size == (80, 24):
        assert "zombies 100" in drawn[0]
        assert sum("and 9" in each and "more" in each for each in drawn) >= 1
        assert any(each.startswith("ZOMBIES 100: 10 20 30 40 50 and 95 more; 7 has not waited") for each in drawn)
        assert "backlog 2 of 128" in words
        assert "10.0.0.1:0 ESTABLISHED in 10" in words


def test_colours_only_underline_the_words() -> None:
    """A zombie is in capitals and red; without colour nothing is lost."""
    watch = Watch(Path())
    watch.add([crowd(1)])
    out = io.StringIO()
    Console(file=out, width=80, height=24, force_terminal=True, color_system="standard").print(
        draw(watch.view(24), 80, 24)
    )
    assert "\x1b[1;31mZOMBIE" in out.getvalue()


def test_keys_pause_and_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Space pauses and goes on; left and h go back, right and l forth, neither beyond the ends; looks still come in."""
    watch = Watch(tmp_path)
    watch.add([line(float(second), [PARENT], []) for second in range(4)])

    def shown() -> float:
        return watch.view(24).seen.time

    def press(*names: str) -> float:
        for name in names:
            watch.press(name)
        return shown()

    assert watch.view(24).mode == "live"
    assert press("right") == 3.0, "live, there is nothing to the right"
    assert press(" ") == 3.0
    watch.add([line(4.0, [PARENT], [])])
    assert shown() == 3.0, "paused"
    assert watch.view(24).mode == "PAUSED -1.0 s"
    assert press("left", "h") == 1.0
    assert press("h", "h", "h") == 0.0
    assert press("l", "right") == 2.0
    assert press(*["l"] * 9) == 4.0
    assert press(" ") == 4.0
    assert watch.view(24).mode == "live"
    assert press("left") == 3.0, "left pauses"
    monkeypatch.setattr(history, "MINUTES", 0)
    watch.add([line(5.0, [PARENT], [])])
    assert shown() == 5.0, "what was shown is forgotten: the oldest that is left is shown"


def test_save_says_where(tmp_path: Path) -> None:
    """And what went wrong; nothing raises on the screen."""
    watch = Watch(tmp_path)
    watch.add([line(1.0, [PARENT], [])])
    watch.press("s")
    (file,) = tmp_path.iterdir()
    assert watch.view(24).message == f"saved 1 looks: {file.name} in {tmp_path}"
    watch.folder = tmp_path / "none"
    watch.press("s")
    assert watch.view(24).message.startswith(f"cannot save: {os.strerror(errno.ENOENT)}: {tmp_path}")


class Typist:
    """Keys that a test presses."""

    def __init__(self, *typed: str) -> None:
        self.typed: Iterator[str] = iter(typed)

    def __enter__(self) -> "Typist":
        return self

    def __exit__(self, *_: object) -> None: ...

    def wait(self, seconds: float) -> str | None:
        """The next one; then the terminal has gone."""
        return next(self.typed, END)


def says(
    *lines: str,
    then: str = "import sys; sys.stdin.read()",
    alive: Callable[[], bool] = lambda: True,
    silence: float = 60,
) -> Stream:
    """A stream of these lines; ``then`` is what follows, ``alive`` is asked when it is silent."""
    script = f"print({chr(10).join(lines)!r}, flush=True) if {bool(lines)} else None\n{then}"
    pipe = subprocess.PIPE
    return Stream(
        subprocess.Popen([sys.executable, "-c", script], stdin=pipe, stdout=pipe, stderr=pipe), alive, silence
    )


def test_it_runs_until_q(tmp_path: Path) -> None:
    """The alternate screen is entered and left again, and the program behind the stream ends."""
    out = io.StringIO()
    console = Console(file=out, width=80, height=24, force_terminal=True)
    with says(crowd(3)) as stream:
        loop.run(stream, Typist("s", "q"), console, tmp_path)
    assert stream._process.returncode == 0
    drawn = out.getvalue()
    assert drawn.index("\x1b[?1049h") < drawn.index("PROCESSES") < drawn.index("\x1b[?1049l")
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("lines", [(), (crowd(3),)])
def test_a_probe_that_ends_is_an_error(tmp_path: Path, lines: tuple[str, ...]) -> None:
    """At once when it said nothing; else the looks stay to be seen until q. Its last words are told."""
    console = Console(file=io.StringIO(), width=80, height=24, force_terminal=True)
    with says(*lines, then="import sys; sys.exit('no such thing')") as stream:
        until(lambda: stream._process.poll() is not None, "it has ended")
        with pytest.raises(LabError, match=r"the probe ended: no such thing; \./lab up"):
            loop.run(stream, Typist(*["x"] * 20, "q"), console, tmp_path)


@pytest.mark.parametrize("alive", [True, False])
def test_a_silent_stream_is_doubted(alive: bool) -> None:
    """It is over when its container is, though the engine never said so; a slow one is waited for."""
    spoken: list[str] = []
    asked: list[bool] = []

    def answer() -> bool:
        asked.append(bool(spoken))
        return alive or not spoken  # on a busy machine it may be silent for longer before its first word, too

    with says(crowd(3), alive=answer, silence=0.1) as stream:
        spoken += until(lambda: stream.lines(), "it speaks")
        until(lambda: stream.lines() == [] and True in asked, "it was doubted")
        assert stream.ended is not alive


@posix
def test_keys_of_a_posix_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Characters, arrows in both modes and in pieces; other sequences are nothing; the terminal is as before.

    Also when it goes away: then there is nothing to put back.
    """
    import pty
    import termios

    ours, theirs = pty.openpty()
    with os.fdopen(theirs) as terminal:
        monkeypatch.setattr(sys, "stdin", terminal)
        before = termios.tcgetattr(theirs)
        with keys() as pressed:
            assert termios.tcgetattr(theirs) != before
            assert pressed.wait(0) is None
            os.write(ours, b"q \x1b[D\x1bOCh\x1b[15~")
            assert [pressed.wait(5) for _ in range(6)] == ["q", " ", "left", "right", "h", None]
            os.write(ours, b"\x1b")
            os.write(ours, b"[C")
            assert pressed.wait(5) == "right"
            os.write(ours, "é".encode())
            assert [pressed.wait(5), pressed.wait(5)] == [None, None]
        assert termios.tcgetattr(theirs) == before
        with keys() as pressed:
            os.close(ours)
            assert pressed.wait(5) == END


def test_keys_of_a_windows_console(monkeypatch: pytest.MonkeyPatch) -> None:
    """An arrow is a prefix and a letter; Ctrl-C is a KeyboardInterrupt; no key in time is None."""
    typed = list("q\xe0K\x00M\xe0x\x03")
    fake: Any = types.ModuleType("msvcrt")
    fake.kbhit = lambda: bool(typed)
    fake.getwch = lambda: typed.pop(0)
    monkeypatch.setitem(sys.modules, "msvcrt", fake)
    with WindowsKeys() as pressed:
        assert [pressed.wait(1) for _ in range(4)] == ["q", "left", "right", None]
        with pytest.raises(KeyboardInterrupt):
            pressed.wait(1)
        assert pressed.wait(0) is None


def test_a_view_is_drawn_again_only_when_it_changes(tmp_path: Path) -> None:
    """A terminal over ssh is not sent the same screen ten times a second."""
    out = io.StringIO()
    console = Console(file=out, width=80, height=24, force_terminal=True)
    with says(crowd(3)) as stream:
        loop.run(stream, Typist(*["x"] * 5, "q"), console, tmp_path)
    assert out.getvalue().count("PROCESSES") == 1
