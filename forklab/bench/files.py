"""A run on paper: bench.json for programs, bench.html for a reader, performance.md for a repository.

The page is one file that loads nothing. The text refers to its pictures in the folder ``bench`` beside it, for a code
host shows no picture that stands in the text itself. docs/performance.md is made so: ``./lab bench --out docs``.
"""

import json
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from forklab.bench import catalogue, goals, summary, terminal
from forklab.bench.run import Run
from forklab.errors import UsageError

PICTURES = "bench"

_TEMPLATES = Path(__file__).parent / "templates"


def document(run: Run) -> dict[str, Any]:
    """Everything as JSON takes it: what was measured, and what follows from it. docs/design.md names the keys."""
    sections = {
        table.section: {"unit": table.unit, "better": table.better, "rows": [asdict(row) for row in table.rows]}
        for table in summary.tables(run)
    }
    return {"goals": [asdict(finding) for finding in goals.judge(run)], "sections": sections} | run.raw()


def prepare(folder: Path) -> None:
    """Make the folder, so that a run that takes minutes does not end in a place where nothing can be written.

    Raises:
        UsageError: it cannot be made, or not be written to; or this computer cannot draw.
    """
    if not find_spec("vl_convert"):
        raise UsageError(f"out {folder}: vl-convert, which draws, is not made for this kind of computer; use --json")
    try:
        (folder / PICTURES).mkdir(parents=True, exist_ok=True)
        trial = folder / ".bench.new"
        trial.touch()
        trial.unlink()
    except OSError as error:
        raise UsageError(f"out {folder}: {error.strerror}; choose another folder") from None


def write(run: Run, folder: Path) -> list[Path]:
    """Write all of it; the paths, without those of the pictures.

    Raises:
        UsageError: something cannot be written.
    """
    drawn = pictures(run)
    files = {
        "bench.json": json.dumps(document(run), indent=1) + "\n",
        "bench.html": page(run, drawn),
        "performance.md": text(run, list(drawn)),
    }
    beside = {f"{PICTURES}/{name}.svg": picture + "\n" for name, picture in drawn.items()}
    try:
        for name, content in (files | beside).items():
            (folder / name).write_text(content, encoding="utf-8", newline="\n")
    except OSError as error:
        raise UsageError(f"out {folder}: {error.strerror}; choose another folder") from None
    return [folder / name for name in files]


def pictures(run: Run) -> dict[str, str]:
    """By name: the goals, each section, and its latencies where it tells them."""
    from forklab.bench import charts

    drawn = {"goals": charts.of_goals(goals.judge(run))}
    for table in summary.tables(run):
        drawn[table.section] = charts.of_section(table)
        drawn[f"{table.section}-latency"] = charts.of_latencies(table)
    return {name: picture for name, picture in drawn.items() if picture}


def page(run: Run, drawn: dict[str, str]) -> str:
    """The page, with the pictures in it."""
    return _fill("page.html", run, drawn)


def text(run: Run, drawn: list[str]) -> str:
    """The text, which refers to the pictures of these names."""
    return _fill("performance.md", run, {name: f"{PICTURES}/{name}.svg" for name in drawn})


def _fill(template: str, run: Run, drawn: dict[str, str]) -> str:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=template.endswith(".html"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"amount": terminal.amount, "spread": terminal.spread, "bound": terminal.bound}
    findings = goals.judge(run)
    return environment.get_template(template).render(
        run=run,
        heading=terminal.heading(run),
        reading=terminal.READING,
        score=terminal.score(findings),
        findings=findings,
        tables=summary.tables(run),
        drawn=drawn,
        catalogue=catalogue,
        latency=terminal.latency,
        has_latency=terminal.has_latency,
        load=terminal.load,
    )
