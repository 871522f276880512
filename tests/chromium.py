"""Opens a page in a headless Chromium that may reach no network, and tells what stands in it."""

import html
import shutil
import subprocess
import zlib
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--virtual-time-budget=5000",
)


class Seen(HTMLParser):
    """The document after its scripts have run."""

    def __init__(self, dom: str) -> None:
        super().__init__()
        self._data: dict[str, str] = {}
        self._open: list[tuple[str, set[str]]] = []
        self._texts: dict[str, list[str]] = {}
        self.feed(dom)

    def data(self, name: str) -> str:
        """The attribute ``data-name`` of the body."""
        return self._data[f"data-{name}"]

    def text(self, name: str) -> str:
        """What stands in the elements of that id or class."""
        return " ".join("".join(self._texts.get(name, [])).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the names of an element."""
        words = {key: value or "" for key, value in attrs}
        if tag == "body":
            self._data = words
        if tag not in ("meta", "input", "br", "canvas", "link"):
            self._open.append((tag, {words.get("id", ""), *words.get("class", "").split()} - {""}))

    def handle_endtag(self, tag: str) -> None:
        """Leave it."""
        while self._open and self._open.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        """Text belongs to every element around it."""
        for _, names in self._open:
            for name in names:
                self._texts.setdefault(name, []).append(data + " ")


class Browser:
    """A Chromium; a new process for each look."""

    def __init__(self, program: str) -> None:
        self._program = program

    def look(self, page: str, folder: Path, place: str = "") -> Seen:
        """The page's document; ``place`` is what follows its address, such as ``#step=3``."""
        file = folder / "page.html"
        file.write_text(page, encoding="utf-8")
        return Seen(self._run(folder, "--dump-dom", f"{file.as_uri()}{place}"))

    def at_width(self, page: str, folder: Path, width: int) -> Seen:
        """As ``look``, in a frame of that many pixels: the body's data-overflow says whether it is wider than that."""
        frame = (
            f'<body><iframe width="{width}" height="900" srcdoc="{html.escape(page)}"></iframe><script>'
            "const frame = document.querySelector('iframe'); frame.onload = () => {"
            "const inner = frame.contentDocument; document.body.dataset.overflow ="
            "inner.documentElement.scrollWidth > frame.clientWidth; Object.assign(document.body.dataset,"
            "inner.body.dataset); document.body.append(inner.getElementById('panel').cloneNode(true)); };</script>"
        )
        return self.look(frame, folder)

    def colours(self, page: str, folder: Path, width: int, height: int, place: str = "") -> set[tuple[int, ...]]:
        """The colours in a picture of the page."""
        file, picture = folder / "page.html", folder / "page.png"
        file.write_text(page, encoding="utf-8")
        self._run(folder, f"--window-size={width},{height}", f"--screenshot={picture}", f"{file.as_uri()}{place}")
        return set(_pixels(picture.read_bytes()))

    def _run(self, folder: Path, *words: str) -> str:
        command = [self._program, *_OPTIONS, f"--user-data-dir={folder / 'profile'}", *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout


def _pixels(content: bytes) -> Iterator[tuple[int, ...]]:
    """Red, green, blue of each pixel of a PNG as Chromium writes it: 8 bits a channel, not interlaced (RFC 2083)."""
    width, height = int.from_bytes(content[16:20], "big"), int.from_bytes(content[20:24], "big")
    assert content[24] == 8
    channels = {2: 3, 6: 4}[content[25]]
    data, at = b"", 8
    while at < len(content):
        length, kind = int.from_bytes(content[at : at + 4], "big"), content[at + 4 : at + 8]
        data += content[at + 8 : at + 8 + length] if kind == b"IDAT" else b""
        at += length + 12
    raw, size = zlib.decompress(data), width * channels
    before = bytearray(size)
    for row in range(height):
        start = row * (size + 1)
        line = bytearray(raw[start + 1 : start + 1 + size])
        _unfilter(raw[start], line, before, channels)
        yield from {tuple(line[i : i + 3]) for i in range(0, size, channels)}
        before = line


def _unfilter(kind: int, line: bytearray, before: bytearray, channels: int) -> None:
    for i in range(len(line)):
        left = line[i - channels] if i >= channels else 0
        corner = before[i - channels] if i >= channels else 0
        up = before[i]
        guess = left + up - corner
        nearest = min((left, up, corner), key=lambda value: abs(guess - value))
        line[i] = (line[i] + (0, left, up, (left + up) // 2, nearest)[kind]) & 255


@pytest.fixture(scope="session")
def browser() -> Browser:
    """The machine's Chromium; without one the test is skipped."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip(f"no Chromium on this machine: none of {', '.join(NAMES)}")
    return Browser(found)
