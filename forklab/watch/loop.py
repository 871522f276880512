"""Joins stream, history, screen and keys: live until somebody pauses, then look by look through the last minutes."""

import contextlib
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.live import Live

from forklab.errors import LabError
from forklab.watch.history import History
from forklab.watch.keys import END, LEFT, RIGHT, Keys
from forklab.watch.screen import View, draw, events_shown
from forklab.watch.stream import Stream

POLL_SECONDS = 0.1
"""The longest that a new look, or a new size of the window, waits to be drawn."""

BACK, FORTH = (LEFT, "h"), (RIGHT, "l")
PAUSE, SAVE, QUIT = " ", "s", ("q", "Q", END)
MESSAGE_SECONDS = 5.0


class Watch:
    """What the keys change: which look is shown, and what is said of a save."""

    def __init__(self, folder: Path) -> None:
        self.history = History()
        self.folder = folder
        self.shown: int | None = None
        """The number of the look that is shown; None follows the newest."""
        self.over = ""
        """That no more looks come, and what can still be done."""
        self.clock = 0.0
        self._message, self._until = "", 0.0

    def add(self, lines: list[str]) -> None:
        """Keep what the probe said.

        Raises:
            LabError: it is no snapshot.
        """
        for line in lines:
            self.history.add(line)
            if not self.clock:
                self.clock = time.time() - self.history.moment(self.history.last).time
        if self.shown is not None:
            self.shown = max(self.shown, self.history.first)

    def press(self, key: str) -> None:
        """Do what a key asks for, but for quitting."""
        last = self.history.last
        if key == PAUSE:
            self.shown = last if self.shown is None else None
        elif key in BACK:
            self.shown = max(self.history.first, (last if self.shown is None else self.shown) - 1)
        elif key in FORTH and self.shown is not None:
            self.shown = min(last, self.shown + 1)
        elif key == SAVE:
            self._say(self._save())

    def state(self) -> object:
        """Something that is equal as long as the same would be drawn."""
        return self.shown, self.history.last, self._said() or self.over

    def view(self, height: int) -> View:
        """What is to be drawn now."""
        number = self.history.last if self.shown is None else self.shown
        moment = self.history.moment(number)
        seconds = moment.time - self.history.moment(self.history.last).time
        live = "ended" if self.over else "live"
        mode = live if self.shown is None else f"PAUSED {seconds:+.1f} s"
        happened = self.history.happened(number, events_shown(height))
        return View(moment.snapshot(), mode, happened, self.clock, self._said() or self.over)

    def _save(self) -> str:
        file = self.folder / time.strftime("watch-%Y%m%d-%H%M%S.jsonl")
        try:
            count = self.history.save(file)
        except OSError as error:
            return f"cannot save: {error.strerror}: {file}"
        return f"saved {count} looks: {file.name} in {self.folder}"

    def _said(self) -> str:
        return self._message if time.monotonic() < self._until else ""

    def _say(self, message: str) -> None:
        self._message, self._until = message, time.monotonic() + MESSAGE_SECONDS


def run(stream: Stream, keys: Keys, console: Console, folder: Path) -> None:
    """Show the stream until ``q``; files are saved in ``folder``.

    Raises:
        LabError: the probe ended by itself.
        KeyboardInterrupt: Ctrl-C or SIGTERM; the terminal is as before.
    """
    watch = Watch(folder)
    with _ended_gently():
        while not len(watch.history):
            watch.add(stream.lines())
            if stream.ended and not len(watch.history):
                break
            time.sleep(POLL_SECONDS / 2)
        else:
            with keys, Live(console=console, screen=True, auto_refresh=False) as live:
                _until_quit(watch, stream, keys, live)
    if stream.ended:
        raise LabError(f"the probe ended: {stream.why()}; ./lab up mends it")


@contextlib.contextmanager
def _ended_gently() -> Iterator[None]:
    """SIGTERM by default ends a program at once, and would leave the terminal as it is drawn on."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _until_quit(watch: Watch, stream: Stream, keys: Keys, live: Live) -> None:
    drawn: object = None
    while True:
        size = live.console.size
        state = (watch.state(), size)
        if drawn != state:
            live.update(draw(watch.view(size.height), size.width, size.height), refresh=True)
            drawn = state
        key = keys.wait(POLL_SECONDS)
        if key in QUIT:
            return
        if key:
            watch.press(key)
        watch.add(stream.lines())
        if stream.ended:
            watch.over = "the lab has ended; what was seen can still be stepped through and saved; q quits"
