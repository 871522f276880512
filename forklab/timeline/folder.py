"""Writes all that is made of one recording into a folder."""

import json
from pathlib import Path

from forklab.errors import LabError, UsageError
from forklab.timeline import jsonl, page, perfetto, picture, text
from forklab.timeline.model import Timeline


def check(folder: Path) -> None:
    """Whether the folder can be written, before anything is recorded.

    Raises:
        UsageError: it is a file, or cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make the folder {folder}: {error.strerror or error}; choose another --out") from None


def write(timeline: Timeline, files: dict[str, bytes], folder: Path, title: str) -> list[Path]:
    """The page, the events, the text, the pictures and the raw recording; what was written.

    Raises:
        LabError: a file cannot be written.
    """
    drawn = picture.svg(timeline, title)
    content = {
        "trace.html": page.page(timeline, title).encode(),
        "events.jsonl": jsonl.text(timeline).encode(),
        "trace.txt": ("\n".join(text.lines(timeline)) + "\n").encode(),
        "trace.svg": drawn.encode(),
        "trace.png": picture.png(drawn),
        **{f"raw/{name.replace('/', '_')}": raw for name, raw in files.items()},
    }
    try:
        (folder / "raw").mkdir(parents=True, exist_ok=True)
        for name, whole in content.items():
            (folder / name).write_bytes(whole)
    except OSError as error:
        raise LabError(f"cannot write to {folder}: {error.strerror or error}; choose another --out") from None
    return [folder / name for name in content if not name.startswith("raw/")]


def write_perfetto(timeline: Timeline, file: Path) -> Path:
    """The Chrome trace alone; ``file`` itself.

    Raises:
        LabError: it cannot be written.
    """
    try:
        file.write_text(json.dumps(perfetto.trace(timeline)), encoding="utf-8")
    except OSError as error:
        raise LabError(f"cannot write {file}: {error.strerror or error}; choose another --perfetto") from None
    return file
