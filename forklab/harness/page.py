"""Runs on paper: a page for each scenario, and an index. Each is one file that loads nothing and needs no script.

A time-line stands on the page as a picture, and beside it as a page of its own that one can step through
(``ID.trace.html``).
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forklab.errors import UsageError
from forklab.harness import words
from forklab.harness.ask import LETTERS, Answer, amount, lettered
from forklab.harness.conduct import Result
from forklab.harness.scenario import Choice, Text, flag
from forklab.harness.spread import Runs
from forklab.harness.stage import Picture
from forklab.harness.terminal import counted, figure
from forklab.timeline import page as timeline_page
from protocol import lessons

INDEX = "index.html"
_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Drawn:
    """A picture on its way to the page; ``svg`` is empty where this computer cannot draw, ``trace`` a page beside."""

    title: str
    note: str
    svg: str
    trace: str


def write(runs: Sequence[Runs], folder: Path, language: str, made: str, answer: Answer | None = None) -> list[Path]:
    """Write the pages of these runs into ``folder``, and the index when there are several.

    Args:
        runs: by scenario, in teaching order.
        folder: is there.
        language: of the texts.
        made: when and on what they ran, for the foot of the page.
        answer: what the learner expected.

    Returns:
        What was written, the file to begin with first.

    Raises:
        UsageError: a file cannot be written.
    """
    results = [each.worst() for each in runs]
    files: dict[str, str] = {}
    beside = {file.stem for file in folder.glob("*.html")} | {result.id for result in results}
    if len(results) > 1:
        files[INDEX] = index(results, language, made)
        beside.add(Path(INDEX).stem)
    for each in runs:
        files |= _files(each, language, made, answer, beside)
    try:
        for name, content in files.items():
            (folder / name).write_text(content, encoding="utf-8", newline="\n")
    except OSError as error:
        raise UsageError(f"out {folder}: {error.strerror}; choose another folder") from None
    return [folder / name for name in files]


def index(results: Sequence[Result], language: str, made: str) -> str:
    """All runs in teaching order, each with a link to its page."""
    by_id = {result.id: result for result in results}
    numbers = {name: number for number, name in enumerate(lessons.SCENARIOS, 1)}
    parts = [
        (words.PARTS[part], [(numbers[name], by_id[name]) for name in names if name in by_id])
        for part, names in lessons.PARTS.items()
    ]
    known = [(part, rows) for part, rows in parts if rows]
    return _fill("index.html", language, parts=known, counts=counted(results), made=made)


def _files(runs: Runs, language: str, made: str, answer: Answer | None, beside: set[str]) -> dict[str, str]:
    """The page of one scenario and its time-lines, by name."""
    result = runs.worst()
    traces: dict[str, str] = {}
    drawn = []
    for number, picture in enumerate(result.found.pictures, 1):
        trace = ""
        if picture.timeline:
            trace = f"{result.id}.trace{'' if number == 1 else f'-{number}'}.html"
            traces[trace] = timeline_page.page(picture.timeline, f"{result.id}: {picture.title}")
        drawn.append(Drawn(picture.title, picture.note, _svg(picture, f"p{number}-"), trace))
    place = _place(result.id)
    prediction = result.scenario.prediction
    whole = _fill(
        "page.html",
        language,
        **place,
        runs=runs,
        result=result,
        scenario=result.scenario,
        prediction=prediction,
        letters=LETTERS,
        right=_right(result, language),
        answer=answer,
        pictures=drawn,
        pages=beside,
        index="index" in beside,
        command=_command(result, language),
        made=made,
    )
    return {f"{result.id}.html": whole, **traces}


def _place(name: str) -> dict[str, Any]:
    """Where in the course a scenario stands."""
    order = lessons.SCENARIOS
    at = order.index(name)
    part = next(words.PARTS[part] for part, names in lessons.PARTS.items() if name in names)
    before = order[at - 1] if at else ""
    after = order[at + 1] if at + 1 < len(order) else ""
    return {"number": at + 1, "count": len(order), "part": part, "before": before, "after": after}


def _right(result: Result, language: str) -> str:
    """What a learner should have answered."""
    prediction = result.scenario.prediction
    if isinstance(prediction, Choice):
        return lettered(prediction, prediction.right, language)
    value = result.found.measured.get(prediction.key)
    return words.NOT_MEASURED.said(language) if value is None else amount(value, prediction.unit)


def _command(result: Result, language: str) -> str:
    """How to have the same again."""
    known = result.scenario.parameters or {}
    chosen = {name: value for name, value in result.values.items() if value != known[name].default}
    more = [*result.scenario.flags(chosen), *([f"--lang {language}"] if language != "en" else [])]
    return " ".join(["./lab scenario", result.id, *more])


def _svg(picture: Picture, prefix: str) -> str:
    """A picture whose names differ from those of the others on the page, for they share one document."""
    try:
        drawn = picture.svg()
    except ImportError:
        return ""
    drawn = drawn[drawn.index("<svg") :]
    return re.sub(r'(\bid="|url\(#|href="#)', rf"\1{prefix}", drawn)


def _fill(template: str, language: str, **values: Any) -> str:
    def said(text: Text) -> str:
        return text.said(language)

    filters: dict[str, Callable[..., Any]] = {"said": said, "figure": figure, "flag": flag}
    return render(_TEMPLATES, template, {"language": language, "words": words, **values}, filters)


def render(
    folder: Path,
    template: str,
    values: Mapping[str, Any],
    filters: Mapping[str, Callable[..., Any]],
    finalize: Callable[[object], object] | None = None,
) -> str:
    """Fill a template of ``folder``; it may include the style of all pages, style.css.

    Args:
        folder: has the template.
        template: its name.
        values: by name.
        filters: by name.
        finalize: what each value goes through before it is escaped.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([folder, _TEMPLATES]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=finalize,
    )
    environment.filters.update(filters)
    return environment.get_template(template).render(**values)
